"""Streams over many connections at once, in one thread: who sends what when, and what must have arrived.

Each end of each connection sends a stream that names its sender and is like no other; it then sends no
more, and goes on receiving. What arrives is compared by SHA-256, and both ends of a connection must have
heard of each other: no octet may come out of the wrong connection.
"""

import contextlib
import hashlib
import selectors
import socket
import struct
import time
from dataclasses import dataclass, field

from tests.system.lab import Family, Lab
from tests.system.peers import BLOCK, block

CHUNK = 1 << 18
SENDER = struct.Struct("!I")  # in front of each stream: the number of the end that sends it
CLIENT, SERVER = 0, 1
TIMESTAMPS, SACK, WINDOW_SCALING, ECN = 1, 2, 4, 8  # TCP_INFO: what the handshake agreed on
ORDERS = ("both", "up", "down")  # who sends first; the other only once the first one's stream has ended


@dataclass
class End:
    """One end of one connection."""

    side: int
    number: int
    sock: socket.socket
    stream: bytes
    may_send: bool
    sent: int = 0
    has_ended: bool = False  # no more to send, and said so
    arrived: bytearray = field(default_factory=bytearray)
    has_heard_end: bool = False

    def describe(self) -> str:
        """Return how far this end got."""
        name = ("client", "server")[self.side]
        ends = f"{'and ended' if self.has_ended else 'not ended'}"
        heard = f"{len(self.arrived)} received{' to the end' if self.has_heard_end else ''}"
        with contextlib.suppress(OSError):
            info = self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
            state, _, retransmits, probes, backoff = info[:5]
            unacked, sacked, lost = struct.unpack_from("=3I", info, 24)
            heard += (
                f"; kernel: state {state}, retransmits {retransmits}, probes {probes}, backoff {backoff}, "
                f"unacked {unacked}, sacked {sacked}, lost {lost}"
            )
        return f"{name} {self.number}: {self.sent}/{len(self.stream)} sent {ends}, {heard}"


class Exchange:
    """One set of connections, from the first SYN to the last end of a stream."""

    def __init__(self, lab: Lab, family: Family, *, flows: int, size: int, order: str, cc: str) -> None:
        self._cc = cc.encode()
        self._flows, self._size, self._order = flows, max(size, SENDER.size + 1), order
        self._lab, self._family = lab, family
        self._selector = selectors.EpollSelector()
        self._ends: list[End] = []
        self._open = 0
        self.agreed: set[int] = set()  # the options of all clients, as TCP_INFO has them

    def run(self, seconds: float) -> None:
        """Carry it out; TimeoutError says how far each connection got."""
        until = time.monotonic() + seconds
        listener = self._lab.server.listen(self._family.host)
        with contextlib.ExitStack() as stack, listener, self._selector:
            stack.callback(self._close)
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ)
            for number in range(self._flows):
                self._connect(number, listener)
            while self._open or len(self._ends) < 2 * self._flows:
                for key, events in self._selector.select(max(0.0, until - time.monotonic())):
                    if key.data is None:
                        self._accept(listener)
                    else:
                        self._serve(key.data, events)
                if time.monotonic() >= until:
                    raise TimeoutError(self._report(seconds))
            self._check()

    def _close(self) -> None:
        for end in self._ends:
            end.sock.close()

    def _connect(self, number: int, listener: socket.socket) -> None:
        sock = self._lab.client.make_socket(self._family.af, timeout=0)
        # A namespace may not make each of them its default, but root may choose any for a socket.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, self._cc)
        self._add(CLIENT, number, sock, self._order != "down")
        with contextlib.suppress(BlockingIOError):
            sock.connect(listener.getsockname()[:2])

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                sock, _ = listener.accept()
                sock.setblocking(False)
                number = sum(end.side == SERVER for end in self._ends)
                self._add(SERVER, number, sock, self._order != "up")

    def _add(self, side: int, number: int, sock: socket.socket, may_send: bool) -> None:
        end = End(side, number, sock, stream_of(side, number, self._size), may_send)
        self._ends.append(end)
        self._open += 1
        # A client learns by this that it is connected, also where it is not its turn to send.
        self._selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, end)

    def _serve(self, end: End, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._send(end)
            if events & selectors.EVENT_READ:
                self._receive(end)
        except OSError as error:
            raise ConnectionError(f"{error} at {end.describe()}") from error
        if end.has_ended and end.has_heard_end:
            if end.side == CLIENT:
                self.agreed.add(end.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 6)[5] & 0xF)
            self._selector.unregister(end.sock)
            self._open -= 1
            return
        wanted = 0 if end.has_heard_end else selectors.EVENT_READ
        if end.may_send and not end.has_ended:
            wanted |= selectors.EVENT_WRITE
        self._selector.modify(end.sock, wanted, end)

    def _send(self, end: End) -> None:
        if not end.may_send or end.has_ended:
            error = end.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, "cannot connect")
            return
        with contextlib.suppress(BlockingIOError):
            end.sent += end.sock.send(memoryview(end.stream)[end.sent : end.sent + CHUNK])
        if end.sent == len(end.stream):
            end.sock.shutdown(socket.SHUT_WR)
            end.has_ended = True

    def _receive(self, end: End) -> None:
        if end.has_heard_end:
            return
        with contextlib.suppress(BlockingIOError):
            part = end.sock.recv(CHUNK)
            end.arrived += part
            if not part:
                end.has_heard_end = True
                end.may_send = True

    def _check(self) -> None:
        """Compare what arrived with what was sent, and who sent it."""
        peers: dict[tuple[int, int], int] = {}
        for end in self._ends:
            assert len(end.arrived) >= SENDER.size, f"no stream at {end.describe()}"
            number = SENDER.unpack_from(end.arrived)[0]
            assert number < self._flows, f"a stream of nobody at {end.describe()}"
            expected = stream_of(1 - end.side, number, self._size)
            if hashlib.sha256(end.arrived).digest() != hashlib.sha256(expected).digest():
                raise AssertionError(f"{difference(expected, end.arrived)} at {end.describe()}")
            peers[end.side, end.number] = number
        for (side, number), peer in peers.items():
            assert peers[1 - side, peer] == number, "a stream came out of another connection"

    def _report(self, seconds: float) -> str:
        late = [end for end in self._ends if not (end.has_ended and end.has_heard_end)]
        lines = "\n".join(end.describe() for end in late[:20])
        return f"{len(late)} of {2 * self._flows} ends are not done after {seconds:.0f} s:\n{lines}"


def stream_of(side: int, number: int, size: int) -> bytes:
    """Return the stream that one end sends."""
    start = (7919 * number + 104_729 * side) % (BLOCK - size)
    return SENDER.pack(number) + block()[start : start + size - SENDER.size]


def difference(expected: bytes, arrived: bytes | bytearray) -> str:
    """Say where a stream differs from the one that was sent."""
    shared = min(len(expected), len(arrived))
    at = next((at for at in range(shared) if expected[at] != arrived[at]), shared)
    return f"octet {at} differs ({len(arrived)} octets arrived, {len(expected)} were sent)"
