"""The groups plugin: which member a flow goes through."""

import asyncio
import random
from collections import Counter
from importlib import import_module

import pytest

from tests.unit.plugins.worlds import World, flow, proxy, types
from tests.unit.waiting import until
from tunproxy.errors import ConfigError
from tunproxy.flow.conversation import Conversation
from tunproxy.flow.verdict import CONVERSE, DIAL, OPEN, REJECT
from tunproxy.plugin.manager import Plugins
from tunproxy.upstream.base import OpenError, Unreached, Upstream
from tunproxy.upstream.dialer import AsyncDialer
from tunproxy.upstream.group import Group
from tunproxy.upstream.health import Health
from tunproxy.upstream.proxy import ProxyUpstream
from tunproxy.upstream.sockets import KernelSockets
from tunproxy.upstream.types import build_from_url

UDP = flow(protocol="udp")


def test_types_are_groups_which_no_url_can_name() -> None:
    known = types("groups")
    assert sorted(known) == ["fallback", "load-balance", "relay", "select", "url-test"]
    assert all(kind.is_group for kind in known.values())
    with pytest.raises(ConfigError, match="there is none"):
        build_from_url("select://h", known)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("select", {}, "members"),
        ("select", {"members": []}, "group 'g' has no members"),
        ("select", {"members": ["a", "a"]}, "has 'a' twice"),
        ("select", {"members": ["a"], "selected": "b"}, "group 'g' has no member 'b' (it has: a)"),
        ("fallback", {"members": ["a"], "url": "ftp://x"}, "group 'g': cannot test with the URL 'ftp://x'"),
        ("fallback", {"members": ["a"], "interval": 0}, "interval must be 1 s at least"),
        ("url-test", {"members": ["a"], "tolerance": -1}, "must not be negative"),
        ("load-balance", {"members": ["a"], "strategy": "random"}, "strategy"),
        ("relay", {"members": ["a"], "url": "http://h"}, "no option 'url'"),
    ],
)
def test_options_that_make_no_sense_are_refused(kind: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        types("groups")[kind].build("g", options)
    assert message in str(caught.value)


# select


def test_select_takes_the_first_member_until_another_is_chosen() -> None:
    world = World({"g": {"type": "select", "members": ["a", "b"]}})
    group = world.group("g")
    assert world.takes("g") == "a"
    group.choose("b")  # type: ignore[attr-defined]
    assert world.takes("g") == "b"
    assert group.current() is world.all["b"]
    with pytest.raises(ConfigError, match="no member 'c'"):
        group.choose("c")  # type: ignore[attr-defined]
    assert world.takes("g") == "b"


def test_select_begins_with_what_was_selected() -> None:
    assert World({"g": {"type": "select", "members": ["a", "b"], "selected": "b"}}).takes("g") == "b"


def test_select_choice_that_cannot_carry_a_flow_is_not_replaced() -> None:
    world = World({"g": {"type": "select", "members": ["web", "a"]}}, web=proxy("http://192.0.2.1", "web"))
    group = world.group("g")
    assert group.carries(flow())
    assert not group.carries(UDP)
    verdict = group.verdict_for(UDP)
    assert (verdict.kind, verdict.why) == (REJECT, "no member carries udp")


def test_verdict_is_the_members_with_the_groups_in_its_chain() -> None:
    world = World(
        {
            "work": {"type": "select", "members": ["inner"]},
            "inner": {"type": "fallback", "members": ["a", "b"]},
        }
    )
    verdict = world.all["work"].verdict_for(flow(), "rule 7")
    assert (verdict.kind, verdict.address, verdict.port) == (CONVERSE, "192.0.2.97", 1080)
    assert (verdict.upstream, verdict.chain, verdict.why) == ("a", "work → inner → a", "rule 7")
    assert verdict.opener is world.all["a"]
    assert str(verdict) == "work → inner → a (converse, rule 7)"


def test_member_may_be_what_clash_calls_it() -> None:
    world = World({"g": {"type": "select", "members": ["DIRECT", "a"]}})
    assert world.all["g"].verdict_for(flow()).kind == DIAL


# fallback


def test_fallback_takes_the_first_that_is_well() -> None:
    world = World({"g": {"type": "fallback", "members": ["a", "b", "c"]}})
    assert world.takes("g") == "a"
    world.tested("g", a=0, b=300, c=10)
    assert world.takes("g") == "b"
    assert world.group("g").current() is world.all["b"]
    world.tested("g", a=900)
    assert world.takes("g") == "a"


def test_fallback_flow_that_cannot_reach_a_proxy_turns_the_next_ones_away() -> None:
    world = World({"g": {"type": "fallback", "members": ["a", "b"]}})
    world.takes("g")
    world.unreached("a")
    assert world.takes("g") == "b"
    world.unreached("b")
    assert world.takes("g") == "a"  # both are suspect: the order decides again
    world.tested("g", a=0)
    assert world.takes("g") == "b"  # suspect is better than dead
    world.tested("g", b=0)
    assert world.takes("g") == "a"  # nothing is lost by trying


def test_fallback_on_refusing_is_never_tested() -> None:
    reject = import_module("tunproxy_plugins.reject").contribute_upstreams()[0]
    world = World({"g": {"type": "fallback", "members": ["a", "REJECT"]}}, reject=reject)
    world.tested("g", a=0)
    verdict = world.all["g"].verdict_for(flow())
    assert (verdict.kind, verdict.chain) == (REJECT, "g → reject")
    assert [upstream.name for watch in world.watches for upstream in watch.upstreams] == ["a"]


def test_fallback_member_that_cannot_carry_the_flow_is_passed_over() -> None:
    world = World({"g": {"type": "fallback", "members": ["web", "a"]}}, web=proxy("http://192.0.2.1", "web"))
    assert world.takes("g") == "web"
    assert world.takes("g", UDP) == "a"
    world.all["a"].knowledge.learn("udp", False)
    assert not world.all["g"].carries(UDP)


# url-test


def test_url_test_takes_the_fastest_and_stays_within_the_tolerance() -> None:
    world = World({"g": {"type": "url-test", "members": ["a", "b", "c"], "tolerance": 50}})
    assert world.takes("g") == "a"
    world.tested("g", a=200, b=100, c=120)
    assert world.takes("g") == "b"
    world.tested("g", a=51, b=100)
    assert world.takes("g") == "b"
    world.tested("g", a=49)
    assert world.takes("g") == "a"
    assert world.group("g").current() is world.all["a"]


def test_url_test_fastest_that_dies_is_left() -> None:
    world = World({"g": {"type": "url-test", "members": ["a", "b"]}})
    world.tested("g", a=10, b=500)
    assert world.takes("g") == "a"
    world.tested("g", a=0)
    assert world.takes("g") == "b"
    world.tested("g", a=480)
    assert world.takes("g") == "b"


@pytest.mark.parametrize("kind", ["url-test", "fallback"])
def test_people_are_told_of_the_member_that_the_next_flow_takes(kind: str) -> None:
    """Before any flow, after tests, and where all are dead or suspect: as dashboards show it."""
    for before in ({}, {"a": 10}, {"a": 0}, {"a": 0, "b": 0}, {"a": 0, "b": 0, "c": 0}, {"b": 7, "c": 300}):
        world = World({"g": {"type": kind, "members": ["a", "b", "c"]}})
        world.tested("g", **before)
        told = world.group("g").current()
        assert told is world.all[world.takes("g")], before
        for after in ({"a": 500, "b": 20}, {"a": 0}, {"b": 0}, {"c": 0}):
            world.tested("g", **after)
            told = world.group("g").current()
            assert told is world.all[world.takes("g")], (before, after)
        world.unreached("a")
        told = world.group("g").current()
        assert told is world.all[world.takes("g")], before


@pytest.mark.parametrize("kind", ["url-test", "fallback"])
def test_member_that_somebody_chose_comes_first_as_long_as_it_is_well(kind: str) -> None:
    world = World({"g": {"type": kind, "members": ["a", "b", "c"]}})
    world.tested("g", a=10, b=500, c=500)
    group = world.group("g")
    group.choose("b")
    assert (world.takes("g"), group.current()) == ("b", world.all["b"])
    world.tested("g", b=0)
    assert (world.takes("g"), group.current()) == ("a", world.all["a"])
    world.tested("g", b=900)
    assert world.takes("g") == "b"
    group.choose("")
    assert world.takes("g") == "a"
    with pytest.raises(ConfigError, match="no member 'd'"):
        group.choose("d")


@pytest.mark.parametrize("kind", ["load-balance", "relay"])
def test_group_that_chooses_by_itself_says_so(kind: str) -> None:
    world = World({"g": {"type": kind, "members": ["p"]}}, p=proxy("http://192.0.2.1", "p"))
    with pytest.raises(ConfigError, match="group 'g' chooses by itself"):
        world.group("g").choose("p")


def test_url_test_flow_that_the_fastest_cannot_carry_changes_nothing_for_others() -> None:
    web = proxy("http://192.0.2.1", "web")
    world = World({"g": {"type": "url-test", "members": ["a", "web"], "tolerance": 0}}, web=web)
    world.tested("g", a=500, web=10)
    assert [world.takes("g"), world.takes("g", UDP), world.takes("g")] == ["web", "a", "web"]


# load-balance

MANY = "abcdefhijk"


def balance(strategy: str, members: str = MANY, **options: object) -> World:
    table = {"type": "load-balance", "members": list(members), "strategy": strategy, **options}
    return World({"g": table}, members)


def sites(world: World, count: int = 2000) -> dict[str, str]:
    return {f"s{n}.com": world.takes("g", flow(host=f"s{n}.com")) for n in range(count)}


def test_consistent_hashing_is_even_and_the_same_for_everybody() -> None:
    one, other = sites(balance("consistent-hashing")), sites(balance("consistent-hashing"))
    assert one == other
    counts = Counter(one.values())
    assert set(counts) == set(MANY)
    assert all(140 <= count <= 260 for count in counts.values())  # 200, and 4.5 standard deviations


def test_consistent_hashing_ignores_the_client_and_the_host_of_a_site() -> None:
    world = balance("consistent-hashing")
    for client in ("10.0.0.2", "10.0.0.3"):
        for host in ("example.co.uk", "www.example.co.uk", "a.b.EXAMPLE.co.uk."):
            assert world.takes("g", flow(host=host, client=client)) == world.takes(
                "g", flow(host="example.co.uk")
            )
    targets = {f"s{n}.co.uk": world.takes("g", flow(host=f"www.s{n}.co.uk")) for n in range(50)}
    assert len(set(targets.values())) > 3  # "co.uk" is nobody's


def test_consistent_hashing_without_a_name_goes_by_the_address() -> None:
    world = balance("consistent-hashing")
    taken = Counter(world.takes("g", flow(f"192.0.2.{n}")) for n in range(256))
    assert len(taken) == len(MANY)
    assert world.takes("g", flow("192.0.2.1")) == world.takes("g", flow("192.0.2.1", protocol="udp"))


def test_consistent_hashing_member_that_dies_moves_nobody_elses_targets() -> None:
    world = balance("consistent-hashing")
    before = sites(world)
    world.tested("g", c=0)
    after = sites(world)
    assert {site for site in before if before[site] != after[site]} == {s for s in before if before[s] == "c"}
    heirs = Counter(after[site] for site in before if before[site] == "c")
    assert len(heirs) == len(MANY) - 1
    world.tested("g", c=10)
    assert sites(world) == before


def test_round_robin_takes_one_after_the_other() -> None:
    world = balance("round-robin", "abc")
    assert [world.takes("g") for _ in range(6)] == list("abcabc")
    world.tested("g", b=0)
    assert Counter(world.takes("g") for _ in range(6)) == {"a": 3, "c": 3}


def sticky(clock: list[float]) -> Group:
    load_balance = import_module("tunproxy_plugins.groups.load_balance")
    plan = balance("round-robin").group("g").plan
    group = load_balance.LoadBalance(
        "g", tuple(MANY), plan, "sticky-sessions", clock=lambda: clock[0], chance=random.Random(1)
    )
    assert isinstance(group, Group)
    return group


def test_sticky_sessions_stay_by_client_and_target_for_their_time() -> None:
    now = [0.0]
    world = World({}, MANY, g=sticky(now))
    first = {n: world.takes("g", flow(client=f"10.0.0.{n}")) for n in range(100)}
    assert len(set(first.values())) > 5
    now[0] = 599.0
    assert {n: world.takes("g", flow(client=f"10.0.0.{n}")) for n in range(100)} == first
    others = {n: world.takes("g", flow("192.0.2.8", client=f"10.0.0.{n}")) for n in range(100)}
    assert others != first
    now[0] = 601.0
    assert {n: world.takes("g", flow(client=f"10.0.0.{n}")) for n in range(100)} != first


def test_sticky_session_leaves_a_member_that_died_and_does_not_come_back() -> None:
    world = World({}, MANY, g=sticky([0.0]))
    before = world.takes("g")
    world.tested("g", **{before: 0})
    after = world.takes("g")
    assert after != before
    world.tested("g", **{before: 10})
    assert world.takes("g") == after


def test_sticky_sessions_are_forgotten_where_there_are_too_many() -> None:
    load_balance = import_module("tunproxy_plugins.groups.load_balance")
    group = sticky([0.0])
    world = World({}, MANY, g=group)
    for n in range(load_balance.MAX_SESSIONS + 10):
        world.takes("g", flow(f"10.1.{n >> 8}.{n & 255}"))
    assert len(group._sessions) == load_balance.MAX_SESSIONS  # type: ignore[attr-defined]


# relay


def relay(*members: str, **more: Upstream) -> World:
    return World({"g": {"type": "relay", "members": list(members)}}, **more)


def spoken(upstream: Upstream, *answers: str, host: str = "") -> list[str]:
    """Return what is said to a relay's proxies that answer so."""
    assert isinstance(upstream, ProxyUpstream)
    talk: Conversation = upstream.converse(flow(host=host))
    said = [talk.begin()] + [talk.heard(bytes.fromhex(answer)) for answer in answers]
    assert talk.is_over
    return [words.hex() for words in said]


SOCKS_OK = "05000001" + "00000000" + "0000"


def test_relay_asks_each_proxy_for_the_next_and_the_last_for_the_target() -> None:
    world = relay("a", "b")
    verdict = world.all["g"].verdict_for(flow(), "rule 7")
    assert (verdict.kind, verdict.address, verdict.port) == (CONVERSE, "192.0.2.97", 1080)
    assert (verdict.upstream, verdict.chain, verdict.why) == ("b", "g → a → b", "rule 7")
    assert isinstance(verdict.opener, Upstream)
    assert spoken(verdict.opener, "0500", SOCKS_OK, "0500", SOCKS_OK) == [
        "050100", "05010001" + "c0000262" + "0438", "050100", "05010001" + "c0000207" + "01bb", "",
    ]  # fmt: skip


def test_relay_proxies_that_answer_in_one_piece_are_understood() -> None:
    opener = relay("a", "b").all["g"].verdict_for(flow()).opener
    assert isinstance(opener, Upstream)
    said = spoken(opener, "0500" + SOCKS_OK + "0500" + SOCKS_OK, host="www.example.org")
    assert said[1].startswith("05010001c00002620438" + "050100" + "0501000")
    assert b"www.example.org".hex() in said[1]


def test_relay_direct_adds_nothing() -> None:
    assert relay("DIRECT", "a").takes("g") == "a"
    assert relay("DIRECT").all["g"].verdict_for(flow()).kind == DIAL


def test_relay_carries_no_udp() -> None:
    world = relay("a", "b")
    assert not world.all["g"].carries(UDP)
    assert world.all["g"].verdict_for(UDP).kind == REJECT


def test_relay_with_groups_follows_their_choice() -> None:
    world = World(
        {"g": {"type": "relay", "members": ["s", "c"]}, "s": {"type": "select", "members": ["a", "b"]}}
    )
    assert world.all["g"].verdict_for(flow()).address == "192.0.2.97"
    world.group("s").choose("b")  # type: ignore[attr-defined]
    assert world.all["g"].verdict_for(flow()).address == "192.0.2.98"


def test_relay_through_what_is_no_proxy_is_refused() -> None:
    reject = import_module("tunproxy_plugins.reject").contribute_upstreams()[0]
    with pytest.raises(ConfigError, match="'reject' is none"):
        relay("a", "REJECT", reject=reject)


def test_relay_proxy_that_cannot_resolve_the_next_ones_name_is_refused() -> None:
    plain = proxy("socks4://192.0.2.1", "plain")
    named = proxy("socks5://proxy.example", "named")
    with pytest.raises(ConfigError, match="'plain' resolves no names"):
        relay("plain", "named", plain=plain, named=named)
    assert relay("named", "plain", plain=plain, named=named).all["g"].verdict_for(flow()).kind == OPEN


def test_relay_next_proxy_that_cannot_be_reached_is_told_apart_from_the_target() -> None:
    world = relay("a", "b")
    opener = world.all["g"].verdict_for(flow()).opener
    assert isinstance(opener, ProxyUpstream)
    talk = opener.converse(flow())
    talk.begin()
    talk.heard(b"\x05\x00")
    with pytest.raises(Unreached, match="a cannot reach b") as caught:
        talk.heard(b"\x05\x05")
    assert caught.value.who == "b"
    talk = opener.converse(flow())
    talk.begin()
    for answer in ("0500", SOCKS_OK, "0500"):
        talk.heard(bytes.fromhex(answer))
    with pytest.raises(ConnectionRefusedError):
        talk.heard(b"\x05\x05")


def test_relay_proxy_that_refuses_to_serve_is_named() -> None:
    opener = relay("a", "b").all["g"].verdict_for(flow()).opener
    assert isinstance(opener, ProxyUpstream)
    talk = opener.converse(flow())
    talk.begin()
    with pytest.raises(OpenError, match="a: the proxy wants a login") as caught:
        talk.heard(b"\x05\xff")
    assert caught.value.who == "a"


# the plugin


def delays(health: Health) -> dict[str, list[int | None]]:
    """Return what tests have found, in ms, by the names of upstreams."""
    return {name: [record.delay for record in found] for name, found in health.records().items()}


def test_groups_are_found_by_the_hook_and_tested_once_started() -> None:
    plugins = Plugins()
    assert plugins.register(import_module("tunproxy_plugins.groups"), "groups")
    asked: list[str] = []

    async def fetch(upstream: Upstream, url: str, dialer: object, status: int) -> float:
        asked.append(upstream.name)
        return 0.01

    async def run() -> None:
        world = World({"g": {"type": "url-test", "members": ["a", "b"], "lazy": False}})
        health = Health(fetch=fetch)
        health.adopt(world.watches)
        loop = asyncio.get_running_loop()
        health.start(loop, AsyncDialer(loop, KernelSockets(0, "")))
        await until(lambda: delays(health) == {"a": [10], "b": [10]})
        health.stop()

    asyncio.run(run())
    assert sorted(asked) == ["a", "b"]
