"""Addresses that stand for names: stable, shared by both families, taken back with care."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.dns.world import Clock, question, texts
from tests.unit.wire.frames import packed
from tunproxy.dns.fake_store import FakeStore
from tunproxy.dns.fakeip import QUIET, RESERVED, TOLD_AFTER, TTL, FakePool
from tunproxy.dns.hosts import pointer_name
from tunproxy.dns.message import AAAA, MX, A
from tunproxy.dns.packing import pack_reply
from tunproxy.dns.settings import IPV4_RANGE, IPV6_RANGE
from tunproxy.errors import ConfigError

SMALL = {
    "ipv4": "198.18.0.0/26",
    "ipv6": "",
}  # 64 addresses, of which 16 are reserved, and the last is not used
ROOM = 64 - 1 - RESERVED


def address(pool: FakePool, host: str, kind: str = "A") -> bytes:
    """Return the one address that host gets."""
    asked = question(host, kind)
    answer = pool.answer(asked.host, asked.type)
    assert answer is not None
    [text] = texts(pack_reply(asked, answer, 0, True))
    name, ttl, shown, found = text.split(" ")
    assert (name, int(ttl), shown) == (host, TTL, kind)
    return packed(found)


def full(clock: Clock) -> FakePool:
    pool = FakePool(clock, **SMALL)
    for number in range(ROOM):
        address(pool, f"n{number}.example")
    return pool


def test_name_keeps_its_addresses() -> None:
    pool = FakePool(Clock())
    first = address(pool, "www.example")
    assert first == packed("198.18.0.16")
    assert address(pool, "other.example") == packed("198.18.0.17")
    assert address(pool, "www.example") == first
    assert address(pool, "www.example", "AAAA") == packed("fc00::10")
    assert pool.answer("www.example", MX) is None
    assert len(pool) == 2


def test_address_leads_back_to_its_name() -> None:
    pool = FakePool(Clock())
    address(pool, "www.example")
    for text in ("198.18.0.16", "fc00::10"):
        assert pool.name_of(packed(text)) == "www.example"
    for text in ("198.18.0.17", "198.18.0.0", "192.0.2.1", "2001:db8::1", "fc00::"):
        assert pool.name_of(packed(text)) == ""


def test_ranges_are_ours_and_no_more() -> None:
    pool = FakePool(Clock())
    ours = ["198.18.0.0", "198.19.255.254", "fc00::1"]
    others = ["198.17.255.255", "198.19.255.255", "198.20.0.0", "fc00:4000::", "::", "fd00::1"]
    assert [pool.has(packed(text)) for text in ours + others] == [True] * 3 + [False] * 6


def test_pool_without_ipv6_says_that_there_is_none() -> None:
    pool = FakePool(Clock(), **SMALL)
    answer = pool.answer("www.example", AAAA)
    assert answer is not None
    assert answer.counts == (0, 0, 0)
    assert not pool.has(packed("fc00::10"))


def test_pointer_of_a_fake_address_is_its_name() -> None:
    pool = FakePool(Clock())
    address(pool, "www.example")
    for text in ("198.18.0.16", "fc00::10"):
        host = pointer_name(packed(text))
        answer = pool.pointer(host)
        assert answer is not None
        assert texts(pack_reply(question(host, "PTR"), answer, 0, True)) == [f"{host} {TTL} PTR www.example."]
    lost = pool.pointer(pointer_name(packed("198.18.5.5")))
    assert lost is not None
    assert lost.counts == (0, 0, 0)


@pytest.mark.parametrize(
    "host",
    ["7.2.0.192.in-addr.arpa", "18.198.in-addr.arpa", "x.0.18.198.in-addr.arpa", "016.0.18.198.in-addr.arpa",
     "\u00b2.0.18.198.in-addr.arpa", "1.ip6.arpa", ".".join("g" * 32) + ".ip6.arpa", "www.example"],
)  # fmt: skip
def test_pointer_of_anything_else_is_not_ours(host: str) -> None:
    assert FakePool(Clock()).pointer(host) is None


@pytest.mark.parametrize(
    ("host", "wanted"),
    [
        ("www.example", True),
        ("my_host", True),
        ("printer.lan", False),
        ("lan", False),
        ("time.x.com", False),
        ("pool.ntp.org", False),
        ("", False),
        ("a\\046b.example", False),
        ("4.3.2.1.in-addr.arpa", False),
    ],
)
def test_some_names_get_real_answers(host: str, wanted: bool) -> None:
    assert FakePool(Clock()).wants(host) is wanted


def test_filter_is_the_users() -> None:
    pool = FakePool(Clock(), filtered=("+.Example.",))
    assert not pool.wants("www.example")
    assert pool.wants("printer.lan")


def test_number_of_the_least_used_name_is_given_to_a_new_one() -> None:
    clock = Clock()
    pool = full(clock)
    clock.advance(QUIET / 1e6)
    address(pool, "n0.example")
    pool.name_of(address(pool, "n1.example"))
    taken = address(pool, "new.example")
    assert taken == packed("198.18.0.18"), "that of n2"
    assert pool.name_of(taken) == "new.example"
    assert len(pool) == ROOM
    assert address(pool, "n2.example") == packed("198.18.0.19")


def test_number_that_was_used_a_moment_ago_is_kept_and_the_new_name_is_real() -> None:
    clock = Clock()
    pool = full(clock)
    clock.advance(QUIET / 1e6 - 1)
    assert pool.answer("new.example", A) is None
    clock.advance(1)
    assert pool.answer("new.example", A) is not None


def test_when_somebody_was_told_a_fake_address_is_known() -> None:
    clock = Clock()
    pool = FakePool(clock)
    assert pool.told_ago == -1
    address(pool, "www.example")
    clock.advance(0.25)
    assert pool.told_ago == 250_000
    pool.answer("www.example", MX)
    pool.name_of(packed("198.18.0.16"))
    assert pool.told_ago == 250_000
    address(pool, "www.example", "AAAA")
    assert pool.told_ago == 0


def test_drained_pool_gives_nothing_and_still_knows() -> None:
    pool = FakePool(Clock())
    found = address(pool, "www.example")
    pool.drain()
    assert not pool.wants("www.example")
    assert not pool.wants("new.example")
    assert pool.name_of(found) == "www.example"


def test_names_are_known_to_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "fake"
    pool = FakePool(Clock(), FakeStore(path, "ranges"))
    before = {host: address(pool, host) for host in ("a.example", "b.example", "c.example")}
    again = _reopened(path)  # without close(): as after a kill
    assert {host: address(again, host) for host in before} == before
    assert [again.name_of(each) for each in before.values()] == list(before)
    assert address(again, "d.example") not in before.values()


def _reopened(path: Path) -> FakePool:
    """Return the pool of a next run, whose predecessor's lock the kernel has released."""
    path.with_name(f"{path.name}.lock").unlink()
    return FakePool(Clock(), FakeStore(path, "ranges"))


