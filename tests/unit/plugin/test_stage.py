"""Asking the plugins that decide flows."""

import logging
import sys

import pytest

from tests.unit.decide.world import World, flow
from tunproxy.plugin.api import DROP, REJECT, DialUpstream, FlowInfo, Verdict
from tunproxy.plugin.manager import Hook
from tunproxy.plugin.stage import MAX_FAULTS, PluginStage
from tunproxy.upstream.base import Upstream

FLOW = FlowInfo("tcp", bytes([10, 0, 0, 2]), 40000, bytes([192, 0, 2, 7]), 80)
UPSTREAMS: dict[str, Upstream] = {"direct": DialUpstream("direct")}


class Deciding:
    """A plugin whose answers are what a test puts in."""

    def __init__(self, answer: object = None) -> None:
        self.answer = answer
        self.calls = 0

    def __call__(self, info: FlowInfo) -> object:
        self.calls += 1
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


def stage(**plugins: Deciding) -> PluginStage:
    return PluginStage([Hook(name, plugin, ("info",)) for name, plugin in plugins.items()], UPSTREAMS)


def test_decide_first_opinion_wins() -> None:
    verdict = Verdict(REJECT, "no")
    silent, firm, late = Deciding(), Deciding(verdict), Deciding(Verdict(DROP, "late"))
    assert stage(silent=silent, firm=firm, late=late).decide(FLOW) is verdict
    assert (silent.calls, firm.calls, late.calls) == (1, 1, 0)


def test_decide_nobody_has_an_opinion_is_none() -> None:
    assert stage(a=Deciding(), b=Deciding()).decide(FLOW) is None


def test_decide_hands_over_flow_and_upstreams() -> None:
    hook = Hook(
        "chooser",
        lambda upstreams, info: upstreams["direct"].verdict_for(info, str(info)),
        ("upstreams", "info"),
    )
    verdict = PluginStage([hook], UPSTREAMS).decide(FLOW)
    assert verdict is not None
    assert str(verdict) == "direct (dial, tcp 10.0.0.2:40000 -> 192.0.2.7:80)"


@pytest.mark.parametrize(
    "answer",
    [
        RuntimeError("broken"),
        KeyError("no such upstream"),
        SystemExit(1),
        KeyboardInterrupt(),
        "direct",
        UPSTREAMS["direct"],
        Verdict(9, "odd"),
        Verdict(0, "name", "example.org", 80),
        Verdict(0, "port", "192.0.2.1", 65536),
        Verdict(1, "nobody", opener=sys),
    ],
)
def test_decide_faulty_plugin_is_logged_and_skipped(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    verdict = Verdict(REJECT, "no")
    asked = stage(bad=Deciding(answer), good=Deciding(verdict))
    with caplog.at_level(logging.ERROR):
        assert asked.decide(FLOW) is verdict
    assert asked.faults() == {"bad": 1}
    assert "192.0.2.7:80: plugin bad failed to decide" in caplog.text


def test_decide_after_repeated_faults_plugin_is_suspended(caplog: pytest.LogCaptureFixture) -> None:
    bad, good = Deciding(RuntimeError("broken")), Deciding()
    asked = stage(bad=bad, good=good)
    for _ in range(MAX_FAULTS + 3):
        assert asked.decide(FLOW) is None
    assert (bad.calls, good.calls) == (MAX_FAULTS, MAX_FAULTS + 3)
    assert asked.faults() == {"bad": MAX_FAULTS}
    assert f"plugin bad failed {MAX_FAULTS} times in a row: not asked any more" in caplog.text


@pytest.mark.parametrize("answer", [None, Verdict(REJECT, "no")])
def test_decide_good_answer_in_between_forgives(answer: object) -> None:
    plugin = Deciding()
    asked = stage(shaky=plugin)
    for _ in range(3):
        plugin.answer = RuntimeError("broken")
        for _ in range(MAX_FAULTS - 1):
            asked.decide(FLOW)
        plugin.answer = answer
        asked.decide(FLOW)
    assert plugin.calls == 3 * MAX_FAULTS


def test_record_tells_a_fault_and_a_pause_from_no_opinion() -> None:
    """What explain shows of a flow: who failed has not been without an opinion."""
    bad, silent = Deciding(RuntimeError("broken")), Deciding()
    asked = stage(bad=bad, silent=silent)

    def said() -> list[object]:
        info = flow()
        found = World().ruling.trace(info)
        asked.decide(info)
        return [answer for _, _, answer in found.asked]

    assert [said() for _ in range(MAX_FAULTS)] == [["failed: RuntimeError: broken", None]] * MAX_FAULTS
    assert said() == ["suspended for its faults", None]
