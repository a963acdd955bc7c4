"""Port 53 over TCP: a stream whose other end is us (RFC 7766)."""

import asyncio
import contextlib
import errno
import socket
from typing import Final

from tunproxy.decide.stage import Stage
from tunproxy.dns.server import DnsServer
from tunproxy.flow.verdict import FlowInfo, Verdict
from tunproxy.upstream.base import UNREACHABLE, Dialer, OpenError, OpenUpstream

# our choices
NAME: Final = "dns"
IDLE_LIMIT: Final = (
    30.0  # seconds without a query (RFC 7766 §6.2.3: the more, the fewer connections there are)
)
MAX_STREAMS: Final = 1024  # two descriptors each
MAX_PIPELINED: Final = 64  # queries of one stream under way; the next are read when one is answered


class DnsStreamUpstream(OpenUpstream):
    """Opens flows to ourselves: each is one end of a pair of sockets, at whose other end server answers."""

    def __init__(
        self,
        server: DnsServer,
        name: str = NAME,
        *,
        idle_limit: float = IDLE_LIMIT,
        max_streams: int = MAX_STREAMS,
    ) -> None:
        super().__init__(name)
        self._server: Final = server
        self._idle_limit: Final = idle_limit
        self._max_streams: Final = max_streams
        self._tasks: Final[set[asyncio.Task[None]]] = set()

    def __len__(self) -> int:
        """Return how many streams are open."""
        return len(self._tasks)

    async def open(self, info: FlowInfo, dialer: Dialer) -> socket.socket:
        if len(self._tasks) >= self._max_streams:
            raise OpenError(f"{self._max_streams} streams of queries are open", UNREACHABLE)
        try:
            theirs, ours = socket.socketpair()
        except OSError as error:
            raise OpenError("no descriptors are left", error.errno or errno.EMFILE) from error
        theirs.setblocking(False)
        ours.setblocking(False)
        task = asyncio.get_running_loop().create_task(
            self._serve(ours, info.client), name=f"dns stream of {info}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return theirs

    async def close(self) -> None:
        """End all streams."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, sock: socket.socket, client: bytes) -> None:
        """Answer the queries of one stream, each as soon as its answer is known (RFC 7766 §6.2.1.1)."""
        try:
            reader, writer = await asyncio.open_connection(sock=sock)
        except OSError:
            sock.close()
            return
        stream = _Stream(self._server, client, reader, writer)
        try:
            await stream.run(self._idle_limit)
        except OSError:  # the client has gone
            pass
        finally:
            await stream.close()


class _Stream:
    """One client's stream of queries, each preceded by its length (RFC 1035 §4.2.2)."""

    def __init__(
        self, server: DnsServer, client: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server: Final = server
        self._client: Final = client
        self._reader: Final = reader
        self._writer: Final = writer
        self._answering: Final[set[asyncio.Task[None]]] = set()

    async def run(self, idle_limit: float) -> None:
        """Read queries until the client ends, asks for nothing any more, or sends what is none."""
        while True:
            try:
                try:
                    async with asyncio.timeout(idle_limit):
                        head = await self._reader.readexactly(2)
                except TimeoutError:
                    if self._answering:
                        continue
                    return
                async with asyncio.timeout(idle_limit):
                    query = await self._reader.readexactly(int.from_bytes(head, "big"))
            except asyncio.IncompleteReadError:  # what is under way is still answered: the client may wait
                await self._settle()
                return
            wire = self._server.answer_now(query, self._client, True)
            if wire is None:
                while len(self._answering) >= MAX_PIPELINED:
                    await asyncio.wait(self._answering, return_when=asyncio.FIRST_COMPLETED)
                task = asyncio.get_running_loop().create_task(self._answer(query))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
            elif wire:
                self._write(wire)
                await self._writer.drain()
            else:
                return  # no query, so that nobody knows where the next one would begin

    async def close(self) -> None:
        """Give up what is under way, and close."""
        for task in self._answering:
            task.cancel()
        self._writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()

    async def _settle(self) -> None:
        if self._answering:
            await asyncio.wait(self._answering)
        await self._writer.drain()

    async def _answer(self, query: bytes) -> None:
        wire = await self._server.answer_later(query, self._client, True)
        if wire and not self._writer.is_closing():
            self._write(wire)
            with contextlib.suppress(OSError):  # the client has gone, which the reader notices as well
                await self._writer.drain()

    def _write(self, wire: bytes) -> None:
        self._writer.write(len(wire).to_bytes(2, "big") + wire)


class HijackStage(Stage):
    """Sends TCP flows to port 53 to upstream, whatever their target, but for targets in spared (packed)."""

    def __init__(
        self, upstream: OpenUpstream, *, port: int = 53, spared: frozenset[bytes] = frozenset()
    ) -> None:
        self._verdict: Final = upstream.constant("port 53 is answered here")
        self._port: Final = port
        self._spared: Final = spared

    def decide(self, info: FlowInfo) -> Verdict | None:
        if info.target_port != self._port or info.protocol != "tcp" or info.target in self._spared:
            return None
        return self._verdict