def test_names_taken_back_do_not_come_back(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "fake"
    pool = FakePool(clock, FakeStore(path, "ranges"), **SMALL)
    for number in range(ROOM + 5):
        clock.advance(QUIET / 1e6)
        address(pool, f"n{number}.example")
    pool.close()
    again = FakePool(clock, FakeStore(path, "ranges"), **SMALL)
    assert len(again) == ROOM
    assert again.name_of(packed("198.18.0.16")) == f"n{ROOM}.example"
    assert address(again, f"n{ROOM}.example") == packed("198.18.0.16")


@pytest.mark.parametrize(
    "bounds", [("nonsense", ""), ("fc00::/18", ""), ("198.18.0.0/28", ""), ("198.18.0.1/15", "")]
)
def test_range_that_is_none_is_the_users_mistake(bounds: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="fake-ip range"):
        FakePool(Clock(), ipv4=bounds[0], ipv6=bounds[1])


def test_ranges_are_those_that_clash_users_know() -> None:
    assert (IPV4_RANGE, IPV6_RANGE) == ("198.18.0.0/15", "fc00::/18")


@given(st.lists(st.tuples(st.integers(0, 80), st.floats(0, 100)), max_size=200))
def test_address_never_has_two_names_at_once(steps: list[tuple[int, float]]) -> None:
    clock = Clock()
    pool = FakePool(clock, **SMALL)
    for number, pause in steps:
        clock.advance(pause)
        answer = pool.answer(f"n{number}.example", A)
        if answer is not None:
            assert pool.name_of(answer.records[-4:]) == f"n{number}.example"
    names = [pool.name_of(bytes((198, 18, 0, last))) for last in range(64)]
    known = [name for name in names if name]
    assert len(known) == len(set(known)) == len(pool)


def test_flushed_number_that_was_learnt_again_is_not_given_away() -> None:
    clock = Clock()
    pool = FakePool(clock, ipv4="198.18.0.0/26", ipv6="")
    for number in range(47):
        address(pool, f"n{number}.example")
    clock.advance(QUIET / 1e6 + 1)
    assert pool.flush() == 47
    pool.learn(16, "back.example")
    assert address(pool, "new.example") == packed("198.18.0.17")
    assert pool.name_of(packed("198.18.0.16")) == "back.example"


def test_flush_forgets_what_is_not_used_and_gives_its_numbers_away_last(tmp_path: Path) -> None:
    clock = Clock()
    pool = FakePool(clock, FakeStore(tmp_path / "fake", "ranges"), ipv4="198.18.0.0/26", ipv6="")
    old = address(pool, "old.example")
    clock.advance(QUIET / 1e6 + 1)
    fresh = address(pool, "fresh.example")
    assert pool.flush() == 1
    assert [pool.name_of(each) for each in (old, fresh)] == ["", "fresh.example"]
    assert pool.flush() == 0
    assert address(pool, "new.example") != old, "a program may still have it"
    taken = {address(pool, f"n{number}.example") for number in range(44)}
    assert old not in taken
    assert address(pool, "last.example") == old
    assert pool.answer("beyond.example", A) is None
    pool.close()
    again = FakePool(Clock(), FakeStore(tmp_path / "fake", "ranges"), ipv4="198.18.0.0/26", ipv6="")
    assert again.name_of(old) == "last.example"
    again.close()


def test_pool_that_may_not_lease_hands_out_what_it_has_learnt() -> None:
    first, mirror = FakePool(Clock()), FakePool(Clock(), may_lease=False)
    first.leased = mirror.learn
    found = address(first, "www.example")
    assert address(mirror, "www.example") == found
    assert address(mirror, "www.example", "AAAA") == address(first, "www.example", "AAAA")
    assert mirror.answer("other.example", A) is None
    assert list(first.known()) == list(mirror.known()) == [(RESERVED, "www.example")]


def test_number_that_goes_to_another_name_does_so_everywhere() -> None:
    clock = Clock()
    first, mirror = FakePool(clock, **SMALL), FakePool(clock, may_lease=False, **SMALL)
    first.leased = mirror.learn
    for number in range(ROOM):
        address(first, f"n{number}.example")
    clock.at += QUIET + 1
    again = address(first, "new.example")
    assert mirror.name_of(again) == "new.example"
    assert mirror.answer("n0.example", A) is None
    assert len(mirror) == ROOM


def test_pool_that_learns_goes_on_behind_what_it_has_learnt() -> None:
    pool = FakePool(Clock(), **SMALL)
    pool.learn(RESERVED + 5, "a.example")
    pool.learn(RESERVED + 5, "a.example")
    pool.learn(3, "reserved.example")
    pool.learn(10_000, "beyond.example")
    assert len(pool) == 1
    assert address(pool, "b.example") == packed(f"198.18.0.{RESERVED + 6}")
    pool.learn(RESERVED + 9, "a.example")
    assert pool.name_of(packed(f"198.18.0.{RESERVED + 5}")) == ""


def test_use_of_a_name_is_told_now_and_then_and_keeps_its_number() -> None:
    clock = Clock()
    first, mirror = full(clock), FakePool(clock, may_lease=False, **SMALL)
    for number, name in first.known():
        mirror.learn(number, name)
    told: list[int] = []
    mirror.used = told.append
    first_of_all = packed(f"198.18.0.{RESERVED}")
    for _ in range(4):
        clock.at += TOLD_AFTER + 1
        mirror.name_of(first_of_all)
        mirror.name_of(first_of_all)
    assert told == [RESERVED] * 4
    first.touch(RESERVED)
    clock.at += 1
    address(first, "new.example")
    assert first.name_of(first_of_all) == "n0.example"
