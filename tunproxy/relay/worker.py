"""One worker: an asyncio loop that serves clients until it is told to end, and then until they have ended."""

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tunproxy.codecs.shadowsocks_replay import SaltMemory
from tunproxy.relay.addresses import Listen
from tunproxy.relay.connection import Connection
from tunproxy.relay.desks import Desk
from tunproxy.relay.listening import Acceptor, bind
from tunproxy.relay.metrics import ACCEPTED, OPEN, TURNED_AWAY, Board, Tally
from tunproxy.relay.pump import DRAINED
from tunproxy.relay.service import Service
from tunproxy.relay.settings import RelayConfig
from tunproxy.relay.shadowsocks_server import ShadowsocksConnection, ShadowsocksServing
from tunproxy.relay.shadowsocks_udp import ShadowsocksDatagrams

# our choices
SWEEP: Final = 1.0  # seconds between two looks at what is idle
SETTLE: Final = 0.2  # seconds for cancelled coroutines to clean up

_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Post:
    """Where a worker stands: its number, where it listens, what it has for Shadowsocks with others."""

    number: int
    listens: Sequence[Listen]
    shadowsocks: Sequence[Listen] = ()
    salts: SaltMemory | None = None  # given where shadowsocks is
    desk: Desk | None = None  # given where its datagrams are served as well


async def work(config: RelayConfig, post: Post, board: Board, ready: int, lifeline: int) -> None:
    """Serve. An octet is written to the descriptor ready when clients may come.

    SIGTERM, or the end of the pipe lifeline, begins the end; a second SIGTERM is the end.
    """
    worker = Worker(config, Service(config, Tally(board, post.number)), board)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, worker.on_term)
    loop.add_reader(lifeline, _on_orphaned, loop, lifeline, worker)
    worker.listen(post)
    os.write(ready, b"1")
    gc.freeze()
    try:
        await worker.run()
    finally:
        worker.service.close()


def _on_orphaned(loop: asyncio.AbstractEventLoop, lifeline: int, worker: "Worker") -> None:
    loop.remove_reader(lifeline)
    _log.warning("the relay's first process has ended: so does this one, when its flows have")
    worker.on_term()


class Worker:
    """The clients of one process."""

    def __init__(self, config: RelayConfig, service: Service, board: Board) -> None:
        self.service: Final = service
        self._config: Final = config
        self._board: Final = board
        self._loop: Final = asyncio.get_running_loop()
        self._acceptors: Final[list[Acceptor]] = []
        self._datagrams: Final[list[ShadowsocksDatagrams]] = []
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._is_draining = False
        self._must_end: Final = asyncio.Event()
        self._drain_until = 0.0

    def listen(self, post: Post) -> None:
        """Let clients in. Raises SystemChangeError."""
        for listen in post.listens:
            self._acceptors.append(Acceptor(bind(listen), self._on_client))
        if not post.shadowsocks:
            return
        assert post.salts is not None
        server = ShadowsocksServing(self._config, self.service, post.salts)
        for listen in post.shadowsocks:
            acceptor = Acceptor(bind(listen), lambda sock, peer: self._admit(server.connection(sock, peer)))
            self._acceptors.append(acceptor)
        if post.desk is not None:
            self._datagrams.append(ShadowsocksDatagrams(post.desk, self._config, self.service))

    def on_term(self) -> None:
        """Begin to end: nobody is let in, and flows have [drain] seconds; the second time, end."""
        if self._is_draining:
            self._must_end.set()
            return
        self._is_draining = True
        self._drain_until = self._loop.time() + self._config.drain
        for acceptor in self._acceptors:
            acceptor.finish()
        if self._config.drain == 0:
            self._must_end.set()

    async def run(self) -> None:
        """Look after flows until the end."""
        service = self.service
        while not self._must_end.is_set():
            try:
                async with asyncio.timeout(SWEEP if not self._is_draining else 0.1):
                    await self._must_end.wait()
            except TimeoutError:
                pass
            now = self._loop.time()
            service.cut_idle(now)
            for each in self._datagrams:
                each.forget_idle(now)
            if self._is_draining and (self._is_quiet() or now >= self._drain_until):
                break
        await self._end()

    def _is_quiet(self) -> bool:
        return all(each.is_closed for each in self._acceptors) and not self._tasks and not self.service.going

    async def _end(self) -> None:
        for acceptor in self._acceptors:
            acceptor.close()
        for each in self._datagrams:
            each.close()
        left = len(self.service.going)
        for going in list(self.service.going):
            going.cut(DRAINED)
        if left:
            _log.warning("worker %d: %d flows did not end in time, and were cut", os.getpid(), left)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SETTLE)

    def _on_client(self, sock: socket.socket, peer: str) -> None:
        self._admit(Connection(self.service, sock, peer))

    def _admit(self, connection: Connection | ShadowsocksConnection) -> None:
        tally = self.service.tally
        if self._board.total(OPEN) >= self._config.limits.connections:
            tally.add(TURNED_AWAY)
            self.service.complaints.take(connection.peer, "there are as many connections as there may be")
            connection.turn_away()
            return
        tally.add(ACCEPTED)
        tally.add(OPEN)  # until its socket is closed
        task = self._loop.create_task(connection.serve())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
