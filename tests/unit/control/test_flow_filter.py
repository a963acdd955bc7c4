"""The language that chooses flows."""

import pwd
from typing import Any

import pytest

from tunproxy.control.flow_filter import parse_filter
from tunproxy.errors import ConfigError

ROW: dict[str, Any] = {
    "number": 12,
    "state": "open",
    "protocol": "tcp",
    "client": "10.0.0.2",
    "client_port": 50312,
    "target": "192.0.2.7",
    "target_port": 443,
    "name": "www.Shop.example",
    "verdict": "open",
    "upstream": "node-3",
    "chain": "work → node-3",
    "rule": "DOMAIN-SUFFIX,shop.example,work",
    "why": "rule DOMAIN-SUFFIX,shop.example,work (line 4)",
    "process": "curl",
    "process_path": "/usr/bin/curl",
    "uid": 1000,
}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host:shop.example",
        "host:www.shop.example",
        "HOST:SHOP.EXAMPLE.",
        "host:*.shop.*",
        "host:192.0.2.0/24",
        "address:10.0.0.2",
        "address:192.0.2.0/28",
        "target:192.0.2.7 client:10.0.0.0/8",
        "port:443",
        "port:80,400-500",
        "client-port:50312",
        "process:curl",
        "process:cu*",
        "process:/usr/bin/*",
        "user:1000",
        "rule:suffix,shop",
        "rule:domain",
        "upstream:work",
        "upstream:node-*",
        "verdict:open",
        "protocol:udp,tcp",
        "tcp",
        "flow:1,12",
        "state:open",
        "open",
        "192.0.2.0/24",
        "10.0.0.2",
        "!10.0.0.3",
        "!port:80 !udp !host:example.com",
        "shop",
        "curl",
        "NODE-3",
        "tcp port:443 process:curl",
    ],
)
def test_flow_fits(text: str) -> None:
    assert parse_filter(text).judge(ROW) is True


@pytest.mark.parametrize(
    "text",
    [
        "host:op.example",
        "host:w.shop.example",
        "host:example.com",
        "host:198.51.100.0/24",
        "address:10.0.0.3",
        "target:10.0.0.2",
        "port:442",
        "port:0-442,444",
        "client-port:443",
        "process:cur",
        "process:/usr/curl",
        "user:0",
        "rule:match",
        "upstream:node",
        "verdict:reject,drop",
        "udp",
        "flow:2",
        "closed",
        "!tcp",
        "!port:443",
        "nowhere",
        "tcp port:80",
        "fd98:1",
    ],
)
def test_flow_does_not_fit(text: str) -> None:
    assert parse_filter(text).judge(ROW) is False
    assert not parse_filter(text).fits(ROW)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("process:curl", None),
        ("!process:curl", None),
        ("user:1000 port:443", None),
        ("user:1000 port:80", False),
        ("port:443", True),
        ("port:443,80 shop", True),
        ("nowhere", None),
    ],
)
def test_what_is_not_known_yet_is_no_answer_unless_the_rest_is_one(text: str, answer: bool | None) -> None:
    early = {key: value for key, value in ROW.items() if key not in ("process", "process_path", "uid")}
    assert parse_filter(text).judge(early) is answer


def test_flow_without_a_name_or_rule_fits_what_asks_for_neither() -> None:
    plain = ROW | {"name": None, "rule": None, "why": "default", "chain": "direct", "upstream": "direct"}
    assert parse_filter("rule:default upstream:direct !host:shop.example").fits(plain)
    assert not parse_filter("host:shop.example").fits(plain)


def test_ipv6_is_an_address_with_and_without_a_key() -> None:
    row = ROW | {"target": "2001:db8::1", "client": "fd97::1"}
    for text in ("2001:db8::/32", "host:2001:db8::1", "address:fd97::1", "2001:db8::1"):
        assert parse_filter(text).fits(row)
    assert not parse_filter("2001:db9::/32").fits(row)


def test_text_says_the_same_with_users_as_numbers() -> None:
    me = pwd.getpwuid(0)
    text = parse_filter(f"!user:{me.pw_name} Port:443 shop").text
    assert text == "!user:0 port:443 shop"
    assert parse_filter(text).text == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("hots:example.com", "no key 'hots' (address, client,"),
        ("port:", "a value is missing"),
        ("port:80,,90", "a value is missing"),
        ("port:70000", "'70000' is no number from 0 to 65535"),
        ("port:http", "'http' is no number"),
        ("port:90-80", "90 is more than 80"),
        ("address:example.com", "'example.com' is no address and no network"),
        ("user:no-such-user-here", "no user 'no-such-user-here' on this host"),
        ("protocol:sctp", "'sctp' is none of tcp, udp, icmp"),
        ("verdict:maybe", "'maybe' is none of"),
        ("flow:x", "'x' is no number"),
        ("!", "nothing stands in it"),
        ("a" * 5000, "more than 4096"),
    ],
)
def test_what_is_wrong_is_said(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_filter(text)
    assert says in str(caught.value)
