"""Rules that are hardly meant."""

import pytest

from tests.unit.rules.rulebook import TARGETS, rules
from tunproxy.rules.lint import lint


def findings(*lines: str) -> list[tuple[int, str]]:
    return [(found.position.line, found.what) for found in lint(rules(*lines), ["s"], TARGETS)]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("DOMAIN-SUFFIX,a.com,A", "DOMAIN,b.a.com,B"),
        ("DOMAIN-SUFFIX,a.com,A", "DOMAIN-SUFFIX,x.b.a.com,B"),
        ("DOMAIN-SUFFIX,a.com,A", "DOMAIN,a.com,B"),
        ("DOMAIN-KEYWORD,goo,A", "DOMAIN,google.com,B"),
        ("DOMAIN-KEYWORD,goo,A", "DOMAIN-KEYWORD,google,B"),
        ("IP-CIDR,10.0.0.0/8,A", "IP-CIDR,10.1.0.0/16,B"),
        ("IP-CIDR,10.0.0.0/8,A", "IP-CIDR,10.1.0.0/16,B,no-resolve"),
        ("IP-CIDR,10.0.0.0/8,A,no-resolve", "IP-CIDR,10.1.0.0/16,B,no-resolve"),
        ("SRC-IP-CIDR,2001:db8::/32,A", "IP-CIDR6,2001:db8:1::/48,B,src"),
        ("DST-PORT,1-100/200,A", "DST-PORT,80/200,B"),
        ("MATCH,A", "DOMAIN,a.com,B"),
        ("MATCH,A", "AND,((NETWORK,tcp),(UID,0)),B"),
    ],
)
def test_rule_that_an_earlier_one_covers(earlier: str, later: str) -> None:
    assert findings(earlier, later) == [(2, "shadowed")]


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("DOMAIN,a.com,A", "DOMAIN,b.a.com,B"),
        ("DOMAIN,a.com,A", "DOMAIN-SUFFIX,a.com,B"),
        ("DOMAIN-SUFFIX,b.a.com,A", "DOMAIN-SUFFIX,a.com,B"),
        ("DOMAIN-SUFFIX,a.com,A", "DOMAIN,ba.com,B"),
        ("DOMAIN-SUFFIX,a.com,PASS", "DOMAIN,b.a.com,B"),
        ("IP-CIDR,10.1.0.0/16,A", "IP-CIDR,10.0.0.0/8,B"),
        ("IP-CIDR,10.0.0.0/8,A,no-resolve", "IP-CIDR,10.1.0.0/16,B"),
        ("IP-CIDR,10.0.0.0/8,A", "SRC-IP-CIDR,10.1.0.0/16,B"),
        ("DST-PORT,80,A", "DST-PORT,80-81,B"),
        ("DST-PORT,80,A", "SRC-PORT,80,B"),
        ("MATCH,PASS", "DOMAIN,a.com,B"),
        ("DOMAIN-REGEX,^A,A", "DOMAIN-REGEX,^B,A"),
    ],
)
def test_rule_that_can_be_met(earlier: str, later: str) -> None:
    assert findings(earlier, later) == []


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("DOMAIN,a.com,A", "DOMAIN,A.com,B"),
        ("IP-CIDR,10.0.0.0/8,A", "IP-CIDR6,10.1.1.1/8,A"),
        ("IP-CIDR,10.0.0.0/8,A,src", "SRC-IP-CIDR,10.0.0.0/8,A"),
        ("DST-PORT,80/81,A", "DST-PORT,80-81,B"),
        ("OR,((NETWORK,tcp),(UID,0)),A", "OR,( (NETWORK,TCP), (UID,0) ),B"),
        ("MATCH,A", "MATCH,B"),
    ],
)
def test_condition_that_is_there_twice(earlier: str, later: str) -> None:
    assert findings(earlier, later) == [(2, "duplicate")]


def test_message_names_the_earlier_rule_and_the_exception_of_udp() -> None:
    (found,) = lint(rules("DOMAIN-SUFFIX,a.com,A", "DOMAIN,b.a.com,B"), [], TARGETS)
    assert str(found) == (
        "test.rules:2:1: shadowed: every such flow meets line 1: DOMAIN-SUFFIX,a.com,A "
        "(UDP apart, if 'A' has none)"
    )


def test_rule_that_never_matches_and_what_does_not_exist() -> None:
    lines = ("DOMAIN-SUFFIX,+.a.com,A", "DOMAIN,a.com,Z", "RULE-SET,x,A")
    assert findings(*lines) == [(1, "never"), (2, "unknown"), (3, "unknown")]


def test_each_list_is_looked_at_by_itself() -> None:
    subs = {"web": rules("DOMAIN,a.com,A", "DOMAIN,a.com,B")}
    assert [found.what for found in lint(rules("DOMAIN,a.com,A"), [], TARGETS, subs)] == ["duplicate"]


def test_rule_that_only_counts_covers_nothing_and_may_be_covered() -> None:
    assert findings("MATCH,A,observe", "DOMAIN,a.com,B", "DOMAIN,a.com,A") == [(3, "duplicate")]
    assert findings("DOMAIN-SUFFIX,a.com,A", "DOMAIN,b.a.com,B,observe") == [(2, "shadowed")]
