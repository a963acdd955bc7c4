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


def test_flows_that_would_come_back_are_refused_whoever_decides_until_they_do_not() -> None:
    decider = SwitchableDecider(StaticDecider(Verdict(DIAL, "direct")))
    other = FlowInfo("udp", bytes(16), 1, bytes(16), 2)
    assert not decider.refuse(())
    assert decider.refuse((4,))
    assert not decider.refuse([4])
    assert decider.constant() is None
    decider.switch(Sniffing())
    sniffed = decider.decide_sniffed(FLOW, b"name")
    assert sniffed is not None
    assert [verdict.kind for verdict in (decider.decide(FLOW), sniffed)] == [REJECT, REJECT]
    assert "come back" in sniffed.why
    decider.switch(StaticDecider(Verdict(DIAL, "direct")))
    assert decider.decide(other).kind == DIAL
    assert decider.refuse((6,))
    assert (decider.decide(FLOW).kind, decider.decide(other).kind) == (DIAL, REJECT)
    assert decider.refuse(())
    assert decider.decide(other).kind == DIAL
    assert decider.constant() is not None
