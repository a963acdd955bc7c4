"""A TCP table between frames and the kernel's loopback, and clients that speak TCP in frames.

    Client ─ frames ─▶ TcpTable ─ sockets ─▶ 127.0.0.1
           ◀ frames ─ (recorded)

Clients believe in TARGET; its address is mapped to loopback. Time is the real clock plus what a test adds.
"""

import contextlib
import select
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import dpkt  # type: ignore[import-untyped]
from librt.strings import BytesWriter

from tests.unit.recorder import Recorder as Recorder
from tunproxy import clock
from tunproxy.flow.counters import Counters
from tunproxy.flow.ports import (
    Decider,
    Descriptor,
    FlowWatcher,
    Opener,
    OpenRequest,
    Poller,
    SocketMaker,
    Timed,
)
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.targets import Targets
from tunproxy.flow.tcp_table import TcpTable
from tunproxy.flow.verdict import DIAL, FlowInfo, Verdict
from tunproxy.loop.timers import TimerWheel
from tunproxy.tcp.congestion import UNTHROTTLED
from tunproxy.tcp.connection import Settings
from tunproxy.upstream.sockets import KernelSockets
from tunproxy.wire.ip import TCP, Endpoints, IpView, parse_ip
from tunproxy.wire.reasons import NAMES, OK
from tunproxy.wire.tcp import ACK, FIN, PSH, RST, SYN, emit_tcp
from tunproxy.wire.tcp_options import put_syn_options, put_timestamps
from tunproxy.wire.vnet import VNET_LEN, is_verified

CLIENT = "10.0.0.2"
TARGET = "198.51.100.7"
PORT = 80
MTU = 1500
PATIENCE = 5.0  # seconds that anything on loopback may take
FLAGS = {"FIN": FIN, "SYN": SYN, "RST": RST, "PSH": PSH, "ACK": ACK}


def pack(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


class EpollPoller(Poller):
    """An epoll, a timer wheel, and a list of who goes on later."""

    def __init__(self, now: int) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Descriptor] = {}
        self._wheel = TimerWheel(now)
        self._later: list[Timed] = []

    def watch(self, fd: int, descriptor: Descriptor, events: int) -> None:
        if fd in self._watched:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._watched[fd] = descriptor

    def forget(self, fd: int) -> None:
        self._watched.pop(fd, None)

    def discard(self, sock: socket.socket) -> None:
        self.forget(sock.fileno())
        sock.close()

    def schedule(self, timed: Timed, at: int) -> None:
        self._wheel.schedule(timed, at)

    def later(self, timed: Timed) -> None:
        self._later.append(timed)

    @property
    def watched(self) -> int:
        """How many descriptors are watched."""
        return len(self._watched)

    def turn(self, now: int, wait: float) -> None:
        """Report what is ready, after at most wait seconds, and fire what is due."""
        for fd, events in self._epoll.poll(0 if self._later else wait):
            if fd in self._watched:
                self._watched[fd].on_ready(events, now)
        self._wheel.advance(now)
        due, self._later = self._later, []
        for timed in due:
            timed.on_deadline(now)

    def close(self) -> None:
        self._epoll.close()


class NoOpener(Opener):
    """For tests in which nothing is opened."""


@dataclass
class Asked:
    """What an opener was asked to do."""

    info: FlowInfo
    verdict: Verdict
    request: OpenRequest


