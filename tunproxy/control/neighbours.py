"""What the workers of one device tell each other: packets that are another's, and which names stand for what.

Each worker has an inbox, one end of a socket pair; all others have the other end, and the supervisor has
both, so that an inbox outlives its worker. One message is one thing, by its first octet:

    H frame    process this packet, which is yours             K frame    process it if you know its flow
    N names    clients were told addresses for names           L leases   names have got fake addresses
    U numbers  fake addresses that somebody uses

The first worker answers all questions for names. It tells the others before the answer leaves, and they look
into their inboxes before they look a name up: so whoever acts upon an answer finds that it is known.
"""

import asyncio
import json
import logging
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final  # Any as json gives it

from tunproxy import clock
from tunproxy.clock import Micros
from tunproxy.control.live_names import LiveNames
from tunproxy.dns.fakeip import FakePool
from tunproxy.flow.ports import READABLE, Descriptor, Neighbours
from tunproxy.loop.dataplane import Dataplane

MAX_MESSAGE: Final = 1 << 17  # octets: the largest frame, and more than NAMES_AT_ONCE names
HANDED, IF_KNOWN, NAMES, LEASES, USED = b"HKNLU"

# our choices
INBOX_OCTETS: Final = 8 << 20  # 100,000 names, which somebody who is replaced is told at once
NAMES_AT_ONCE: Final = 200
FRAMES_AT_ONCE: Final = 64  # before the device has its turn
RETRY_SECONDS: Final = 0.5  # until somebody whose inbox was full is told everything again

_log: Final = logging.getLogger(__name__)


def inboxes(count: int) -> list[tuple[socket.socket, socket.socket]]:
    """Return the two ends of each worker's inbox: its own, and that of the others. None for one worker."""
    if count < 2:
        return []
    found = []
    for _ in range(count):
        inbox, outbox = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (inbox, outbox):
            end.setblocking(False)
        try:
            outbox.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_SNDBUFFORCE", 32), INBOX_OCTETS)
        except OSError:
            outbox.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, INBOX_OCTETS)  # as much as is allowed
        found.append((inbox, outbox))
    return found


class Outboxes(Neighbours):
    """The way to the others. number is our own place among outboxes, which nobody writes to."""

    def __init__(self, number: int, outboxes: Sequence[socket.socket]) -> None:
        self._number: Final = number
        self._outboxes: Final = outboxes
        self.behind: Final[set[int]] = set()  # whose inbox was full when there were news

    def hand_over(self, queue: int, frame: bytes) -> None:
        self._send(int(queue), b"H" + frame)

    def offer(self, frame: bytes) -> None:
        for number in range(len(self._outboxes)):
            if number != self._number:
                self._send(number, b"K" + frame)

    def tell(self, kind: int, news: list[Any], *, to: int | None = None) -> bool:
        """Tell the others, or one of them; return whether all have been told."""
        message = bytes((kind,)) + json.dumps(news).encode()
        wanted = range(len(self._outboxes)) if to is None else (to,)
        missed = [each for each in wanted if each != self._number and not self._send(each, message)]
        self.behind.update(missed)
        return not missed

    def _send(self, number: int, message: bytes) -> bool:
        try:
            self._outboxes[number].send(message)
        except OSError:  # it does not read
            return False
        return True


