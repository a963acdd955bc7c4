"""The whole packet path on a virtual clock, between a malicious client and an outside that is made up.

    frames ──▶ Dataplane, reassembly, tables ──▶ sockets that lead nowhere but to this process
    sent   ◀──            "                  ◀──   "

Everything follows from a seed: what comes, what the outside does, when time passes. Only the numbers that
the stack draws from Python's own hash differ between processes; PYTHONHASHSEED makes them equal, too.
"""

import errno
import random
import select
import socket
import struct

from tests.sim import corpus
from tests.sim.oracle import examine
from tests.unit.wire import mutation
from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6, packed
from tunproxy.datagram.reassembly import Reassembler
from tunproxy.datagram.table import DatagramTable
from tunproxy.flow.counters import Counters
from tunproxy.flow.ports import Decider, Descriptor, Opener, Poller, SocketMaker, Timed
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.targets import Targets
from tunproxy.flow.tcp_table import TcpTable
from tunproxy.flow.verdict import DIAL, DROP, REJECT, FlowInfo, Verdict
from tunproxy.loop.dataplane import OWN, Dataplane
from tunproxy.loop.timers import TimerWheel
from tunproxy.tcp.congestion import UNTHROTTLED
from tunproxy.tcp.connection import Settings
from tunproxy.wire.sink import FrameSink
from tunproxy.wire.tcp import ACK, FIN, PSH, RST, SYN, URG
from tunproxy.wire.vnet import DATA_VALID, PLAIN, VNET_LEN

START = 1_000_000
SECOND = 1_000_000
MTU = 1500
MAX_FLOWS = 200
MAX_ASSOCIATIONS = 100
BATCH = 64
UDP_PORT, TCP_PORT = 7000, 80
READABLE, WRITABLE, ERROR = select.EPOLLIN, select.EPOLLOUT, select.EPOLLERR
USUAL = (ACK, ACK, ACK, ACK | PSH, ACK | PSH, ACK | FIN, SYN, SYN, SYN, SYN | ACK, RST, RST | ACK, ACK | URG)
VERIFIED = bytes((DATA_VALID,)) + bytes(VNET_LEN - 1)
CONTENT = random.Random(0).randbytes(70_000)


