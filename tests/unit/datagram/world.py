"""A datagram table with real sockets around it, on the host's loopback.

    client's frames ──▶ DatagramTable ──▶ UDP sockets ──▶ 127.0.0.x, ::1 (``Peer``: a socket of the test)
    ``World.sent``  ◀──       "       ◀──      "      ◀──

The targets that the client knows are mapped to loopback addresses, time is a number.
"""

import select
import socket
import time
from types import TracebackType
from typing import Self

import pytest

from tests.unit.recorder import Recorder as Recorder
from tests.unit.wire import frames
from tests.unit.wire.frames import TARGET, TARGET6, Packet, packed, parsed
from tunproxy.datagram.table import DatagramTable
from tunproxy.flow.counters import Counters
from tunproxy.flow.ports import (
    DatagramService,
    Decider,
    Descriptor,
    FlowWatcher,
    Opener,
    Poller,
    SocketMaker,
    Timed,
)
from tunproxy.flow.targets import Targets
from tunproxy.wire.udp import parse_udp

SECOND = 1_000_000
LOOPBACK = {TARGET: "127.0.0.1", "198.51.100.8": "127.0.0.8", TARGET6: "::1"}

UDP_GRO = 104
IP_RECVERR = 11
IPV6_RECVERR = 25


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="the host has no IPv6 loopback")
both_families = pytest.mark.parametrize(
    "target", [TARGET, pytest.param(TARGET6, marks=needs_ipv6)], ids=["ipv4", "ipv6"]
)


class TinyPoller(Poller):
    """An epoll and a list of deadlines."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.watched: dict[int, Descriptor] = {}
        self.deadlines: list[tuple[int, Timed]] = []

    def watch(self, fd: int, descriptor: Descriptor, events: int) -> None:
        if fd in self.watched:
            self.epoll.modify(fd, events)
        else:
            self.epoll.register(fd, events)
        self.watched[fd] = descriptor

    def forget(self, fd: int) -> None:
        self.epoll.unregister(fd)
        del self.watched[fd]

    def schedule(self, timed: Timed, at: int) -> None:
        self.deadlines.append((at, timed))

    def poll(self, now: int, wait: float) -> bool:
        """Serve what is ready within wait seconds; return whether anything was."""
        events = self.epoll.poll(wait)
        for fd, mask in events:
            if fd in self.watched:
                self.watched[fd].on_ready(mask, now)
        return bool(events)

    def advance(self, now: int) -> None:
        """Fire the deadlines that are due."""
        due = [timed for at, timed in self.deadlines if at <= now]
        self.deadlines = [(at, timed) for at, timed in self.deadlines if at > now]
        for timed in due:
            timed.on_deadline(now)


class Sockets(SocketMaker):
    """Makes sockets as the contract wants them, and remembers them. fails makes the next ones fail."""

    def __init__(self) -> None:
        self.made: list[socket.socket] = []
        self.fails = 0

    def udp(self, family: int) -> socket.socket:
        if self.fails:
            self.fails -= 1
            raise OSError(24, "too many open files")
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        return self._reporting(sock, family)

    def ping(self, family: int) -> socket.socket:
        protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
        return self._reporting(
            socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, protocol), family
        )

    def _reporting(self, sock: socket.socket, family: int) -> socket.socket:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
        self.made.append(sock)
        return sock

    @property
    def open(self) -> int:
        return sum(sock.fileno() >= 0 for sock in self.made)


class Peer:
    """A UDP socket of the test, which a target is mapped to."""

    def __init__(self, target: str = TARGET, *, gro: bool = False) -> None:
        self.target = target
        self.sock = socket.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((LOOPBACK[target], 0))
        self.sock.settimeout(5)
        self.gro = gro
        if gro:
            self.sock.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
        self.port: int = self.sock.getsockname()[1]

    @property
    def end(self) -> tuple[str, int]:
        """What the client writes to."""
        return self.target, self.port

    def receive(self) -> tuple[bytes, tuple[str, int]]:
        data, address = self.sock.recvfrom(65536)
        return data, address[:2]

    def receive_joined(self) -> tuple[bytes, int]:
        """Return one read's payload and the size of the pieces that the kernel did not take apart, or 0."""
        data, control, _, _ = self.sock.recvmsg(65536, 64)
        return data, int.from_bytes(control[0][2][:2], "little") if control else 0

    def is_idle(self) -> bool:
        return not select.select([self.sock], [], [], 0.05)[0]


