"""The decider that says the same of every flow."""

from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.verdict import REJECT, FlowInfo, Verdict


def test_static_decider_gives_every_flow_the_same_verdict() -> None:
    verdict = Verdict(REJECT, "closed")
    decider = StaticDecider(verdict)
    for port in (80, 443):
        assert decider.decide(FlowInfo("tcp", bytes(4), 1, bytes(4), port)) is verdict


def test_static_decider_says_so() -> None:
    verdict = Verdict(REJECT, "closed")
    assert StaticDecider(verdict).constant() is verdict
