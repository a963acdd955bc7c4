"""Finds UDP flows that look like a loop within one flow: they send and send, and are never answered.

A proxy that sends for all its clients from one port, whose datagrams come back to us, and go to it again,
makes no new flows: the same datagram goes round as fast as both of us can. Nobody answers, because it never
leaves. It is the same with who sends a log, so that whose it is has to be asked (``loop_guard``).

Twice a second it is looked at what flows have grown by, as long as there are flows through a proxy on this
host that have not been answered.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from tunproxy.datagram.table import DatagramTable
from tunproxy.flow.verdict import FlowInfo, Verdict

# our choices
LOOK: Final = 0.4  # seconds
GROWTH: Final = 4096  # octets within that time, without an answer

_log: Final = logging.getLogger(__name__)


class UdpLoops:
    """Calls suspect for each flow of datagrams that looks like that, on loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        datagrams: DatagramTable,
        suspect: Callable[[FlowInfo, Verdict], None],
    ) -> None:
        self._loop: Final = loop
        self._datagrams: Final = datagrams
        self._suspect: Final = suspect
        self._known: dict[int, int] = {}  # octets that flows had sent, by their numbers
        self._timer: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """Begin to look, if that is not going on: a flow is about to go to a proxy on this host."""
        if self._timer is None:
            self._timer = self._loop.call_later(LOOK, self._on_time)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _on_time(self) -> None:
        self._timer = None
        before, self._known = self._known, {}
        try:
            for life in self._datagrams.idle_lives():
                number, sent = int(life.number), int(life.up)
                self._known[number] = sent
                if sent - before.get(number, 0) >= GROWTH:
                    self._suspect(life.info, life.verdict)
        except Exception:  # must not end the packet path
            _log.exception("cannot look for loops of datagrams")
        if self._known:
            self.look()
