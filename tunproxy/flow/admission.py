"""Who may begin a flow: enough for everybody who means it, whoever else sends SYNs.

An *embryo* is a flow whose client has proved nothing: its target is being dialled, or has answered, but the
client's ACK has not come. A forged SYN makes an embryo, and with it a socket and a connection to somebody, so
embryos are few. Beyond their bound a SYN is answered with a cookie and forgotten (``tcp.cookie``); who brings
the cookie back has proved that he is there, and gets a flow that no flood can take away.

A flow with a cookie is the lesser one: its client is told that it is connected before the target was asked.
So an embryo that is old makes room for a new one; its client has long given up, or asks again. There is no
share for each address: the addresses of a flood are forged, and who gets a cookie is refused nothing.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.flow.budget import FULL
from tunproxy.flow.context import FlowContext
from tunproxy.flow.ending import evict

# what a SYN gets
DIALLED: Final[i64] = 0
COOKIE: Final[i64] = 1
NOTHING: Final[i64] = 2
NO_MEMORY: Final[i64] = 3  # nothing either

# our choices
MAX_EMBRYOS: Final[i64] = 1024  # a browser's start is 300 connects at once, a download manager's batch 500
PATIENCE: Final[Micros] = 3_000_000  # an embryo's age at which it may be evicted: one SYN sent again


@final
@mypyc_attr(native_class=True)
class Admission:
    """Keeps embryos below their bound and flows below max_flows; an established flow is never cut."""

    def __init__(self, context: FlowContext, max_flows: i64) -> None:
        self._context: Final = context
        self._max_flows: Final = max_flows
        self.max_embryos: Final = min(MAX_EMBRYOS, max(max_flows // 2, 1))

    def of_syn(self, now: Micros) -> i64:
        """Say what a SYN gets: DIALLED where there is room now; NOTHING where established flows take all."""
        context = self._context
        if context.budget.level == FULL:
            return NO_MEMORY
        while context.live >= self._max_flows or i64(len(context.embryos)) >= self.max_embryos:
            if len(context.embryos) == 0:
                return NOTHING
            if not self._evict(now - PATIENCE):
                return COOKIE
        return DIALLED

    def of_cookie(self, now: Micros) -> bool:
        """Make room for a client that has brought back a cookie; False where established flows fill all."""
        context = self._context
        while context.live >= self._max_flows:
            if not self._evict(now):
                return False
        return True

    def free_descriptor(self, has_proof: bool, now: Micros) -> bool:
        """Evict until a descriptor is free, for a client that has proof whoever is evicted, else the old."""
        context = self._context
        live = context.live
        while context.live >= live:
            if not self._evict(now if has_proof else now - PATIENCE):
                return False
        return True

    def _evict(self, born: Micros) -> bool:
        """Evict the oldest embryo if it began at born or before; return whether it did."""
        for flow in self._context.embryos.values():
            if flow.began_at > born:
                return False
            evict(flow)
            return True
        return False
