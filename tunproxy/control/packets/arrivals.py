"""What the workers ship for one capture, as it comes.

A worker that takes a dead one's place is asked as well. Who is slow to take what has come holds up the
workers' sockets, and nobody else.
"""

import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import Any, Final  # Any: documents, as JSON has them

from tunproxy.control.letters import ask_at_length
from tunproxy.control.packets import shipping
from tunproxy.control.packets.blocks import Wish
from tunproxy.control.questions import NoAnswerError, Questions
from tunproxy.errors import TunproxyError

SO_SNDBUFFORCE: Final = 32  # asm-generic/socket.h: beyond net.core.wmem_max, which root may

# our choices
MAX_PENDING: Final = 4 << 20  # octets that have come and not gone
RETRY_SECONDS: Final = 0.5  # until another worker is asked in the place of a dead one
SOCKET_OCTETS: Final = 2 << 20
READ_OCTETS: Final = 256 << 10

Arrived = tuple[int, int, shipping.Packet | shipping.Name]  # when, of which place, what

_log: Final = logging.getLogger(__name__)


class RefusedError(TunproxyError):
    """A worker says why it does not capture."""


class Arrivals:
    """Asks workers, which may be exchanged for others meanwhile, to capture what wish says.

    told is what a worker has said of itself, lost how many packets those that came have missed, deaths how
    many workers have taken with them what they had not shipped. counts are of workers that came to their end.
    """

    def __init__(self, workers: Sequence[Questions], wish: Wish) -> None:
        self.told: dict[str, Any] = {}
        self.lost = 0
        self.deaths = 0
        self.counts: Final[dict[int, shipping.Counts]] = {}
        self._workers: Final = workers
        self._wish: Final = wish
        self._sockets: Final[dict[int, socket.socket]] = {}
        self._tasks: Final[list[asyncio.Task[None]]] = []
        self._pending: list[Arrived] = []
        self._pending_octets = 0
        self._news: Final = asyncio.Event()
        self._room: Final = asyncio.Event()
        self._is_ending = False

    async def open(self) -> None:
        """Have all workers begin. Raises RefusedError, and NoAnswerError where none answers."""
        self._room.set()
        places = range(len(self._workers))
        found = await asyncio.gather(*map(self._ask, places), return_exceptions=True)
        opened = [place for place, each in enumerate(found) if not isinstance(each, BaseException)]
        if not opened:
            raise next(each for each in found if isinstance(each, BaseException))
        for each in found:
            if isinstance(each, BaseException) and not isinstance(each, NoAnswerError):
                raise each
        self._tasks.extend(asyncio.create_task(self._follow(place), name="capture") for place in places)

    async def wait(self, seconds: float) -> None:
        """Return when something has come, and then a while for more; or after so many seconds."""
        self._news.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
                if len(self._workers) > 1:
                    await asyncio.sleep(seconds)
        except TimeoutError:
            pass

    def stop(self) -> None:
        """Ask nobody any more in a dead worker's place, and have who waits wait no longer."""
        self._is_ending = True
        self._news.set()

    def __len__(self) -> int:
        """How much has come and not been taken."""
        return len(self._pending)

    def take(self) -> list[Arrived]:
        """Return what has come, in the order of time, and let more come."""
        pending, self._pending, self._pending_octets = self._pending, [], 0
        self._room.set()
        if len(self._workers) > 1:
            pending.sort(key=lambda each: each[0])
        return pending

    def say_goodbye(self) -> None:
        """Have the workers ship what they have, and say how much it was."""
        self._is_ending = True
        for place, task in enumerate(self._tasks):
            sock = self._sockets.get(place)
            if sock is None:  # its worker has gone, and no other one is asked any more
                task.cancel()
                continue
            try:
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    @property
    def is_complete(self) -> bool:
        """Whether nothing more will come."""
        return all(task.done() for task in self._tasks)

    async def close(self) -> None:
        """Let go of everything at once."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)  # a socket that is waited for must not be closed yet
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()

    async def _ask(self, place: int) -> None:
        """Have the worker of a place capture for us. Raises RefusedError and NoAnswerError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            ours.setblocking(False)
            _widen(theirs)
            about = {"filter": self._wish.filter_text, "snaplen": self._wish.snaplen}
            told = await ask_at_length(self._workers[place], "capture", about, theirs.fileno())
            if "error" in told:
                raise RefusedError(str(told["error"]))
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self.told = self.told or told
        self._sockets[place] = ours

    async def _follow(self, place: int) -> None:
        """Take what the worker of a place ships, and what whoever takes its place does."""
        while not self._is_ending:
            sock = self._sockets.get(place)
            if sock is not None and not await self._take(place, sock):
                return
            if self._is_ending:
                return
            self.deaths += sock is not None
            await asyncio.sleep(RETRY_SECONDS)
            try:
                await self._ask(place)
            except NoAnswerError:
                pass  # nobody is there yet
            except RefusedError as error:
                _log.warning("a worker does not capture: %s", error)
                return

    async def _take(self, place: int, sock: socket.socket) -> bool:
        """Take what comes until its end; return whether it made sense."""
        loop = asyncio.get_running_loop()
        records = shipping.Records()
        try:
            while True:
                await self._room.wait()
                data = await loop.sock_recv(sock, READ_OCTETS)
                if not data:
                    return True
                for record in records.feed(data):
                    self._note(place, record)
                self._pending_octets += len(data)
                if self._pending_octets >= MAX_PENDING:
                    self._room.clear()
                self._news.set()
        except ConnectionError:
            return True
        except ValueError as error:
            _log.warning("a worker's capture makes no sense: %s", error)
            return False
        finally:
            sock.close()
            self._sockets.pop(place, None)

    def _note(self, place: int, record: shipping.Record) -> None:
        if isinstance(record, shipping.Counts):
            self.counts[place] = record
            return
        at = record.at if isinstance(record, shipping.Packet) else 0
        if isinstance(record, shipping.Packet):
            self.lost += record.lost
        self._pending.append((at, place, record))


def _widen(sock: socket.socket) -> None:
    """Let much be under way."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SOCKET_OCTETS)
    except OSError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_OCTETS)
