"""A TCP client by hand: it keeps the numbers of a connection, and a case may set every field itself."""

import itertools
import random
import socket
import struct
import time

from tests.bench.abuse import packets
from tests.bench.abuse.packets import ACK, FIN, MASK, PSH, RST, SYN, TCP, Packet
from tests.bench.abuse.rig import SERVICE, US, US6, Failed, Rig, is_six

_ports = itertools.count(1100)
_random = random.Random(9293)


def after(one: int, other: int) -> bool:
    """Return whether a sequence number comes after another."""
    return 0 < ((one - other) & MASK) < 1 << 31


class Client:
    """One connection of ours to a target, through the program."""

    def __init__(
        self,
        rig: Rig,
        port: int,
        target: str = SERVICE,
        *,
        mss: int | None = 1460,
        shift: int | None = 7,
        sack: bool = True,
        stamps: bool = True,
        window: int = 65535,
        isn: int | None = None,
        sport: int | None = None,
        odd_options: bytes = b"",
        source: str | None = None,
    ) -> None:
        self.rig = rig
        self.source = (source or (US6 if is_six(target) else US), sport or next(_ports))
        self.target = (target, port)
        self.mss, self.shift, self.sack, self.stamps, self.window = mss, shift, sack, stamps, window
        self.odd_options = odd_options
        self.iss = _random.getrandbits(31) if isn is None else isn
        self.snd_nxt = self.iss
        self.rcv_nxt = 0
        self.ts_base = _random.getrandbits(28) + (1 << 28)
        self.ts_recent = 0
        self.syn_ack: Packet | None = None
        self.has_ended = False  # read() took the FIN
        rig.wire.ports.add(self.source[1])

    def open(self, timeout: float = 3) -> "Client":
        """Shake hands; fail where no SYN, ACK comes."""
        answer = self.shake(timeout)
        if answer is None or answer.flags & (SYN | ACK) != SYN | ACK:
            raise Failed(f"no SYN, ACK but {answer or 'nothing'}")
        self.take_syn_ack(answer)
        self.send(flags=ACK)
        return self

    def shake(self, timeout: float = 3, flags: int = SYN) -> Packet | None:
        """Send a SYN, again each 0.4 s, and return what answers it."""
        until = time.monotonic() + timeout
        self.snd_nxt = self.iss + 1 & MASK
        while (left := until - time.monotonic()) > 0:
            self.segment(flags, self.iss, 0, options=self.syn_options())
            answer = self.next(min(0.4, left))
            if answer is not None:
                return answer
        return None

    def take_syn_ack(self, answer: Packet) -> None:
        self.syn_ack = answer
        self.rcv_nxt = answer.seq + 1 & MASK
        if answer.timestamp is None:
            self.stamps = False
        else:
            self.ts_recent = answer.timestamp[0]
        if 3 not in answer.options:
            self.shift = None

    def syn_options(self) -> bytes:
        options = b""
        if self.mss is not None:
            options += struct.pack("!BBH", 2, 4, self.mss)
        if self.sack:
            options += b"\1\1\4\2"
        if self.stamps:
            options += b"\1\1" + struct.pack("!BBII", 8, 10, self.ts_now(), 0)
        if self.shift is not None:
            options += struct.pack("!BBBB", 1, 3, 3, self.shift)
        return options + self.odd_options

    def scale(self) -> int:
        """Return by how many bits the program's windows are shifted."""
        if self.shift is None or self.syn_ack is None:
            return 0
        return min(14, self.syn_ack.options.get(3, b"\0")[0])

    def ts_now(self) -> int:
        return self.ts_base + int(time.monotonic() * 1000) & MASK

    def stamp(self, value: int | None = None) -> bytes:
        if not self.stamps:
            return b""
        return b"\1\1" + struct.pack(
            "!BBII", 8, 10, self.ts_now() if value is None else value, self.ts_recent
        )

    def segment(
        self,
        flags: int,
        seq: int,
        ack: int,
        *,
        data: bytes = b"",
        options: bytes = b"",
        window: int | None = None,
        urgent: int = 0,
        tos: int = 0,
        spoil_sum: int = 0,
    ) -> None:
        """Send a segment whose fields are the caller's business."""
        body = packets.tcp_body(
            self.source, self.target, flags, seq, ack, data=data, options=options, urgent=urgent,
            window=self.window if window is None else window, spoil_sum=spoil_sum,
        )  # fmt: skip
        self.rig.wire.send(packets.ip(self.source[0], self.target[0], TCP, body, tos=tos))

    def send(
        self,
        data: bytes = b"",
        flags: int = ACK | PSH,
        *,
        seq: int | None = None,
        ack: int | None = None,
        options: bytes = b"",
        window: int | None = None,
        ts: int | None = None,
        **fields: int,
    ) -> None:
        """Send a segment where the connection is, or at another seq; only the former moves it on."""
        at = self.snd_nxt if seq is None else seq
        self.segment(
            flags, at, self.rcv_nxt if ack is None else ack, data=data, window=window,
            options=self.stamp(ts) + options, **fields,
        )  # fmt: skip
        if seq is None:
            self.snd_nxt = self.snd_nxt + len(data) + bool(flags & FIN) & MASK

    def is_mine(self, packet: Packet) -> bool:
        return (
            packet.proto == TCP
            and packet.dport == self.source[1]
            and packet.sport == self.target[1]
            and not packet.fragment
        )

    def next(self, timeout: float = 2) -> Packet | None:
        """Return the next segment from the program, and note its timestamp."""
        packet = self.rig.wire.wait(self.is_mine, timeout)
        self._note(packet)
        return packet

    def collect(self, seconds: float) -> list[Packet]:
        found = self.rig.wire.collect(self.is_mine, seconds)
        for packet in found:
            self._note(packet)
        return found

    def settle(self, seconds: float = 0.1) -> None:
        """Let what is still to come of an earlier exchange come, and forget it."""
        self.collect(seconds)

    def wait_for(self, wanted: int, timeout: float = 2) -> Packet | None:
        """Return the next segment that has one of these flags."""
        packet = self.rig.wire.wait(lambda p: self.is_mine(p) and bool(p.flags & wanted), timeout)
        self._note(packet)
        return packet

    def wait_for_ack(self, number: int, timeout: float = 2) -> Packet | None:
        """Return the next segment that acknowledges everything before a number."""
        return self.rig.wire.wait(
            lambda p: self.is_mine(p) and bool(p.flags & ACK) and not after(number, p.ack), timeout
        )

    def repeat(self, data: bytes) -> bool:
        """Send what was sent last again, as a client does, until it is acknowledged; return whether it is."""
        for _ in range(5):
            if self.wait_for_ack(self.snd_nxt, 0.4) is not None:
                return True
            self.send(data, seq=self.snd_nxt - len(data) & MASK)
        return False

    def read(self, count: int, timeout: float = 3, *, window: int | None = None) -> bytes:
        """Receive that many octets in order, acknowledging what comes; fewer after timeout or a FIN."""
        until, found = time.monotonic() + timeout, b""
        late: dict[int, Packet] = {}
        while len(found) < count and (left := until - time.monotonic()) > 0:
            packet = self.next(left)
            if packet is None:
                break
            if packet.flags & RST:
                raise Failed(f"RST after {len(found)} of {count} octets")
            late[packet.seq] = packet
            while late:
                ready = [p for p in late.values() if not after(p.seq, self.rcv_nxt)]
                if not ready:
                    break
                packet = ready[0]
                del late[packet.seq]
                new = packet.data[self.rcv_nxt - packet.seq & MASK :]
                found += new
                self.rcv_nxt = self.rcv_nxt + len(new) & MASK
                if packet.flags & FIN and packet.seq + len(packet.data) & MASK == self.rcv_nxt:
                    self.rcv_nxt = self.rcv_nxt + 1 & MASK
                    self.has_ended = True
                self.send(flags=ACK, window=window)
        return found

    def must_live(self, server: socket.socket, why: str = "") -> None:
        """Fail unless data still goes both ways."""
        self.settle(0.05)
        self.send(b"ping")
        if (got := take(server, 4, 5)) != b"ping":
            raise Failed(f"{why}the connection is dead: {got!r} reached the target instead of 4 octets")
        try:
            server.sendall(b"pong")
        except OSError as error:
            raise Failed(f"{why}the connection is dead: {error}") from error
        if (back := self.read(4, 5)) != b"pong":
            raise Failed(f"{why}the connection is dead: {back!r} came back instead of 4 octets")

    def must_be_challenged(self, what: str) -> None:
        """Fail unless the next answer is an ACK that says where the connection is (RFC 5961)."""
        answer = self.next(1)
        if answer is None:
            raise Failed(f"{what}: no challenge ACK")
        if answer.flags & (RST | SYN | FIN | ACK) != ACK or answer.data:
            raise Failed(f"{what}: {answer} instead of an ACK")
        if after(answer.ack, self.snd_nxt):
            raise Failed(f"{what}: it was taken")
        if answer.ack != self.snd_nxt:
            raise Failed(f"{what}: the ACK has another number than the last")

    def _note(self, packet: Packet | None) -> None:
        if packet is not None and packet.timestamp is not None and not after(packet.seq, self.rcv_nxt):
            self.ts_recent = packet.timestamp[0]


