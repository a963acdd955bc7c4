"""Who decides: rules, or one way for all."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.control.helm.world import info_to, keeping
from tunproxy.control.helm.modes import Modes
from tunproxy.control.helm.ways import Ways
from tunproxy.control.helm.wishes import Wishes
from tunproxy.errors import ConfigError
from tunproxy.flow.verdict import REJECT


def test_mode_takes_all_flows_and_gives_them_back(tmp_path: Path) -> None:
    wishes, changes = Wishes(), []
    with keeping(tmp_path) as keeper:
        modes = Modes(keeper, Ways(keeper, None, {}), lambda: changes.append(1), wishes)
        modes.adopt(keeper.policy)
        assert keeper.decider.current is keeper.policy.decider
        assert keeper.decider.decide(info_to("x.example")).kind == REJECT
        assert modes.set({"mode": "direct"}) == {"mode": "direct", "way": "direct"}
        verdict = keeper.decider.decide(info_to("x.example"))
        assert (verdict.upstream, verdict.why) == ("direct", "mode direct")
        modes.set({"mode": "global", "way": "work"})
        verdict = keeper.decider.decide(info_to("x.example"))
        assert (verdict.upstream, verdict.chain) == ("s5", "GLOBAL → work → s5")
        stage = modes.stage()
        assert stage is not None
        assert str(stage.decide(info_to("x.example"))) == str(keeper.decider.decide(info_to("x.example")))
        modes.set({"way": "REJECT"})
        verdict = keeper.decider.decide(info_to("z.example"))
        assert (verdict.kind, verdict.chain) == (REJECT, "GLOBAL → reject")
        assert (wishes.mode, wishes.way, len(changes)) == ("global", "reject", 3)
        modes.set({"mode": "global"})
        assert len(changes) == 3
        modes.set({"mode": "rule"})
        assert keeper.decider.current is keeper.policy.decider
        assert modes.stage() is None


def test_mode_stays_with_a_new_policy_its_way_as_long_as_there_is_one(tmp_path: Path) -> None:
    with keeping(tmp_path) as keeper:
        for way, upstream in (("work", "s5"), ("gone", "direct")):
            wishes = Wishes(mode="global", way=way)
            Modes(keeper, Ways(keeper, None, {}), lambda: None, wishes).adopt(keeper.policy)
            assert keeper.decider.decide(info_to("x.example")).upstream == upstream


def test_policy_without_rules_takes_modes_too(tmp_path: Path) -> None:
    with keeping(tmp_path, text='[dns]\nmode = "off"\n') as keeper:
        assert keeper.decider.constant() is not None
        modes = Modes(keeper, Ways(keeper, None, {}), lambda: None, Wishes())
        modes.set({"mode": "global", "way": "reject"})
        assert keeper.decider.constant() is None
        assert keeper.decider.decide(info_to("")).kind == REJECT


@pytest.mark.parametrize("about", [{"mode": "script"}, {"mode": None}, {"way": "nobody"}, {"way": 7}])
def test_wrong_mode_changes_nothing(tmp_path: Path, about: dict[str, Any]) -> None:
    wishes = Wishes()
    with keeping(tmp_path) as keeper, pytest.raises(ConfigError, match="there is no"):
        Modes(keeper, Ways(keeper, None, {}), lambda: None, wishes).set(about)
    assert wishes == Wishes()
