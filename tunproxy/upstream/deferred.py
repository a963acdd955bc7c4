"""A flow whose verdict has to be waited for: an upstream that becomes the one that is chosen then.

Whoever decides is a ``Settling``: the rules, which want to know a name's address or a process first, or a
plugin whose hook is a coroutine (``plugin.waiting``).
"""

import errno
import socket
from abc import abstractmethod
from collections.abc import Sequence
from typing import Final, Protocol

from tunproxy.flow.framing import Framing
from tunproxy.flow.targets import Targets
from tunproxy.flow.verdict import DIAL, DROP, REJECT, FlowInfo, Verdict
from tunproxy.upstream.base import Dialer, Opened, OpenError, OpenUpstream
from tunproxy.upstream.datagrams import DatagramStream, DatagramUpstream, DatagramWay
from tunproxy.upstream.knowledge import UDP

NAME: Final = "undecided"


class Settling(Protocol):
    """Whoever decides."""

    @abstractmethod
    async def settle(self, info: FlowInfo) -> Verdict:
        """Return the verdict once it is there; it waits for nothing more."""

    @abstractmethod
    def addresses_of(self, info: FlowInfo) -> Sequence[str]:
        """Return what the flow's name was resolved to, best first; none where its target is dialled."""

    @abstractmethod
    def is_unresolved(self, info: FlowInfo) -> bool:
        """Tell whether the flow was refused because nobody knows where its name is."""


class DeferredUpstream(OpenUpstream, DatagramUpstream):
    """Waits for the verdict, then opens the flow the way it says."""

    def __init__(self, settler: Settling, targets: Targets, name: str = NAME) -> None:
        super().__init__(name)
        self.knowledge.declare(UDP, True)
        self._settler: Final = settler
        self._targets: Final = targets

    async def open(self, info: FlowInfo, dialer: Dialer) -> socket.socket | Opened:
        return await self.go(info, await self.settled(info), dialer)

    async def settled(self, info: FlowInfo) -> Verdict:
        """Return the verdict, whatever it is, once it is there: what fails from then on is not our doing."""
        return await self._settler.settle(info)

    async def go(self, info: FlowInfo, verdict: Verdict, dialer: Dialer) -> socket.socket | Opened:
        """Open the flow the way that ``settled`` has returned; raises as open does."""
        self._check(info, verdict)
        if verdict.kind == DIAL:
            error = OSError(errno.EHOSTUNREACH, "nothing to dial")
            for address, port in self._ends(info, verdict):
                try:
                    return await dialer.connect(address, port)
                except OSError as failure:
                    error = failure
            raise error
        if isinstance(verdict.opener, OpenUpstream):  # that of CONVERSE is one, too
            return await verdict.opener.open(info, dialer)
        raise OpenError(f"nobody can open {verdict}")

    async def open_datagrams(self, info: FlowInfo, dialer: Dialer) -> DatagramWay | DatagramStream:
        verdict = await self.settled(info)
        self._check(info, verdict)
        if verdict.kind == DIAL:
            address, port = self._ends(info, verdict)[0]
            return DatagramWay(await dialer.connect_datagrams(address, port), Framing())
        if isinstance(verdict.opener, DatagramUpstream):
            return await verdict.opener.open_datagrams(info, dialer)
        raise OpenError(f"{verdict.upstream} carries no datagrams")

    def directed(self, info: FlowInfo, verdict: Verdict) -> Verdict:
        """Return what ``settled`` has returned, for whoever goes there by himself; raises as open does.

        Where it dials an address, that is one that the flow may go to.
        """
        self._check(info, verdict)
        if verdict.kind != DIAL or not verdict.address:
            return verdict
        address, port = self._ends(info, verdict)[0]
        return Verdict(DIAL, verdict.upstream, address, port, None, verdict.why, verdict.chain)

    def _check(self, info: FlowInfo, verdict: Verdict) -> None:
        """Raise what tells the client that a verdict lets the flow go nowhere, where it does not."""
        if verdict.kind == DROP:
            raise TimeoutError(errno.ETIMEDOUT, f"dropped: {verdict}")
        if verdict.kind == REJECT:
            if self._settler.is_unresolved(info):
                raise OSError(errno.EHOSTUNREACH, f"no address for {info.host!r}")
            raise ConnectionRefusedError(errno.ECONNREFUSED, f"rejected: {verdict}")

    def _ends(self, info: FlowInfo, verdict: Verdict) -> list[tuple[str, int]]:
        """Return where to dial, best first; raises OpenError where nothing may be."""
        port = int(verdict.port) or info.target_port
        addresses = self._settler.addresses_of(info)
        if verdict.address and verdict.address in addresses:
            found = [self._targets.resolve(_packed(address), port) for address in addresses]
        elif verdict.address:
            return [(verdict.address, port)]
        else:
            found = [self._targets.resolve(info.target, port)]
        allowed = [end for end in found if end is not None]
        if not allowed:
            raise OpenError("the target is no address that a flow may go to", errno.EHOSTUNREACH)
        return allowed


class Deferrer:
    """Makes the openers of flows that wait. Each datagram flow gets its own: its way leads to one target."""

    def __init__(self, settler: Settling, targets: Targets) -> None:
        self._settler: Final = settler
        self._targets: Final = targets
        self._for_streams: Final = DeferredUpstream(settler, targets)

    def opener_for(self, info: FlowInfo) -> DeferredUpstream | None:
        """Return what opens this flow, None for a ping, which nobody can open."""
        if info.protocol == "tcp":
            return self._for_streams
        return DeferredUpstream(self._settler, self._targets) if info.protocol == "udp" else None


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
