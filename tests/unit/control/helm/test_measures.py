"""What a worker measures."""

from pathlib import Path
from typing import Any

from tests.unit.control.helm.world import info_to, keeping
from tunproxy.control.helm import measures
from tunproxy.control.helm.measures import Measures
from tunproxy.upstream.health import Health


class Names:
    def statistics(self) -> dict[str, object]:
        return {"queries": 3}


NAMES: Any = Names()


def test_flows_are_counted_by_target_and_by_rule(tmp_path: Path) -> None:
    with keeping(tmp_path) as keeper:
        measured = Measures(keeper, Health(), NAMES)
        assert measured.document({})["rules"] == []
        for host in ("a.example", "z.example", "a.example", "q.y.example"):
            keeper.decider.decide(info_to(host))
        found = measured.document({})
        assert found["targets"] == {"work": 2, "REJECT": 1, "DIRECT": 1}
        assert found["rules"] == [
            [-1, "", "DIRECT", 1], [0, "DOMAIN,a.example,work", "work", 2],
            [1, "RULE-SET,d,REJECT", "REJECT", 1],
        ]  # fmt: skip
        assert found["dns"] == {"queries": 3}


def test_rules_beyond_the_first_count_in_their_target_only(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(measures, "MOST_RULES", 1)
    with keeping(tmp_path) as keeper:
        keeper.decider.decide(info_to("a.example"))
        keeper.decider.decide(info_to("z.example"))
        found = Measures(keeper, Health(), NAMES).document({})
        assert len(found["rules"]) == 1
        assert sum(found["targets"].values()) == 2


def test_upstreams_that_were_tested_tell_how_it_went(tmp_path: Path) -> None:
    health = Health()
    with keeping(tmp_path, health) as keeper:
        health.adopt(keeper.policy.parts.watches)
        measured = Measures(keeper, health, NAMES)
        assert measured.document({})["upstreams"] == {}
        record = health.records()["s5"][0]
        record.succeeded(12, 5.0)
        assert measured.document({})["upstreams"] == {
            "s5": {"is_well": True, "failures": 0, "seconds": 0.012}
        }
        record.failed("no", 6.0)
        record.failed("no", 7.0)
        assert measured.document({})["upstreams"] == {
            "s5": {"is_well": False, "failures": 2, "seconds": None}
        }
        assert measured.document({})["groups"] == {"work": "s5", "fast": "s5", "many": None}


def test_without_rules_nothing_is_counted(tmp_path: Path) -> None:
    with keeping(tmp_path, text='default = "DIRECT"\n[dns]\nmode = "off"\n') as keeper:
        found = Measures(keeper, Health(), NAMES).document({})
        assert (found["targets"], found["rules"], found["groups"]) == ({}, [], {})