class FakeOpener(Opener):
    """Leaves requests to the test."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.cancelled: list[OpenRequest] = []

    def open(self, info: FlowInfo, verdict: Verdict, request: OpenRequest) -> None:
        self.asked.append(Asked(info, verdict, request))

    def cancel(self, request: OpenRequest) -> None:
        self.cancelled.append(request)


@dataclass
class Received:
    """One segment that the stack sent."""

    seq: int
    ack: int
    flags: int
    wnd: int
    data: bytes
    options: dict[int, bytes] = field(default_factory=dict)

    @property
    def names(self) -> str:
        return " ".join(name for name, bit in FLAGS.items() if self.flags & bit)


class Rig:
    """The table with everything around it."""

    def __init__(
        self,
        maps: dict[tuple[bytes, int], tuple[str, int]] | None = None,
        *,
        decider: Decider | None = None,
        opener: Opener | None = None,
        sockets: SocketMaker | None = None,
        max_flows: int = 65536,
        has_tso: bool = True,
        rcv_buf: int = 1 << 20,
        rcv_buf_most: int = 0,
        memory: int = 1 << 30,
        watcher: FlowWatcher | None = None,
    ) -> None:
        self.ahead = 0  # microseconds that a test has added to the clock
        self._stands_at = 0  # what the clock shows while it stands still
        self.sink = Recorder()
        self.counters = Counters()
        self.poller = EpollPoller(self.now())
        self.settings = Settings(MTU, rcv_buf, UNTHROTTLED, has_tso, has_tso, rcv_buf_most=rcv_buf_most)
        self.table = TcpTable(
            self.sink,
            self.poller,
            sockets or KernelSockets(0, ""),
            Targets(maps or {}),
            decider or StaticDecider(Verdict(DIAL, "direct")),
            opener or NoOpener(),
            self.counters,
            self.settings,
            bytes(16),
            max_flows,
            memory,
            watcher,
        )
        self.other_frames: list[bytes] = []  # sent, and no TCP
        self.is_handing_out = False
        self._clients: dict[tuple[bytes, int, bytes, int], Client] = {}

    def now(self) -> int:
        return self._stands_at or int(clock.now()) + self.ahead

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Have what is done within the context take no time, as long as it may take this machine."""
        self._stands_at = self.now()
        try:
            yield
        finally:
            self.ahead = self._stands_at - int(clock.now())
            self._stands_at = 0

    def drops(self) -> dict[str, int]:
        """Return the drop counters that are not zero, by the names of the reasons."""
        return {name: count for name, count in zip(NAMES, self.counters.drops, strict=True) if count}

    def know(self, client: "Client") -> None:
        """Let client have the segments that are for it."""
        self._clients[client.peer_key] = client

    def give(self, *frames: bytes) -> None:
        """Have the table process a batch of frames, and hand out what it sent."""
        view = IpView()
        for frame in frames:
            assert parse_ip(frame, VNET_LEN, len(frame), view) == OK
            self.table.on_packet(frame, view, is_verified(frame), self.now())
        self.table.end_batch(self.now())
        if not self.is_handing_out:  # else the answer to an answer: its turn comes
            self.hand_out()

    def turn(self, wait: float = 0.0) -> None:
        """Serve sockets and timers once, and hand out what was sent."""
        self.poller.turn(self.now(), wait)
        self.table.end_batch(self.now())
        self.hand_out()

    def run(self, seconds: float = 0.05) -> None:
        """Serve for some time in which nothing is expected to be said."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.turn(0.005)

    def until(self, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Serve until condition holds; fails when it never does."""
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, "waited in vain"
            self.turn(0.005)

    def pass_time(self, seconds: float) -> None:
        """Let seconds pass for the timers, in steps that no deadline is lost in."""
        for _ in range(int(seconds * 10)):
            self.ahead += 100_000
            self.turn()

    def hand_out(self) -> None:
        """Let the clients have what was sent, in its order, and what their answers bring about."""
        self.is_handing_out = True
        for frame in self.sink.frames:  # which grows meanwhile
            packet = parse_packet(frame)
            segment = packet.data
            if not isinstance(segment, dpkt.tcp.TCP):
                self.other_frames.append(frame)
                continue
            client = self._clients.get((packet.src, segment.sport, packet.dst, segment.dport))
            assert client is not None, f"{packet!r} is for nobody"
            client.on_segment(segment)
        self.sink.frames.clear()
        self.is_handing_out = False

    def close(self) -> None:
        self.table.close()
        self.poller.close()


def parse_packet(frame: bytes) -> dpkt.ip.IP | dpkt.ip6.IP6:
    packet = frame[VNET_LEN:]
    return dpkt.ip.IP(packet) if packet[0] >> 4 == 4 else dpkt.ip6.IP6(packet)