class Neighbourhood(Descriptor):
    """One worker among several: reads its inbox, and tells the others what it learns. For the loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        dataplane: Dataplane,
        names: LiveNames,
        inbox: socket.socket,
        outboxes: Outboxes,
    ) -> None:
        self._loop: Final = loop
        self._dataplane: Final = dataplane
        self._names: Final = names
        self._inbox: Final = inbox
        self._outboxes: Final = outboxes
        self._buffer: Final = bytearray(MAX_MESSAGE)
        self._frames: Final[deque[bytes]] = deque()  # that came while names were looked for
        self._leases: Final[dict[str, int]] = {}  # that came before there was a pool
        self._retry: asyncio.TimerHandle | None = None
        names.table.told = self._on_told
        names.table.before_lookup = self._look
        names.new_pool = self._on_pool
        dataplane.watch(inbox.fileno(), self, READABLE)

    def retell(self, about: Any) -> dict[str, object]:
        """Tell another worker, which has begun anew, all that we know."""
        return {"told": self._tell_all(int(about["to"]))}

    def close(self) -> None:
        """Tell and learn nothing any more."""
        self._names.table.told = self._names.table.before_lookup = None
        if self._retry is not None:
            self._retry.cancel()

    # what comes

    def on_ready(self, events: int, now: Micros) -> None:
        for _ in range(FRAMES_AT_ONCE):
            if not self._frames and not self._read():
                return
            while self._frames:
                message = self._frames.popleft()
                self._dataplane.take_over(message[1:], message[0] == IF_KNOWN, now)

    def _look(self) -> None:
        """Learn all that is in the inbox. Packets wait: we are in the middle of one."""
        had = len(self._frames)
        while self._read():
            pass
        if len(self._frames) > had:
            self._loop.call_soon(self._take_late)
            self._dataplane.yield_loop()

    def _take_late(self) -> None:
        self.on_ready(int(READABLE), clock.now())

    def _read(self) -> bool:
        """Read one message; return whether there was one."""
        try:
            count = self._inbox.recv_into(self._buffer)  # once per flow: nothing is allocated in vain
        except OSError:
            return False
        if not count:
            return False
        message = bytes(memoryview(self._buffer)[:count])
        if message[0] in (HANDED, IF_KNOWN):
            self._frames.append(message)
        else:
            self._learn(message[0], json.loads(message[1:]))
        return True

    def _learn(self, kind: int, news: list[Any]) -> None:
        pool = self._names.pool
        if kind == NAMES:
            for client, name, addresses, ttl, at in news:
                packed = [bytes.fromhex(address) for address in addresses]
                self._names.table.learn(bytes.fromhex(client), name, packed, ttl, at)
        elif kind == LEASES:
            for number, name in news:
                if pool is not None:
                    pool.learn(number, name)
                else:
                    self._leases[name] = number
        elif kind == USED and pool is not None:
            for number in news:
                pool.touch(number)

    # what we tell

    def _on_told(self, client: bytes, name: str, addresses: Sequence[bytes], ttl: int, now: Micros) -> None:
        self._tell(NAMES, [[client.hex(), name, [address.hex() for address in addresses], ttl, now]])

    def _on_pool(self, pool: FakePool) -> None:
        for name, number in self._leases.items():
            pool.learn(number, name)
        self._leases.clear()
        pool.leased = lambda number, name: self._tell(LEASES, [[number, name]])
        pool.used = lambda number: self._tell(USED, [number])
        for some in _portions(pool.known()):
            self._tell(LEASES, some)

    def _tell(self, kind: int, news: list[Any]) -> None:
        if not self._outboxes.tell(kind, news) and self._retry is None:
            _log.warning("workers %s do not read what they are told", self._outboxes.behind)
            self._retry = self._loop.call_later(RETRY_SECONDS, self._tell_again)

    def _tell_again(self) -> None:
        """Tell everything to those who have missed something."""
        self._retry = None
        for number in list(self._outboxes.behind):
            if self._tell_all(number):
                self._outboxes.behind.discard(number)
        if self._outboxes.behind:
            self._retry = self._loop.call_later(RETRY_SECONDS, self._tell_again)

    def _tell_all(self, number: int) -> bool:
        pool = self._names.pool
        names = (
            [client.hex(), name, [address.hex()], int(ttl), int(at)]
            for client, name, address, ttl, at in self._names.table.known(clock.now())
        )
        tell = self._outboxes.tell
        return all(tell(NAMES, some, to=number) for some in _portions(names)) and (
            pool is None or all(tell(LEASES, some, to=number) for some in _portions(pool.known()))
        )


def _portions(items: Iterable[Any]) -> Iterable[list[Any]]:
    """Yield items in lists that fit into a message."""
    some: list[Any] = []
    for item in items:
        some.append(item)
        if len(some) == NAMES_AT_ONCE:
            yield some
            some = []
    if some:
        yield some
