"""Single items: names with wildcards, addresses."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunproxy.rules.model import RuleSetContent
from tunproxy.rulesets.items import (
    add_pattern,
    add_prefix,
    clean_name,
    packed_range,
    parse_prefix,
    prefixes_of,
)


@pytest.mark.parametrize(
    ("text", "field", "name"),
    [
        ("A.com", "exact", "a.com"),
        ("+.a.com", "suffix", "a.com"),
        (".a.com", "below", "a.com"),
        ("*.a.com", "wildcard", "*.a.com"),
        ("a.*.org", "wildcard", "a.*.org"),
        ("+.*.org", "wildcard", "+.*.org"),
        ("*", "wildcard", "*"),
        ("münchen.de", "exact", "xn--mnchen-3ya.de"),
        ("a_b.com", "exact", "a_b.com"),
    ],
)
def test_pattern_is_kept_by_its_kind(text: str, field: str, name: str) -> None:
    content = RuleSetContent()
    assert add_pattern(content, text) == ""
    assert content == RuleSetContent(**{field: [name]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a.com.",
        "a..b",
        "a/b",
        "a b",
        "a*.com",
        "+.",
        "x" * 300,
        "ü" * 100,
        "||a.com^",
        "@@a.com",
        "!x",
        "a?.com",
    ],
)
def test_bad_pattern_is_told_and_not_added(text: str) -> None:
    content = RuleSetContent()
    assert add_pattern(content, text)
    assert content == RuleSetContent()


def test_plain_and_careful_reading_agree() -> None:
    for text in ("a", "a.b", "a-b.c_d", "x" * 253):
        assert clean_name(text) == clean_name(text.upper()) == (text, "")
    assert clean_name("x" * 256)[1]


@pytest.mark.parametrize(
    "text", ["192.0.2.0/24", "192.0.2.7/24", "2001:db8::/32", "0.0.0.0/0", "::/0", "1.2.3.4", "::1"]
)
def test_prefix_is_the_range_that_ipaddress_says(text: str) -> None:
    content = RuleSetContent()
    assert add_prefix(content, text) == ""
    network = ipaddress.ip_network(text, strict=False)
    assert content.ranges == [(network.version, int(network[0]), int(network[-1]))]


def test_mapped_address_is_ipv4() -> None:
    assert parse_prefix("::ffff:192.0.2.0/120") == parse_prefix("192.0.2.0/24")


@pytest.mark.parametrize(
    "text", ["", "a", "1.2.3", "1.2.3.4/33", "::/129", "1.2.3.4/", "1.2.3.4/-1", "1.2.3.4/²", "1.2.3.4\0"]
)
def test_bad_prefix_is_told_and_not_added(text: str) -> None:
    content = RuleSetContent()
    assert add_prefix(content, text)
    assert content.ranges == []


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_prefixes_of_a_range_are_what_ipaddress_says(a: int, b: int) -> None:
    first, last = min(a, b), max(a, b)
    wanted = ipaddress.summarize_address_range(ipaddress.IPv4Address(first), ipaddress.IPv4Address(last))
    assert prefixes_of((4, first, last)) == [str(network) for network in wanted]


def test_prefixes_of_ipv6() -> None:
    assert prefixes_of((6, 0, 2**128 - 1)) == ["::/0"]
    assert prefixes_of((6, 1, 2)) == ["::1/128", "::2/128"]


def test_packed_range_must_be_one() -> None:
    assert packed_range(b"\1\2\3\4", b"\1\2\3\5") == (4, 0x1020304, 0x1020305)
    assert packed_range(b"\1\2\3\5", b"\1\2\3\4") is None
    assert packed_range(b"\1", b"\1") is None
    assert packed_range(bytes(4), bytes(16)) is None
