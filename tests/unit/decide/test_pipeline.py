"""Stages and the default."""

from tunproxy.decide.pipeline import Pipeline, Stage, build_decider
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.verdict import DIAL, REJECT, FlowInfo, Verdict

DEFAULT = Verdict(DIAL, "direct")
FLOW = FlowInfo("tcp", bytes(4), 1, bytes(4), 80)


class Saying(Stage):
    def __init__(self, verdict: Verdict | None) -> None:
        self.verdict = verdict
        self.asked: list[FlowInfo] = []

    def decide(self, info: FlowInfo) -> Verdict | None:
        self.asked.append(info)
        return self.verdict


def test_first_stage_with_an_answer_wins() -> None:
    first, second, third = Saying(None), Saying(Verdict(REJECT, "a")), Saying(Verdict(REJECT, "b"))
    assert Pipeline([first, second, third], DEFAULT).decide(FLOW) is second.verdict
    assert (first.asked, second.asked, third.asked) == ([FLOW], [FLOW], [])


def test_no_answer_falls_back_to_the_default() -> None:
    assert Pipeline([Saying(None)], DEFAULT).decide(FLOW) is DEFAULT


def test_no_stage_makes_a_static_decider() -> None:
    decider = build_decider([], DEFAULT)
    assert isinstance(decider, StaticDecider)
    assert decider.decide(FLOW) is DEFAULT


def test_stages_make_a_decider_that_asks_them() -> None:
    decider = build_decider([Saying(Verdict(REJECT, "a"))], DEFAULT)
    assert decider.decide(FLOW).upstream == "a"
