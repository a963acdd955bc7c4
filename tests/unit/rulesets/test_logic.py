"""Conditions put together."""

import pytest

from tests.unit.rulesets.flows import To, holds
from tunproxy.rules.model import Condition, Position, RuleSetContent
from tunproxy.rules.parse import parse_condition
from tunproxy.rulesets.logic import all_of, any_of, entries, extend, negated, pattern_condition, rule_text

A = Condition("DOMAIN", "a.b")
B = Condition("IP-CIDR", "1.0.0.0/8", ("no-resolve",))


@pytest.mark.parametrize(
    "condition", [all_of([A, B]), any_of([A, negated(B)]), negated(all_of([A, any_of([A, B])]))]
)
def test_text_is_what_the_parser_reads_back(condition: Condition) -> None:
    assert parse_condition(rule_text(condition), Position("", 1, 1)) == condition


def test_one_alone_needs_no_parentheses() -> None:
    assert all_of([A]) is A
    assert any_of([A]) is A
    assert negated(negated(A)) is A


@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("*.a.b", "x.a.b", "x.y.a.b"),
        ("+.*.a", "x.y.a", "a"),
        (".*.a", "x.y.a", "y.a"),
        ("a.*.b", "a.x.b", "a.b"),
    ],
)
def test_pattern_as_a_condition(pattern: str, inside: str, outside: str) -> None:
    for content in (
        RuleSetContent(wildcard=[pattern]),
        RuleSetContent(conditions=[pattern_condition(pattern)]),
    ):
        assert holds(content, To(inside))
        assert not holds(content, To(outside))


def test_entries_are_the_same_set() -> None:
    content = RuleSetContent(
        ["e"], ["s"], ["b"], ["*.w"], ["k"], ["^r$"], [(4, 1, 6)], [Condition("DST-PORT", "80")]
    )
    flat = RuleSetContent(conditions=entries(content))
    for flow in (
        To("e"),
        To("x.s"),
        To("x.b"),
        To("b"),
        To("x.w"),
        To("ak"),
        To("r"),
        To("", "0.0.0.6"),
        To("", "0.0.0.7"),
    ):
        assert holds(content, flow) is holds(flat, flow)
    twice = RuleSetContent()
    extend(twice, content)
    assert twice == content