class Outside:
    """Who answers out there: descriptors, and when each of them is served."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.open: dict[int, Far] = {}  # by descriptor
        self.made = 0


class Far:
    """One socket of the stack, which is a pair of descriptors, and what the other end does with it.

    It has of a socket's methods those that the packet path calls.
    """

    def __init__(self, outside: Outside, kind: int) -> None:
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, kind)
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
        self.outside = outside
        self.error = 0
        outside.made += 1
        outside.open[self.ours.fileno()] = self

    def fileno(self) -> int:
        return self.ours.fileno()

    def setsockopt(self, level: int, option: int, value: object) -> None:
        if self.outside.draw.random() < 0.01:
            raise OSError(errno.EINVAL, "made up")

    def getsockopt(self, level: int, option: int) -> int:
        error, self.error = self.error, 0
        return error

    def shutdown(self, how: int) -> None:
        if self.outside.draw.random() < 0.05:
            raise OSError(errno.ENOTCONN, "made up")
        self.ours.shutdown(how)

    def close(self) -> None:
        del self.outside.open[self.ours.fileno()]
        self.ours.close()
        self.theirs.close()

    def act(self) -> int:
        """Do something that may happen out there; return the events that the kernel would report, or 0."""
        raise NotImplementedError


class FarTcp(Far):
    """A connection that may open, fail or hang, and then reads, writes, ends and breaks as it likes."""

    def __init__(self, outside: Outside) -> None:
        super().__init__(outside, socket.SOCK_STREAM)
        self.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096 * outside.draw.choice((1, 4, 64)))
        self.is_dialled = False
        self.has_ended = False

    def connect_ex(self, address: tuple[str, int]) -> int:
        usual = (0, errno.EINPROGRESS, errno.EINPROGRESS, errno.EINPROGRESS)
        odd = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EACCES, errno.EAGAIN)
        return self.outside.draw.choice(usual if self.outside.draw.random() < 0.95 else odd)

    def act(self) -> int:
        draw = self.outside.draw
        if not self.is_dialled:
            if draw.random() < 0.1:
                return self.fail(draw.choice((errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ETIMEDOUT, 0)))
            self.is_dialled = True
            return WRITABLE
        what = draw.random()
        events = 0
        try:
            if what < 0.5:
                while self.theirs.recv(draw.choice((100, 65536))) and draw.random() < 0.9:
                    events = WRITABLE
            elif what < 0.9:
                self.theirs.send(CONTENT[: draw.choice((1, 1460, 20_000, 70_000))])
                events = READABLE
            elif what < 0.95:
                return self.end()
            else:
                self.theirs.close()
                self.has_ended = True
                return READABLE | WRITABLE | select.EPOLLHUP | select.EPOLLRDHUP
        except OSError:
            pass
        return events | draw.choice((0, 0, 0, WRITABLE, READABLE, select.EPOLLPRI))

    def end(self) -> int:
        """Send no more."""
        try:
            self.theirs.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        self.has_ended = True
        return READABLE | select.EPOLLRDHUP

    def fail(self, error: int) -> int:
        """Break with this error."""
        self.error = error
        self.theirs.close()
        return ERROR | select.EPOLLHUP

    def vanish(self) -> int:
        """End at last: the dial fails, or the connection is over."""
        if not self.is_dialled:
            return self.fail(errno.ETIMEDOUT)
        self.theirs.close()
        return READABLE | WRITABLE | select.EPOLLHUP | select.EPOLLRDHUP


class FarDatagrams(Far):
    """A UDP or ping socket; what is sent may be refused, swallowed or answered, and errors may queue."""

    def __init__(self, outside: Outside, family: int, is_ping: bool) -> None:
        super().__init__(outside, socket.SOCK_DGRAM)
        self.is_ping = is_ping
        self.is_ipv6 = family == socket.AF_INET6
        self.inbox: list[tuple[bytes, str]] = []
        self.errors: list[tuple[bytes, tuple[str, int]]] = []
        self.last: tuple[bytes, tuple[str, int]] = (b"", ("192.0.2.1", 0))

    def sendto(self, payload: bytes | memoryview, address: tuple[str, int]) -> int:
        draw = self.outside.draw
        if draw.random() < 0.1:
            odd = (errno.EAGAIN, errno.ENOBUFS, errno.EMSGSIZE, errno.ECONNREFUSED, errno.EINVAL, errno.EIO)
            raise OSError(draw.choice((*odd, errno.EPERM, errno.ENETUNREACH)), "made up")
        self.last = (bytes(payload[:200]), address)
        return len(payload)

    def act(self) -> int:
        draw = self.outside.draw
        payload, address = self.last
        if draw.random() < 0.4:
            origin = draw.choice((1, 2, 3, 3 if self.is_ipv6 else 2))
            report = struct.pack(
                "<IBBBxII", draw.choice((90, 111, 113, 0)), origin, draw.choice((1, 2, 3, 4, 11, 12, 255)),
                draw.randrange(17), draw.choice((0, 576, 1400, 2**32 - 1)), 0,
            )  # fmt: skip
            if self.is_ipv6:
                report += struct.pack("<HHI16sI", socket.AF_INET6, 0, 0, packed("2001:db8::99"), 0)
            else:
                report += struct.pack("<HH4s8x", socket.AF_INET, 0, packed("203.0.113.9"))
            self.errors.append((report[: draw.choice((4, 16, 20, 99, 99, 99))], address))
            return ERROR
        if not self.is_ping:  # what arrives is read by recvmmsg, which the unit tests have real sockets for
            return READABLE
        kind = 129 if self.is_ipv6 else 0
        reply = bytes((kind,)) + payload[1 : draw.choice((2, 8, 200))]
        self.inbox.append((reply, address[0] if draw.random() < 0.9 else "192.0.2.77"))
        return READABLE

    def recvmsg(
        self, size: int, control_size: int, flags: int = 0
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, tuple[str, int]]:
        if flags & socket.MSG_ERRQUEUE:
            if not self.errors:
                raise BlockingIOError(errno.EAGAIN, "made up")
            report, address = self.errors.pop(0)
            level, kind = (41, 25) if self.is_ipv6 else (0, 11)
            return self.last[0], [(level, kind, report)], 0, address
        if not self.inbox:
            raise BlockingIOError(errno.EAGAIN, "made up")
        reply, host = self.inbox.pop(0)
        return reply, [(0, 2, b"\x40\0\0\0")], 0, (host, 0)


class Sockets(SocketMaker):
    """Makes sockets that lead outside; now and then there is none left."""

    def __init__(self, outside: Outside) -> None:
        self.outside = outside

    def _spare(self) -> None:
        if self.outside.draw.random() < 0.01:
            raise OSError(errno.EMFILE, "made up")

    def tcp(self, family: int) -> socket.socket:
        self._spare()
        return FarTcp(self.outside)  # type: ignore[return-value]

    def udp(self, family: int) -> socket.socket:
        self._spare()
        return FarDatagrams(self.outside, family, False)  # type: ignore[return-value]

    def ping(self, family: int) -> socket.socket:
        self._spare()
        return FarDatagrams(self.outside, family, True)  # type: ignore[return-value]


class Fickle(Decider):
    """Sends most flows on their way, some elsewhere, and refuses the rest."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw

    def decide(self, info: FlowInfo) -> Verdict:
        if self.draw.random() < 0.6:
            return Verdict(DIAL, "direct")
        address = "2001:db8::53" if self.draw.random() < 0.3 else "192.0.2.53"
        if self.draw.random() < 0.5:
            return Verdict(DIAL, "elsewhere", address, self.draw.choice((0, 53)))
        return Verdict(self.draw.choice((REJECT, DROP)), "no")