class World:
    """The table, and the client in front of it."""

    def __init__(
        self,
        *,
        mtu: int = 1500,
        uso: bool = True,
        udp_timeout: int = 300 * SECOND,
        max_associations: int = 4096,
        sockets: Sockets | None = None,
        max_sessions: int = 256,
        decider: Decider | None = None,
        service: DatagramService | None = None,
        opener: Opener | None = None,
        watcher: FlowWatcher | None = None,
    ) -> None:
        self.now = SECOND
        self.sink = Recorder()
        self.poller = TinyPoller()
        self.sockets = sockets or Sockets()
        self.counters = Counters()
        maps = {(packed(target), 0): (address, 0) for target, address in LOOPBACK.items()}
        self.table = DatagramTable(
            self.sink,
            self.poller,
            self.sockets,
            Targets(maps),
            self.counters,
            udp_timeout,
            mtu,
            uso,
            uso,
            max_associations,
            max_sessions,
            decider,
            service,
            opener,
            watcher,
        )
        self.peers: list[Peer] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.table.close()
        for peer in self.peers:
            peer.sock.close()
        assert self.sockets.open == 0
        assert not self.poller.watched
        self.poller.epoll.close()

    def peer(self, target: str = TARGET, *, gro: bool = False) -> Peer:
        self.peers.append(Peer(target, gro=gro))
        return self.peers[-1]

    def client_of(self, target: str) -> str:
        return frames.CLIENT6 if ":" in target else frames.CLIENT

    def inbound(self, *arrived: bytes, batch: bool = True) -> None:
        """Hand the frames of one batch to the table."""
        for frame in arrived:
            view = parsed(frame)
            if view.protocol == 17:
                self.table.on_udp(frame, view, self.now)
            else:
                self.table.on_icmp(frame, view, self.now)
        if batch:
            self.table.end_batch(self.now)

    def send(self, *payloads: bytes, to: Peer, port: int = 5000) -> None:
        """Have the client send datagrams in one batch."""
        source = (self.client_of(to.target), port)
        self.inbound(*(frames.udp(payload, source=source, target=to.end) for payload in payloads))

    def settle(self, wait: float = 0.05) -> None:
        """Serve sockets until nothing more comes."""
        while self.poller.poll(self.now, wait):
            pass

    def outbound(self, count: int = 1) -> list[bytes]:
        """Return the frames that the client got, once there are count of them, and forget them."""
        until = time.monotonic() + 5
        while len(self.sink.frames) < count and time.monotonic() < until:
            self.poller.poll(self.now, 0.05)
        self.settle()
        found, self.sink.frames = self.sink.frames, []
        assert len(found) >= count, f"{len(found)} of {count} frames, {self.counters.snapshot()}"
        return found

    def received(self, count: int = 1) -> list[Packet]:
        """Return the UDP frames that the client got, as dpkt reads them."""
        return [frames.read(frame) for frame in self.outbound(count)]

    def pass_time(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)
        self.poller.advance(self.now)

    def drops(self) -> dict[str, int]:
        found = self.counters.snapshot()
        return {
            name.removeprefix("drop_"): count for name, count in found.items() if name.startswith("drop_")
        }


def parsed_udp(frame: bytes) -> int:
    """Return the reason for which our parser refuses a frame."""
    return parse_udp(frame, parsed(frame), False, False)
