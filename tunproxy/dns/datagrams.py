"""Port 53 over UDP: datagrams that the packet path hands over, and what goes back."""

import asyncio
from typing import Final

from tunproxy.dns.own import OwnQueries
from tunproxy.dns.server import DnsServer
from tunproxy.flow.ports import DatagramReply, DatagramService
from tunproxy.upstream.opening import Yielding


class DnsDatagrams(DatagramService):
    """Answers every datagram to port, whatever target it was for, but for targets in spared (packed).

    What own knows as a query of ours is refused. dataplane is asked to let asyncio have its turn, when
    there is a task for it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dataplane: Yielding,
        server: DnsServer,
        *,
        port: int = 53,
        spared: frozenset[bytes] = frozenset(),
        own: OwnQueries | None = None,
    ) -> None:
        super().__init__(port)
        self._loop: Final = loop
        self._dataplane: Final = dataplane
        self._server = server
        self._spared: Final = spared
        self._own: Final = own if own is not None else OwnQueries()
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._is_closed = False

    def takes(self, target: bytes, target_port: int) -> bool:
        return not self._is_closed and target not in self._spared

    def on_datagram(
        self,
        client: bytes,
        client_port: int,
        target: bytes,
        target_port: int,
        payload: bytes,
        reply: DatagramReply,
    ) -> None:
        if self._own.is_ours(payload):
            reply.send(self._server.refuse(payload))
            return
        wire = self._server.answer_now(payload, client)
        if wire is None and self._server.admit(client):
            task = self._loop.create_task(self._answer(self._server, payload, client, reply))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._dataplane.yield_loop()
            return
        if wire is None:
            wire = self._server.turn_away(payload)
        if wire:
            reply.send(wire)

    def replace(self, server: DnsServer) -> None:
        """Have server answer from now on; what the old one was asked, it answers."""
        self._server = server

    def close(self) -> None:
        """Answer nothing any more."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()

    async def _answer(self, server: DnsServer, payload: bytes, client: bytes, reply: DatagramReply) -> None:
        wire = await server.answer_admitted(payload, client)
        if wire:
            reply.send(wire)
