"""A decider that can be exchanged: new flows get the new one, open ones keep what they have."""

from collections.abc import Collection
from typing import Final, final

from mypy_extensions import mypyc_attr

from tunproxy.flow.ports import Decider
from tunproxy.flow.verdict import REJECT, FlowInfo, Verdict

LOOP: Final = "our own packets come back into the device"


@final
@mypyc_attr(native_class=True)
class SwitchableDecider(Decider):
    """Asks whoever is current; whoever has asked for what is ``constant`` has to be told of a switch.

    Where our own packets come back to us, each flow would make another one without end: flows to addresses
    of such a family are refused, whoever is current.
    """

    def __init__(self, current: Decider) -> None:
        self.current = current
        self._refusal: Verdict | None = None
        self._has_ipv4 = False
        self._has_ipv6 = False

    def switch(self, decider: Decider) -> None:
        """Ask decider from now on."""
        self.current = decider

    def refuse(self, versions: Collection[int]) -> bool:
        """Refuse flows over these versions of IP from now on, and no others; return whether that is news."""
        has_ipv4, has_ipv6 = 4 in versions, 6 in versions
        if (has_ipv4, has_ipv6) == (self._has_ipv4, self._has_ipv6):
            return False
        self._has_ipv4, self._has_ipv6 = has_ipv4, has_ipv6
        self._refusal = Verdict(REJECT, "", why=LOOP) if has_ipv4 or has_ipv6 else None
        return True

    def decide(self, info: FlowInfo) -> Verdict:
        refusal = self._refusal
        if refusal is not None and self._comes_back(info):
            return refusal
        return self.current.decide(info)

    def decide_sniffed(self, info: FlowInfo, data: bytes) -> Verdict | None:
        refusal = self._refusal
        if refusal is not None and self._comes_back(info):
            return refusal
        return self.current.decide_sniffed(info, data)

    def constant(self) -> Verdict | None:
        return self.current.constant() if self._refusal is None else None

    def _comes_back(self, info: FlowInfo) -> bool:
        return self._has_ipv4 if len(info.target) == 4 else self._has_ipv6
