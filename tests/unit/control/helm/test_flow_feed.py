"""Flows for who looks on: what is new in words, the rest in numbers."""

from array import array
from pathlib import Path
from typing import Any

import pytest

from tests.unit.control.helm.world import info_to, keeping
from tunproxy import clock
from tunproxy.control.helm import flow_feed
from tunproxy.control.helm.flow_feed import FlowFeed
from tunproxy.control.helm.owner_search import OwnerSearch
from tunproxy.control.keeper import PolicyKeeper
from tunproxy.decide.recent import RecentFlows
from tunproxy.errors import ConfigError
from tunproxy.flow.life import FlowLife


class Place:
    def __init__(self, keeper: PolicyKeeper) -> None:
        self.keeper = keeper
        self.recent = RecentFlows(10)
        self.alive: list[FlowLife] = []
        self.ended: list[Any] = []
        self.feed = FlowFeed((lambda: self.alive,), (self.end,), self.recent, OwnerSearch(None))

    def end(self, numbers: frozenset[int] | None) -> int:
        self.ended.append(numbers)
        return 1

    def begin(self, host: str, port: int = 80) -> FlowLife:
        info = info_to(host, port)
        life = FlowLife(self.recent.number(), info, self.keeper.decider.decide(info), clock.now())
        self.alive.append(life)
        return life

    def news(self, since: int, after: int = -1) -> dict[str, Any]:
        told = self.feed.news({"since": since, "after": after})
        flat = array("q", bytes.fromhex(told.pop("tallies")))
        return told | {"numbers": [*flat[::3]], "up": [*flat[1::3]], "down": [*flat[2::3]]}


def test_what_is_new_is_told_once(tmp_path: Path) -> None:
    with keeping(tmp_path) as keeper:
        place = Place(keeper)
        first = place.begin("a.example")
        told = place.news(-1)
        assert [row["number"] for row in told["rows"]] == [1]
        assert told["over"] == []
        first.up, first.down = 3, 4
        again = place.news(told["now"])
        assert (again["rows"], again["numbers"], again["up"], again["down"]) == ([], [1], [3], [4])
        first.opened_at = again["now"] + 1
        second = place.begin("x.example")
        second_at = again["now"]
        third = place.news(second_at)
        assert [(row["number"], row["state"]) for row in third["rows"]] == [(1, "open"), (2, "opening")]
        place.alive.remove(second)
        second.ended_at, second.reason = max(third["now"], second.began_at) + 1, "refused"
        place.recent.closed(second)
        last = place.news(third["now"])
        assert [(row["number"], row["reason"]) for row in last["over"]] == [(2, "refused")]
        assert last["numbers"] == [1]
        assert len(last["run"]) == 12
        assert Place(keeper).news(-1)["run"] != last["run"]


def test_many_flows_are_told_a_part_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_feed, "MOST", 3)
    with keeping(tmp_path) as keeper:
        place = Place(keeper)
        for port in range(1, 8):
            place.begin("a.example", port)
        told, since, after = [], -1, -1
        for expected in ((1, 2, 3), (4, 5, 6), (7,)):
            found = place.news(since, after)
            assert tuple(row["number"] for row in found["rows"]) == expected
            told, since, after = found["numbers"], found["now"], found["after"]
            assert (after < 0) is bool(told)
        assert told == [1, 2, 3, 4, 5, 6, 7]
        assert place.news(since, after)["rows"] == []


def test_row_says_what_dashboards_show(tmp_path: Path) -> None:
    with keeping(tmp_path) as keeper:
        place = Place(keeper)
        place.begin("a.example")
        place.begin("z.example")
        rows = place.news(-1)["rows"]
        assert [row["condition"] for row in rows] == [["DOMAIN", "a.example", [], []], None]
        assert [row["chain"] for row in rows] == ["work → s5", "direct"]
        assert rows[0]["is_chosen"] is rows[0]["is_fake"] is rows[0]["sniffed"] is False
        assert (rows[0]["process"], rows[0]["uid"]) == ("", -1)
        assert 1.7e9 < rows[0]["began"] < 4e9


def test_flows_are_ended_by_number(tmp_path: Path) -> None:
    with keeping(tmp_path) as keeper:
        place = Place(keeper)
        run = place.news(-1)["run"]
        assert place.feed.end({"numbers": [1, 2, "x", True], "run": run}) == {"ended": 1}
        assert place.feed.end({}) == {"ended": 1}
        assert place.feed.end({"numbers": [1], "run": "0" * 12}) == {"ended": 0}
        assert place.ended == [frozenset({1, 2}), None]
        for wrong in ({"numbers": 7}, {"numbers": "1"}):
            with pytest.raises(ConfigError):
                place.feed.end(wrong)
        for since in (None, "0", True, 1.5):
            with pytest.raises(ConfigError):
                place.feed.news({"since": since})
