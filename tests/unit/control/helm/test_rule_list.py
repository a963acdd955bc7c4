"""Rules as they stand, with hits."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from tests.unit.control.helm.world import info_to, keeping
from tunproxy.control.helm.rule_list import RuleList, observed_rules, size_of
from tunproxy.control.helm.wishes import Wishes
from tunproxy.errors import ConfigError
from tunproxy.rules.model import RuleSetContent
from tunproxy.rulesets.files import parse_set


def test_rules_are_told_once_a_generation_and_hits_always(tmp_path: Path) -> None:
    with keeping(tmp_path) as keeper:
        rules = RuleList(keeper)
        found = asyncio.run(rules.describe({}))
        assert found["rules"] == [
            [["DOMAIN", "a.example", [], []], "work", -1],
            [["RULE-SET", "d", [], []], "REJECT", -1],
            [["AND", "((NETWORK,udp),(DST-PORT,443))", [],
              [["NETWORK", "udp", [], []], ["DST-PORT", "443", [], []]]], "REJECT", -1],
        ]  # fmt: skip
        assert (found["default"], found["sets"], found["hits"]) == ("DIRECT", {"d": 2}, [])
        for host in ("a.example", "z.example", "a.example", "q.y.example"):
            keeper.decider.decide(info_to(host))
        again = asyncio.run(rules.describe({"generation": 1}))
        assert again.keys() == {"generation", "hits", "off"}
        assert sorted(hit[:2] for hit in again["hits"]) == [[-1, 1], [0, 2], [1, 1]]
        assert all(abs(hit[2] - time.time()) < 60 for hit in again["hits"])
        assert "rules" in asyncio.run(rules.describe({"generation": 2}))


def test_rule_is_switched_off_and_on(tmp_path: Path) -> None:
    with keeping(tmp_path) as keeper:
        rules = RuleList(keeper)
        assert rules.switch({"switches": {"0": True, "2": True}}) == {"off": [0, 2], "generation": 1}
        assert keeper.policy.summary()["rules_off"] == 2
        info = info_to("a.example")
        assert keeper.decider.decide(info).upstream == "direct"
        assert info.trace.passed_over == [~0]  # type: ignore[attr-defined]
        assert rules.switch({"switches": {"0": False}}) == {"off": [2], "generation": 1}
        assert keeper.decider.decide(info_to("a.example")).upstream == "s5"


@pytest.mark.parametrize(
    "switches",
    [None, [], {"3": True}, {"x": True}, {"-1": True}, {"0": 1}, {"0": True, "9": True}, {"\xb2": True}],
)
def test_what_is_no_rule_changes_nothing(tmp_path: Path, switches: Any) -> None:
    with keeping(tmp_path) as keeper:
        rules = RuleList(keeper)
        with pytest.raises(ConfigError):
            rules.switch({"switches": switches})
        assert asyncio.run(rules.describe({}))["off"] == []


def test_size_counts_all_entries() -> None:
    assert size_of(RuleSetContent()) == 0
    assert size_of(RuleSetContent(exact=["a"], keyword=["b"], ranges=[(4, 0, 1)])) == 3
    assert size_of(parse_set(b"a.example\n+.b.example\nc.example\n", "x", "text", "domain", "")) == 3


def test_rules_that_only_count_have_their_hits_and_octets(tmp_path: Path) -> None:
    text = 'rules = ["DST-PORT,80,REJECT,observe", "MATCH,REJECT,observe"]\n[dns]\nmode = "off"\n'
    with keeping(tmp_path, text=text) as keeper:
        rules = RuleList(keeper)
        for port in (80, 80, 22):
            assert keeper.decider.decide(info_to("", port)).upstream == "direct"
        assert keeper.policy.ruling is not None
        keeper.policy.ruling.hits.note_octets([0], 500)
        found = asyncio.run(rules.describe({}))
        assert found["observed"] == [[0, 2, 500], [1, 3, 0]]
        assert sorted(hit[:2] for hit in found["hits"]) == [[-1, 3], [0, 2], [1, 3]]
        assert observed_rules(keeper.policy, 1) == [
            {
                "rule": "DST-PORT,80,REJECT,observe",
                "place": f"{tmp_path / 'tunproxy.toml'}:1",
                "flows": 2,
                "octets": 500,
            }
        ]


@pytest.mark.parametrize(("generation", "off"), [(1, [0, 2]), (2, [])])
def test_worker_that_takes_another_s_place_has_the_same_rules_off(
    tmp_path: Path, generation: int, off: list[int]
) -> None:
    with keeping(tmp_path) as keeper:
        rules = RuleList(keeper, Wishes(off=frozenset({0, 2}), off_of=generation))
        rules.adopt(keeper.policy)
        assert keeper.policy.ruling is not None
        assert keeper.policy.ruling.hits.switched_off() == off
