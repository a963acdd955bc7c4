"""Stages in a row before the rules."""

import pytest

from tests.unit.decide.world import World, flow
from tunproxy.decide.stage import Stage
from tunproxy.flow.verdict import REJECT, FlowInfo, Verdict


class Saying(Stage):
    def __init__(self, verdict: Verdict | None) -> None:
        self.verdict = verdict
        self.asked: list[FlowInfo] = []

    def decide(self, info: FlowInfo) -> Verdict | None:
        self.asked.append(info)
        return self.verdict


def test_first_stage_with_an_answer_wins_and_those_behind_are_not_asked() -> None:
    first, second, third = Saying(None), Saying(Verdict(REJECT, "a")), Saying(Verdict(REJECT, "b"))
    info = flow()
    assert World("MATCH,work", stages=[first, second, third]).decider.decide(info) is second.verdict
    assert (first.asked, second.asked, third.asked) == ([info], [info], [])


def test_no_answer_leaves_the_flow_to_the_default() -> None:
    stage = Saying(None)
    info = flow()
    assert World(stages=[stage]).decider.decide(info).upstream == "direct"
    assert stage.asked == [info]


def test_stage_without_an_opinion_to_give_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="decide"):
        Stage()  # type: ignore[abstract]
