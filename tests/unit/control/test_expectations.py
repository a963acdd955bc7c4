"""Expectations beside rules."""

from pathlib import Path

import pytest

from tunproxy.control.expectations import (
    Outcome,
    check_expectations,
    find_expectations,
    minute_of,
    parse_expectation,
)
from tunproxy.rules.compile import compile_rules
from tunproxy.rules.files import parse_rules
from tunproxy.rules.model import Position

HERE = Position("t", 1, 1)
RULES = b"""
PROCESS-NAME,git,work
UID,1000,home
DOMAIN-SUFFIX,github.com,work
IP-CIDR,192.0.2.0/24,work
AND,((NETWORK,udp),(DST-PORT,53)),DIRECT
SRC-IP-CIDR,10.9.0.0/16,home
UNIT,cron,home
"""


def outcome_of(text: str, rules: bytes = RULES) -> Outcome:
    file = parse_rules(rules, "t")
    compiled = compile_rules(file.rules, {}, {rule.target for rule in file.rules})
    (found,) = check_expectations([parse_expectation(text, HERE)], file.rules, compiled, {}, "DIRECT")
    return found


@pytest.mark.parametrize(
    "text",
    [
        "curl -> github.com:443/tcp => work",
        "GitHub.com.:443 => work",
        "/usr/bin/git -> x.org:80 => work",
        "uid=1000 -> x.org:80 => home",
        "unit=cron.service -> x.org:80 => home",
        "from=10.9.0.1 -> 198.51.100.1:80 => home",
        "-> files.example=192.0.2.7:443 => work",
        "192.0.2.7/icmp => work",
        "curl -> x.org:53/udp => DIRECT",
        "curl -> [2001:db8::1]:443 => DIRECT",
        "curl -> x.org:443 => DIRECT",
    ],
)
def test_flow_goes_where_it_is_expected(text: str) -> None:
    assert outcome_of(text).is_met
    assert not outcome_of(f"{text.rpartition(' ')[0]} elsewhere").is_met


def test_what_is_not_met_says_which_rule_decided() -> None:
    assert str(outcome_of("curl -> github.com:443 => home")) == (
        "t:1:1: expected 'home', goes to 'work': "
        "line 4: DOMAIN-SUFFIX,github.com,work (host github.com (given))"
    )
    assert str(outcome_of("x.org:1 => home")).endswith("goes to 'DIRECT': no rule is met")


def test_time_has_to_be_said_where_it_matters() -> None:
    rules = b"TIME,mon 09:00-10:00,work\n"
    assert outcome_of("at=mon-09:30 -> x.org:80 => work", rules).is_met
    assert outcome_of("at=tue-09:30 -> x.org:80 => DIRECT", rules).is_met
    assert "add at=mon-09:30" in str(outcome_of("x.org:80 => work", rules))


def test_minute_of_the_week() -> None:
    assert (minute_of("mon-00:00"), minute_of("SUN-23:59")) == (0, 7 * 24 * 60 - 1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x.org:80", "no target"),
        ("x.org:80 =>", "no target"),
        ("=> work", "is no target of a flow"),
        ("x.org => work", "wants a port from 1 to 65535"),
        ("x.org:70000 => work", "wants a port from 1 to 65535"),
        ("x.org:1/icmp => work", "wants no port"),
        ("x.org:1/sctp => work", "unknown network 'sctp'"),
        ("x.org=y.org:1 => work", "'y.org' is no address"),
        ("uid=me -> x.org:1 => work", "'me' is no uid"),
        ("user=me -> x.org:1 => work", "unknown word 'user=me'"),
        ("at=noon -> x.org:1 => work", "'noon' is no time"),
        ("from=here -> x.org:1 => work", "'here' does not appear to be"),
    ],
)
def test_what_is_no_expectation_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_expectation(text, HERE)


def test_expectations_are_found_among_comments() -> None:
    lines = ["MATCH,A  # expect: no", "  # expect: a.b:1 => A ", "# expected", "#expect:b.c => A"]
    found, errors = find_expectations(lines, "t")
    assert [(each.position, each.text) for each in found] == [(Position("t", 2, 13), "a.b:1 => A")]
    assert [error.position for error in errors] == [Position("t", 4, 9)]


@pytest.mark.parametrize(
    "line", ["# expect curl -> a.b:1 => A", "  #Expect: a.b:1 => A", "# expects: a.b => A"]
)
def test_what_was_meant_as_an_expectation_is_not_passed_over(line: str) -> None:
    found, errors = find_expectations(["DOMAIN,a.b,A", line], "t")
    assert found == []
    assert [(error.position, error.message) for error in errors] == [
        (
            Position("t", 2, line.lower().index("expect") + 1),
            "no expectation (write: # expect: curl -> github.com:443/tcp => TARGET)",
        )
    ]


def test_comment_that_only_speaks_of_what_to_expect_is_one() -> None:
    assert find_expectations(["# expect nothing of this", "# we expect: a => b"], "t") == ([], [])


def test_expectations_that_people_are_shown_can_be_read() -> None:
    page = Path(__file__).resolve().parents[3] / "rules" / "README.md"
    found, errors = find_expectations(page.read_text().splitlines(), page.name)
    assert (len(found), errors) == (3, [])
    told = page.read_text().partition("An expectation is a comment")[2]
    for word in ("uid", "unit", "cgroup", "app", "from", "at"):
        assert f"`{word}=`" in told
