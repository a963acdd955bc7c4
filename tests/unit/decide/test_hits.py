"""Hits of rules, and rules that are off."""

from tunproxy import clock
from tunproxy.decide.hits import RuleHits


def test_hits_are_counted_by_rule() -> None:
    hits = RuleHits()
    before = clock.now()
    for rule in (3, -1, 3, -2):
        hits.note(rule)
    assert hits.counts == {3: 2, -1: 2}
    assert set(hits.at) == {3, -1}
    assert all(before <= at <= clock.now() for at in hits.at.values())


def test_rules_are_switched() -> None:
    hits = RuleHits()
    assert not hits.has_off
    hits.switch(5, True)
    hits.switch(2, True)
    hits.switch(7, False)
    assert (hits.has_off, hits.is_off(5), hits.is_off(7), hits.switched_off()) == (True, True, False, [2, 5])
    others = RuleHits()
    others.switch(3, True)
    others.switch(2, True)
    others.switch_as(hits)
    assert (others.switched_off(), hits.switched_off()) == ([2, 5], [2, 5])
    hits.switch(5, False)
    hits.switch(2, False)
    others.switch_as(hits)
    assert (others.has_off, others.passes_some) == (False, False)
    assert (hits.has_off, hits.switched_off()) == (False, [])


def test_flows_and_octets_are_counted_for_rules_that_only_count() -> None:
    hits = RuleHits(frozenset({1, 9}))
    assert (hits.passes_some, hits.is_observed(1), hits.is_observed(2)) == (True, True, False)
    hits.note_seen(9)
    hits.note_seen(9)
    hits.note_octets([9, 1], 700)
    hits.note_octets([9], 50)
    assert (hits.seen, hits.octets, hits.counts) == ({9: 2}, {9: 750, 1: 700}, {})
    hits.switch(3, True)
    hits.switch(3, False)
    assert (hits.passes_some, hits.has_off) == (True, False)
    assert not RuleHits().passes_some