def take(sock: socket.socket, count: int, timeout: float = 2) -> bytes:
    """Return what a server gets: count octets, or less where the stream ends or timeout passes."""
    until, found = time.monotonic() + timeout, b""
    while len(found) < count and (left := until - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            part = sock.recv(count - len(found))
        except TimeoutError:
            break
        except OSError as error:
            raise Failed(f"the target saw {error.strerror} after {len(found)} of {count} octets") from error
        if not part:
            break
        found += part
    return found


def read_within(client: Client, count: int, most: int, window: int) -> None:
    """Receive count octets; fail where ever more than most are under way, or not all come within 4 s."""
    got, until = 0, time.monotonic() + 4
    while got < count and time.monotonic() < until:
        packet = client.next(1)
        if packet is None or not packet.data:
            continue
        ahead = packet.seq + len(packet.data) - client.rcv_nxt & MASK
        if most < ahead < 1 << 31:
            raise Failed(f"{ahead} octets under way, {most} allowed")
        if not after(packet.seq, client.rcv_nxt) and ahead < 1 << 31:
            client.rcv_nxt = client.rcv_nxt + ahead & MASK
            got += ahead
            client.send(flags=ACK, window=window)
    if got < count:
        raise Failed(f"only {got} of {count} octets came in 4 s")


def shut_window(client: Client, room: int) -> int:
    """Receive what a window of so many octets allows; then it is shut, its right edge where it was.

    Return that edge. A sender may leave less than a segment of the window unused.
    """
    edge, until = client.rcv_nxt + room & MASK, time.monotonic() + 3
    while client.rcv_nxt != edge and time.monotonic() < until:
        packet = client.next(0.5)
        if packet is not None and packet.data and packet.seq == client.rcv_nxt:
            client.rcv_nxt = client.rcv_nxt + len(packet.data) & MASK
            client.send(flags=ACK, window=max(0, edge - client.rcv_nxt) & MASK)
    client.settle(0.1)
    return edge


def ending(sock: socket.socket, timeout: float = 2) -> str:
    """Return how a stream ends at the server: "end", "reset", or "open" after timeout."""
    sock.settimeout(timeout)
    try:
        while sock.recv(1 << 16):
            pass
    except TimeoutError:
        return "open"
    except OSError:
        return "reset"
    return "end"


def pair(rig: Rig, target: str = SERVICE, **options: object) -> tuple[Client, socket.socket]:
    """Return both ends of a new connection."""
    listener = rig.listen(target)
    client = Client(rig, listener.getsockname()[1], target, **options).open()  # type: ignore[arg-type]
    return client, rig.accept(listener)