class VirtualPoller(Poller):
    """Knows who watches what; the wheel turns on the virtual clock."""

    def __init__(self) -> None:
        self.watched: dict[int, Descriptor] = {}
        self.wheel = TimerWheel(START)
        self.due: list[Timed] = []

    def watch(self, fd: int, descriptor: Descriptor, events: int) -> None:
        self.watched[fd] = descriptor

    def forget(self, fd: int) -> None:
        self.watched.pop(fd, None)

    def discard(self, sock: socket.socket) -> None:
        self.forget(sock.fileno())
        sock.close()

    def schedule(self, timed: Timed, at: int) -> None:
        self.wheel.schedule(timed, at)

    def later(self, timed: Timed) -> None:
        self.due.append(timed)


class Client(FrameSink):
    """Receives what the stack sends, checks a part of it, and remembers where its conversations are."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.count = 0
        self.flows: dict[bytes, tuple[int, int]] = {}  # seq and ack of the client's next segment

    def write(self, frame: bytes) -> None:
        self.count += 1
        packet = frame[VNET_LEN:]
        start = 40 if packet[0] >> 4 == 6 else 20
        assert frame[1] or len(packet) <= MTU, f"{len(packet)} octets on a device of {MTU}"
        wrong = examine(frame)
        assert not wrong, f"the stack sent a wrong frame: {wrong}"
        if packet[6 if start == 40 else 9] == 6:
            seq, ack, off, flags = struct.unpack_from("!IIBB", packet, start + 4)
            ours = packet[12:20] if start == 20 else packet[8:40]
            size = len(packet) - start - (off >> 4) * 4 + bool(flags & SYN) + bool(flags & FIN)
            self.flows[ours + packet[start : start + 4]] = (ack, (seq + size) & 0xFFFF_FFFF)
            if len(self.flows) > 300:
                del self.flows[next(iter(self.flows))]

    def write_parts(self, header: bytes, parts: list[bytes | memoryview]) -> None:
        self.write(b"".join([header, *parts]))


class Stack:
    """One stack, and all that is around it, for one seed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.now = START
        self.log: list[bytes] = []
        self.counters = Counters()
        self.poller = VirtualPoller()
        self.outside = Outside(self.draw)
        self.client = Client(self.draw)
        self._device, self._wire = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.dataplane = Dataplane(self._device.fileno(), self.counters)
        sockets, targets = Sockets(self.outside), Targets({})
        decider: Decider = Fickle(self.draw) if seed % 2 else StaticDecider(Verdict(DIAL, "direct"))
        self.tcp = TcpTable(
            self.client, self.poller, sockets, targets, decider, Opener(),
            self.counters, Settings(MTU, 1 << 16, UNTHROTTLED, True, True), bytes(16), MAX_FLOWS,
        )  # fmt: skip
        self.datagrams = DatagramTable(
            self.client, self.poller, sockets, targets, self.counters, 60 * SECOND, MTU, True, True,
            MAX_ASSOCIATIONS, decider=decider,
        )  # fmt: skip
        self.reassembler = Reassembler(self.counters)
        self.dataplane.attach(self.tcp, self.datagrams, self.reassembler)
        self._known = list(corpus.packets().values())
        self._right = [frame[VNET_LEN:] for frame in mutation.corpus()]

    def close(self) -> None:
        """Close what the test opened; the stack must have closed the rest."""
        self.dataplane.close()
        for far in list(self.outside.open.values()):
            far.close()
        self._device.close()
        self._wire.close()

    # one run

    def play(self, count: int) -> None:
        """Hand in count packets, with time and answers in between, and let everything come to its end."""
        while count > 0:
            size = min(self.draw.randrange(1, BATCH), count)
            for _ in range(size):
                self.give(self._frame())
            self._turn()
            count -= size
        self.come_to_an_end()

    def give(self, frame: bytes) -> None:
        """Hand in one frame; it is a failure if its octets are counted nowhere."""
        self.log.append(frame)
        if len(self.log) > 40:
            del self.log[:20]
        self.dataplane._on_frame(frame, self.now, OWN)

    def _turn(self) -> None:
        draw = self.draw
        self.tcp.end_batch(self.now)
        self.datagrams.end_batch(self.now)
        fds = list(self.poller.watched)
        for fd in draw.sample(fds, min(len(fds), 6)):
            self._serve(fd)
        self.now += draw.choice((1, 100, 1000, 50_000, SECOND, 40 * SECOND if draw.random() < 0.05 else 1))
        self._advance()
        self._check()

    def _serve(self, fd: int) -> None:
        far = self.outside.open.get(fd)
        descriptor = self.poller.watched.get(fd)
        if far is not None and descriptor is not None:
            events = far.act()
            if events:
                descriptor.on_ready(events, self.now)

    def _advance(self) -> None:
        self.poller.wheel.advance(self.now)
        due, self.poller.due = self.poller.due, []
        for timed in due:
            timed.on_deadline(self.now)

    def _check(self) -> None:
        assert len(self.datagrams) <= MAX_ASSOCIATIONS
        assert len(self.reassembler) <= 64
        assert len(self.outside.open) <= MAX_FLOWS + MAX_ASSOCIATIONS + 256

    def come_to_an_end(self) -> None:
        """The outside ends, the client says no more: a while later there must be nothing left."""
        for fd, far in list(self.outside.open.items()):
            if isinstance(far, FarTcp) and fd in self.poller.watched:
                self.poller.watched[fd].on_ready(far.vanish(), self.now)
        end = self.now + 7200 * SECOND
        while self.now < end:
            due = self.poller.wheel.next_at()
            if due < 0 and not self.poller.due:
                break
            self.now = max(self.now + 1, due)
            self._advance()
            self.tcp.end_batch(self.now)
        stuck = len(self.tcp), len(self.datagrams), len(self.outside.open), len(self.poller.watched)
        assert stuck == (0, 0, 0, 0), f"flows, associations, descriptors, watched: {stuck}"
        self.now += 60 * SECOND
        last = "4500001c00072000401100000a000009c6336407 0000000000000000"
        self.give(VERIFIED + corpus.summed(bytes.fromhex(last)))
        assert len(self.reassembler) <= 1, "fragments stay"

    # what comes

    def _frame(self) -> bytes:
        draw = self.draw
        what = draw.random()
        if what < 0.35:
            packet = self._segment()
        elif what < 0.55:
            packet = self._datagram()
        elif what < 0.65:
            packet = self._echo()
        elif what < 0.75:
            return self._mutated(draw.choice(self._known))
        else:
            return self._mutated(draw.choice(self._right))
        if draw.random() < 0.15:
            packet = self._fragment(packet)
        if draw.random() < 0.3:
            return self._mutated(packet)
        return self._vnet(packet) + packet

    def _vnet(self, packet: bytes) -> bytes:
        draw = self.draw
        if draw.random() < 0.85:
            return VERIFIED
        if draw.random() < 0.3:
            return PLAIN
        kind = draw.choice((0, 1, 3, 4, 5, 5, 0x81, 255))
        size = draw.choice((0, 1, 88, 1200, 1448, 65535))
        return struct.pack(
            "<BBHHHH", draw.choice((0, 1, 2, 3, 255)), kind, 40, size, 20, draw.choice((6, 16))
        )

    def _mutated(self, packet: bytes) -> bytes:
        draw = self.draw
        made = bytearray(packet)
        for _ in range(draw.choice((0, 1, 1, 2, 5))):
            at = draw.randrange(len(made) + 1)
            fault = draw.randrange(6)
            if fault == 0 and at < len(made):
                made[at] = draw.choice((0, 1, 127, 128, 255, draw.randrange(256)))
            elif fault == 1 and at < len(made):
                made[at] ^= 1 << draw.randrange(8)
            elif fault == 2:
                del made[at:]
            elif fault == 3:
                made[at:at] = draw.randbytes(draw.randrange(1, 20))
            elif fault == 4:
                made += bytes(draw.randrange(40))
            else:
                del made[at : at + draw.randrange(1, 20)]
        packet = bytes(made)
        if draw.random() < 0.8:
            packet = corpus.summed(packet)
        return self._vnet(packet) + packet

    def _around(self, protocol: int, upper: bytes) -> bytes:
        """Return an IP packet from some client to some target."""
        draw = self.draw
        last = draw.choice((2, 2, 2, 3, draw.randrange(256)))
        hops = draw.choice((64, 64, 64, 1, 255))
        if draw.random() < 0.4:
            ends = packed(CLIENT6)[:15] + bytes((last,)) + packed(TARGET6)
            return struct.pack("!IHBB", 0x6000_0000, len(upper), protocol, hops) + ends + upper
        ends = packed(CLIENT)[:3] + bytes((last,)) + packed(TARGET)
        flags = draw.choice((0x4000, 0x4000, 0))
        return corpus.summed(
            struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(upper), draw.randrange(9), flags, hops, protocol, 0)
            + ends + upper
        )  # fmt: skip

    def _segment(self) -> bytes:
        draw = self.draw
        flags = draw.choice(USUAL)
        size = draw.choice((0, 0, 1, 1460, 1460, 20_000))
        options = b""
        if flags & SYN:
            options = bytes.fromhex("020405b40402080a00000001000000000103") + bytes(
                (
                    3,
                    draw.choice((0, 7, 14, 255)),
                )
            )
            options = options[: draw.choice((0, 4, 8, 20))]
            options += bytes(-len(options) % 4)
        if self.client.flows and draw.random() < 0.8:
            key = draw.choice(list(self.client.flows))
            seq, ack = self.client.flows[key]
            near = draw.choice((0, 0, 0, 0, 0, 1, -1, 1460, -3000, 2**31))
            behind = draw.choice((0, 0, 0, 0, -100, 1, -70_000))
            head = self._head(key[-2:] + key[-4:-2], seq + near, ack + behind, flags, options)
            upper = head + CONTENT[:size]
            ends = key[:-4]
            half = len(ends) // 2
            ends = ends[half:] + ends[:half]
            if half == 16:
                return struct.pack("!IHBB", 0x6000_0000, len(upper), 6, 64) + ends + upper
            fixed = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(upper), 0, 0x4000, 64, 6, 0)
            return corpus.summed(fixed + ends + upper)
        ports = struct.pack("!HH", draw.choice((40000, draw.randrange(65536))), TCP_PORT)
        return self._around(6, self._head(ports, draw.randrange(2**32), 0, flags, options) + CONTENT[:size])

    def _head(self, ports: bytes, seq: int, ack: int, flags: int, options: bytes) -> bytes:
        wnd = self.draw.choice((0, 1, 500, 0xFFFF, 0xFFFF, 0xFFFF))
        numbers = struct.pack("!IIBB", seq % 2**32, ack % 2**32, (5 + len(options) // 4) << 4, flags)
        return ports + numbers + struct.pack("!HHH", wnd, 0, self.draw.choice((0, 5))) + options

    def _datagram(self) -> bytes:
        draw = self.draw
        size = draw.choice((0, 1, 100, 100, 1200, 1472, 9000, 60_000))
        source = draw.choice((5000, 5000, 5001, draw.randrange(1, 65536)))
        target = draw.choice((UDP_PORT, UDP_PORT, 53, 443, draw.randrange(1, 65536)))
        return self._around(17, struct.pack("!HHHH", source, target, 8 + size, 0) + CONTENT[:size])

    def _echo(self) -> bytes:
        draw = self.draw
        kind, protocol = draw.choice(((8, 1), (8, 1), (128, 58), (0, 1), (3, 1), (2, 58)))
        identifier = draw.choice((1, 2, draw.randrange(65536)))
        size = draw.choice((0, 56, 1472, 8000))
        return self._around(protocol, struct.pack("!BBHHH", kind, 0, 0, identifier, 1) + CONTENT[:size])

    def _fragment(self, packet: bytes) -> bytes:
        """Return one piece of packet; what comes of it with the others is up to chance."""
        draw = self.draw
        identification = draw.randrange(6)
        at = 8 * draw.choice((0, 0, 1, 2, draw.randrange(8192)))
        more = draw.random() < 0.5
        start = 40 if packet[0] >> 4 == 6 else 20
        piece = packet[start:][at : at + draw.choice((8, 16, 1480, 60_000))]
        if start == 40:
            field = struct.pack("!BBHI", packet[6], 0, at | more, identification)
            return packet[:4] + struct.pack("!HB", 8 + len(piece), 44) + packet[7:40] + field + piece
        middle = struct.pack("!HHH", 20 + len(piece), identification, at >> 3 | 0x2000 * more)
        return corpus.summed(packet[:2] + middle + packet[8:20] + piece)
