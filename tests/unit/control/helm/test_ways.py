"""Ways as they are described, and choices."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.control.helm.world import info_to, keeping
from tunproxy.control.helm.ways import Ways
from tunproxy.errors import ConfigError
from tunproxy.upstream.health import Health


def test_ways_are_described_groups_last(tmp_path: Path) -> None:
    health = Health()
    with keeping(tmp_path, health) as keeper:
        health.adopt(keeper.policy.parts.watches)
        ways = Ways(keeper, health, {})
        found = {way["name"]: way for way in ways.describe()}
        names = list(found)
        assert set(names) == {"direct", "reject", "drop", "s5", "work", "fast", "many"}
        assert names[-3:] == ["work", "fast", "many"]
        assert {name: way["type"] for name, way in found.items()} == {
            "direct": "direct", "reject": "reject", "drop": "drop", "s5": "socks5", "work": "select",
            "fast": "url-test", "many": "load-balance",
        }  # fmt: skip
        assert found["work"]["members"] == ["s5", "direct", "fast"]
        assert (found["work"]["now"], found["fast"]["now"], found["many"]["now"]) == ("s5", "s5", None)
        assert [way["takes_choice"] for way in found.values() if way["is_group"]] == [True, True, False]
        record = health.records()["s5"][0]
        record.succeeded(12, 5.0)
        record.failed("no", 6.0)
        (tested,) = [way for way in ways.describe() if way["name"] == "s5"]
        assert {"url": record.url, "is_dead": True, "delays": [[5.0, 12], [6.0, 0]]} in tested["tests"]


def test_choice_is_in_force_at_once_and_with_the_next_policy(tmp_path: Path) -> None:
    choices: dict[str, str] = {}
    with keeping(tmp_path) as keeper:
        ways = Ways(keeper, None, choices)
        for member in ("DIRECT", "direct"):  # as it is written, or as it is called
            assert ways.choose({"group": "work", "member": member}) == {"group": "work", "member": "DIRECT"}
        assert keeper.decider.decide(info_to("a.example")).upstream == "direct"
        assert choices == {"work": "DIRECT"}
    with keeping(tmp_path) as other:
        assert other.decider.decide(info_to("a.example")).upstream == "s5"
        Ways(other, None, choices).adopt(other.policy)
        assert other.decider.decide(info_to("a.example")).upstream == "direct"
        Ways(other, None, {"work": "gone", "nobody": "s5", "s5": "x", "many": "s5"}).adopt(other.policy)
        assert other.decider.decide(info_to("a.example")).upstream == "direct"
        Ways(other, None, choices).choose({"group": "work", "member": ""})
        assert choices == {}
        assert other.decider.decide(info_to("a.example")).upstream == "s5"


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"group": "nobody", "member": "s5"}, "there is no upstream or group 'nobody'"),
        ({"group": "s5", "member": "s5"}, "'s5' is no group"),
        ({"group": "work", "member": "x"}, "has no member 'x'"),
        ({"group": "work"}, "has no member None"),
        ({"group": "many", "member": "s5"}, "group 'many' chooses by itself"),
        ({}, "there is no upstream or group None"),
    ],
)
def test_wrong_choice_is_told(tmp_path: Path, about: dict[str, Any], why: str) -> None:
    choices: dict[str, str] = {}
    with keeping(tmp_path) as keeper, pytest.raises(ConfigError, match=why):
        Ways(keeper, None, choices).choose(about)
    assert choices == {}
