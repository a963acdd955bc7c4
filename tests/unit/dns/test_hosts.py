"""Names whose addresses the user has written down."""

import os
from pathlib import Path

import pytest

from tests.unit.dns.world import SECOND, question, texts
from tunproxy.dns.hosts import CHECK_EVERY, TTL, Hosts, pointer_name
from tunproxy.dns.message import AAAA, HTTPS, PTR, A
from tunproxy.dns.packing import pack_reply
from tunproxy.errors import ConfigError


def told(hosts: Hosts, host: str, kind: str = "A", now: int = 0) -> list[str] | None:
    """Return the data of an answer's records, None where it is nobody's business here."""
    asked = question(host, kind)
    answer = hosts.answer(asked.host, asked.type, now)
    if answer is None:
        return None
    return [text.split(" ", 3)[3] for text in texts(pack_reply(asked, answer, 0, True))]


def test_entry_answers_for_both_families_and_the_pointer() -> None:
    hosts = Hosts({"Nas.Home": ["192.0.2.1", "2001:db8::1", "192.0.2.2"]})
    assert told(hosts, "NAS.home") == ["192.0.2.1", "192.0.2.2"]
    assert told(hosts, "nas.home", "AAAA") == ["2001:db8::1"]
    assert told(hosts, "nas.home", "HTTPS") == []
    assert told(hosts, "nas.home", "TXT") is None
    assert told(hosts, "2.2.0.192.in-addr.arpa", "PTR") == ["nas.home."]
    assert told(hosts, pointer_name(bytes.fromhex("20010db8" + "0" * 23 + "1")), "PTR") == ["nas.home."]
    assert told(hosts, "9.2.0.192.in-addr.arpa", "PTR") is None
    assert told(hosts, "www.example") is None


def test_name_of_one_family_has_none_of_the_other() -> None:
    assert told(Hosts({"a.example": "192.0.2.1"}), "a.example", "AAAA") == []


def test_client_is_told_that_entries_may_change() -> None:
    asked = question("a.example")
    answer = Hosts({"a.example": "192.0.2.1"}).answer("a.example", A, 0)
    assert answer is not None
    assert texts(pack_reply(asked, answer, 0, True)) == [f"a.example {TTL} A 192.0.2.1"]
    assert answer.addresses == (bytes((192, 0, 2, 1)),)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("a.example", "192.0.2.1"),
        ("x.a.example", "192.0.2.2"),
        ("y.x.a.example", "192.0.2.3"),
        ("example", "192.0.2.3"),
        ("b.example", "192.0.2.3"),
        ("www.example.net", "192.0.2.4"),
        ("exact.example.net", "192.0.2.5"),
    ],
)
def test_pattern_that_says_most_wins(host: str, address: str) -> None:
    hosts = Hosts(
        {
            "+.example": "192.0.2.3",
            "*.a.example": "192.0.2.2",
            "a.example": "192.0.2.1",
            "*.example.net": "192.0.2.4",
            "exact.example.net": "192.0.2.5",
        }
    )
    assert told(hosts, host) == [address]


def test_patterns_end_where_they_do() -> None:
    hosts = Hosts({"*.example": "192.0.2.1", ".example.net": "192.0.2.2"})
    assert told(hosts, "example") is None
    assert told(hosts, "a.b.example") is None
    assert told(hosts, "example.net") is None
    assert told(hosts, "a.b.example.net") == ["192.0.2.2"]


def test_alias_is_told_apart() -> None:
    hosts = Hosts({"a.example": "B.example.", "+.c.example": ["b.example"]})
    assert hosts.alias("a.example", 0) == "b.example"
    assert hosts.alias("x.c.example", 0) == "b.example"
    assert hosts.alias("b.example", 0) == ""
    assert told(hosts, "a.example") is None


def test_localhost_is_the_clients_own() -> None:
    hosts = Hosts()
    assert told(hosts, "localhost") == ["127.0.0.1"]
    assert told(hosts, "app.localhost", "AAAA") == ["::1"]
    assert told(hosts, "1.0.0.127.in-addr.arpa", "PTR") == ["localhost."]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"a.example": ["192.0.2.1", "b.example"]}, "hosts entry 'a.example'"),
        ({"a.example": "1.2.3"}, "'1.2.3' is neither an address nor a name"),
        ({"a..example": "192.0.2.1"}, "'a..example' is no host name"),
        ({"a.example": "b..example"}, "'b..example' is no host name"),
        ({"a.example": "A.example"}, "alias of itself"),
    ],
)
def test_wrong_entry_is_the_users_mistake(entry: dict[str, str | list[str]], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Hosts(entry)


def test_hosts_file_is_read_as_it_is_now(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    hosts = Hosts({"both.example": "192.0.2.9"}, path)
    assert told(hosts, "a.example") is None
    path.write_text("192.0.2.1 A.example a # one\n192.0.2.2\ta.example\n2001:db8::1 a.example both.example\n")
    assert told(hosts, "a.example") is None, "not looked at again so soon"
    now = int(CHECK_EVERY)
    assert told(hosts, "a.example", "A", now) == ["192.0.2.1", "192.0.2.2"]
    assert told(hosts, "a", "A", now) == ["192.0.2.1"]
    assert told(hosts, "a.example", "AAAA", now) == ["2001:db8::1"]
    assert told(hosts, "both.example", "AAAA", now) == []
    assert told(hosts, "1.2.0.192.in-addr.arpa", "PTR", now) == ["a.example."]
    path.write_text("192.0.2.7 a.example\n")
    os.utime(path, ns=(1, 1))
    assert told(hosts, "a.example", "A", 2 * now) == ["192.0.2.7"]
    path.unlink()
    assert told(hosts, "a.example", "A", 3 * now) is None


def test_broken_lines_of_a_hosts_file_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(b"nonsense\n192.0.2.300 a\n\n#\n192.0.2.1\n192.0.2.2 b..c\n\xff\xfe x\n192.0.2.3 good\n")
    hosts = Hosts(None, path)
    assert told(hosts, "good", now=SECOND) == ["192.0.2.3"]
    assert told(hosts, "a", now=SECOND) is None


def test_types_that_are_ours() -> None:
    hosts = Hosts({"a.example": "192.0.2.1"})
    assert [hosts.answer("a.example", kind, 0) is not None for kind in (A, AAAA, HTTPS, PTR)] == [
        True
    ] * 3 + [False]
