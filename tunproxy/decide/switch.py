"""A decider that can be exchanged: new flows get the new one, open ones keep what they have."""

from typing import final

from mypy_extensions import mypyc_attr

from tunproxy.flow.ports import Decider
from tunproxy.flow.verdict import FlowInfo, Verdict


@final
@mypyc_attr(native_class=True)
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