class Client:
    """A TCP of the simplest kind, which says what a test tells it to."""

    def __init__(
        self,
        rig: Rig,
        port: int = 40000,
        target: str = TARGET,
        target_port: int = PORT,
        *,
        seq: int = 1000,
        address: str = "",
        ts_val: int = -1,
        wnd_shift: int = 7,
        mss: int = 1460,
    ) -> None:
        client = pack(address or ("fd00::2" if ":" in target else CLIENT))
        self._rig = rig
        self._ends = Endpoints(client, pack(target), port, target_port, TCP)
        self._scratch = BytesWriter()
        self.peer_key = (pack(target), target_port, client, port)
        self.iss = seq
        self.seq = seq  # the next that we send
        self.ack = 0  # the next that we expect
        self.wnd = 0xFFFF  # the field, scaled by wnd_shift
        self.wnd_shift = wnd_shift
        self.mss = mss
        self.ts_val = ts_val  # -1: no timestamps
        self.ts_recent = 0
        self.received: list[Received] = []
        self.stream = b""
        self.has_fin = False
        self.has_rst = False
        self.is_acking = True
        self.peer_wnd = 0  # octets, of the last segment
        self.peer_ack = seq
        rig.know(self)

    # frames

    def frame(self, flags: int, data: bytes = b"", *, seq: int = -1, ack: int = -1) -> bytes:
        """Return a frame; seq and ack are where we are unless given."""
        seq = self.seq if seq < 0 else seq
        ack = self.ack if ack < 0 else ack
        has_ts = self.ts_val >= 0
        size = 12 * has_ts
        if flags & SYN:
            size += 4 + 4 + 4 * (self.wnd_shift >= 0)
        emit_tcp(self._scratch, self._ends, seq, ack, flags, self.wnd, size, len(data), 0)
        if flags & SYN:
            put_syn_options(self._scratch, self.mss, self.wnd_shift, True, self.ts_val, self.ts_recent)
        elif has_ts:
            put_timestamps(self._scratch, self.ts_val, self.ts_recent)
        self._scratch.write(data)
        return self._scratch.getvalue()

    def says(self, flags: int, data: bytes = b"", *, seq: int = -1, ack: int = -1) -> None:
        """Send one segment and move on behind it."""
        self._rig.give(self.frame(flags, data, seq=seq, ack=ack))
        if seq < 0:
            self.seq = (self.seq + len(data) + bool(flags & SYN) + bool(flags & FIN)) & 0xFFFF_FFFF

    # what one usually does

    def syn(self) -> None:
        self.says(SYN, ack=0)

    def connect(self) -> "Client":
        """Do the whole handshake."""
        self.syn()
        self._rig.until(lambda: self.received)
        assert self.received[-1].names == "SYN ACK"
        self.says(ACK)
        return self

    def send(self, data: bytes) -> None:
        self.says(ACK | PSH, data)

    def send_all(self, data: bytes, size: int = 1400, *, drain: Callable[[], object] = lambda: None) -> None:
        """Send data in segments of size octets, as the window allows; drain is called in between."""
        until = time.monotonic() + PATIENCE
        at = 0
        while at < len(data):
            room = (self.peer_ack + self.peer_wnd - self.seq) & 0xFFFF_FFFF
            piece = data[at : at + min(size, room if room < 1 << 31 else 0)]
            if piece:
                self.says(ACK, piece)
                at += len(piece)
            else:
                assert time.monotonic() < until, f"only {at} octets could be sent"
                drain()
                self._rig.turn(0.001)

    def close(self) -> None:
        self.says(ACK | FIN)

    def reset(self) -> None:
        self.says(RST | ACK)

    # what comes back

    def on_segment(self, segment: dpkt.tcp.TCP) -> None:
        data = bytes(segment.data)
        options = dict(dpkt.tcp.parse_opts(segment.opts))
        self.received.append(Received(segment.seq, segment.ack, segment.flags, segment.win, data, options))
        if segment.flags & RST:
            self.has_rst = True
            return
        if segment.flags & SYN:
            self.ack = segment.seq + 1
        elif segment.seq == self.ack and (data or segment.flags & FIN):
            self.stream += data
            self.ack = (self.ack + len(data) + bool(segment.flags & FIN)) & 0xFFFF_FFFF
            self.has_fin = self.has_fin or bool(segment.flags & FIN)
            if self.is_acking:
                self._rig.give(self.frame(ACK))
        if dpkt.tcp.TCP_OPT_TIMESTAMP in options:
            self.ts_recent = int.from_bytes(options[dpkt.tcp.TCP_OPT_TIMESTAMP][:4], "big")
        shift = 0 if segment.flags & SYN or self.wnd_shift < 0 else 7
        self.peer_ack = segment.ack
        self.peer_wnd = segment.win << shift


@contextlib.contextmanager
def listening(
    family: int = socket.AF_INET, backlog: int = 64, **sizes: int
) -> Iterator[tuple[Rig, socket.socket]]:
    """Yield a rig whose TARGET is a real listener on loopback, and the listener; sizes are the rig's."""
    host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    target = "2001:db8::7" if family == socket.AF_INET6 else TARGET
    with socket.create_server((host, 0), family=family, backlog=backlog) as listener:
        listener.settimeout(PATIENCE)
        rig = Rig({(pack(target), PORT): (host, listener.getsockname()[1])}, **sizes)  # type: ignore[arg-type]
        with contextlib.closing(rig):
            yield rig, listener


@contextlib.contextmanager
def connected(wnd_shift: int = 7) -> Iterator[tuple[Rig, Client, socket.socket]]:
    """Yield a rig, a client that is connected through it, and the target's end of the connection."""
    with listening() as (rig, listener):
        client = Client(rig, wnd_shift=wnd_shift).connect()
        target, _ = listener.accept()
        target.settimeout(PATIENCE)
        with target:
            yield rig, client, target


def read_exactly(rig: Rig, target: socket.socket, count: int) -> bytes:
    """Read count octets at the target while the rig is served."""
    target.setblocking(False)
    data = b""
    until = time.monotonic() + PATIENCE
    while len(data) < count:
        try:
            piece = target.recv(count - len(data))
        except BlockingIOError:
            assert time.monotonic() < until, f"{len(data)} of {count} octets arrived"
            rig.turn(0.005)
            continue
        assert piece, f"the end after {len(data)} of {count} octets"
        data += piece
    return data


def how_it_ended(rig: Rig, target: socket.socket) -> bytes | str:
    """Serve until the target's side ends; return what came before the end, or "reset"."""
    target.setblocking(False)
    data = b""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            piece = target.recv(65536)
        except BlockingIOError:
            rig.turn(0.005)
            continue
        except ConnectionResetError:
            return "reset"
        if not piece:
            return data
        data += piece
    raise AssertionError("no end came")


def reset(sock: socket.socket) -> None:
    """Close so that the other side sees a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()
