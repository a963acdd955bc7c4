"""A decider that can be exchanged."""

from tunproxy.decide.switch import SwitchableDecider
from tunproxy.flow.ports import Decider
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.verdict import DIAL, REJECT, FlowInfo, Verdict

FLOW = FlowInfo("tcp", bytes(4), 1, bytes(4), 2)


class Sniffing(Decider):
    def decide_sniffed(self, info: FlowInfo, data: bytes) -> Verdict | None:
        return Verdict(DIAL, data.decode())


def test_switch_decides_the_flows_that_come_after_it() -> None:
    decider = SwitchableDecider(StaticDecider(Verdict(DIAL, "old")))
    assert decider.decide(FLOW).upstream == "old"
    decider.switch(StaticDecider(Verdict(REJECT, "new")))
    assert decider.decide(FLOW).upstream == "new"


def test_sniffed_octets_go_to_the_current_one() -> None:
    decider = SwitchableDecider(StaticDecider(Verdict(DIAL, "old")))
    decider.switch(Sniffing())
    verdict = decider.decide_sniffed(FLOW, b"name")
    assert verdict is not None
    assert verdict.upstream == "name"


def test_what_is_constant_is_what_the_current_one_says() -> None:
    static = StaticDecider(Verdict(DIAL, "old"))
    decider = SwitchableDecider(static)
    assert decider.constant() is static.constant()
    decider.switch(Sniffing())
    assert decider.constant() is None
