"""A decider that can be exchanged: new flows get the new one, open ones keep what they have."""

from tunproxy.flow.ports import Decider
from tunproxy.flow.verdict import FlowInfo, Verdict


class SwitchableDecider(Decider):
    """Asks whoever is current; whoever has asked for what is ``constant`` has to be told of a switch."""

    def __init__(self, current: Decider) -> None:
        self.current = current

    def switch(self, decider: Decider) -> None:
        """Ask decider from now on."""
        self.current = decider

    def decide(self, info: FlowInfo) -> Verdict:
        return self.current.decide(info)

    def decide_sniffed(self, info: FlowInfo, data: bytes) -> Verdict | None:
        return self.current.decide_sniffed(info, data)

    def constant(self) -> Verdict | None:
        return self.current.constant()
