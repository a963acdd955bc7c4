"""Every reason has a number, a name and a meaning of its own, and packets that it is counted for, once.

packets ──▶ Dataplane, reassembly, tables ──▶ sockets that send nothing
"""

import errno
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system import malformed
from tests.system.malformed import ACK, SYN, UDP
from tests.unit.recorder import Recorder
from tunproxy import clock
from tunproxy.datagram.kept import MOST_DATAGRAMS
from tunproxy.datagram.reassembly import LIFETIME, Reassembler
from tunproxy.datagram.table import DatagramTable
from tunproxy.flow.counters import Counters
from tunproxy.flow.framing import Framing
from tunproxy.flow.ports import DatagramRequest, Opener, SocketMaker
from tunproxy.flow.seal import Seal
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.targets import Targets
from tunproxy.flow.tcp_table import TcpTable
from tunproxy.flow.verdict import DIAL, DROP, OPEN, FlowInfo, Verdict
from tunproxy.loop.dataplane import Dataplane, DeviceSink
from tunproxy.tcp.congestion import UNTHROTTLED
from tunproxy.tcp.connection import Settings
from tunproxy.wire import reasons
from tunproxy.wire.ip import IpView, parse_ip
from tunproxy.wire.sink import FrameSink
from tunproxy.wire.vnet import PLAIN, VNET_LEN

DOCUMENTATION = Path(__file__).resolve().parents[3] / "docs" / "operations.md"
CLIENT, TARGET = "10.0.0.2", "198.51.100.7"
CLIENT6, TARGET6 = "fd00::2", "2001:db8::7"
SECOND = 1_000_000
MORE = 0x2000  # of the word with flags and fragment offset


class Outward(socket.socket):
    """A socket that sends nothing: it takes everything, or answers with an error."""

    sent = 0
    error = 0

    def sendto(self, *arguments: object) -> int:  # type: ignore[override]
        if self.error:
            raise OSError(self.error, "made up")
        Outward.sent += 1
        return len(arguments[0])  # type: ignore[arg-type]

    def connect_ex(self, address: object) -> int:
        return errno.EINPROGRESS


class Sockets(SocketMaker):
    """Makes sockets that send nothing; error is that of a send, none_for who gets no socket, and why."""

    def __init__(self, error: int = 0, none_for: dict[str, int] | None = None) -> None:
        self._error = error
        self._none_for = none_for or {}

    def tcp(self, family: int) -> socket.socket:
        return self._make("tcp", socket.SOCK_STREAM, family)

    def udp(self, family: int) -> socket.socket:
        return self._make("udp", socket.SOCK_DGRAM, family)

    def ping(self, family: int) -> socket.socket:
        return self._make("ping", socket.SOCK_DGRAM, family)

    def _make(self, who: str, kind: int, family: int) -> socket.socket:
        if who in self._none_for:
            raise OSError(self._none_for[who], "made up")
        made = Outward(family, kind)
        made.setblocking(False)
        made.error = self._error
        return made


class Stack:
    """A whole packet path with a device that is a socket pair."""

    def __init__(
        self,
        sockets: SocketMaker | None = None,
        *,
        verdict: int = DIAL,
        sink: FrameSink | None = None,
        opener: Opener | None = None,
    ) -> None:
        self.wire, self._device = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._device.setblocking(False)
        self.counters = Counters()
        self.sink = sink or Recorder()
        self.dataplane = Dataplane(self._device.fileno(), self.counters)
        self.reassembler = Reassembler(self.counters)
        decider = StaticDecider(Verdict(verdict, "direct"))
        common = (sockets or Sockets(), Targets({}))
        settings = Settings(1500, cwnd=UNTHROTTLED)
        self.tcp = TcpTable(
            self.sink, self.dataplane, *common, decider, Opener(), self.counters, settings, bytes(16)
        )
        self.datagrams = DatagramTable(
            self.sink, self.dataplane, *common, self.counters, SECOND, decider=decider, opener=opener
        )
        self.dataplane.attach(self.tcp, self.datagrams, self.reassembler)

    def take(self, *packets: bytes) -> "Stack":
        """Have packets come out of the device, and serve them."""
        for packet in packets:
            self.wire.send(PLAIN + packet)
            before = self.counters.frames_in
            while self.counters.frames_in == before:
                self.dataplane.poll(0)
        return self

    def drops(self) -> dict[str, int]:
        return {reasons.NAMES[reason]: n for reason, n in enumerate(self.counters.drops) if n}

    def close(self) -> None:
        self.dataplane.close()
        self.wire.close()
        self._device.close()


class Patient(Opener):
    """Never answers."""

    def open_datagrams(self, info: FlowInfo, verdict: Verdict, request: DatagramRequest) -> None:
        pass

    def close_datagrams(self, request: DatagramRequest) -> None:
        pass


def udp(size: int = 40, source: str = CLIENT, target: str = TARGET, port: int = 1000) -> bytes:
    return malformed.udp((source, port), (target, 7000), b"x" * size)


def tcp(flags: int, *, source: tuple[str, int] = (CLIENT, 1000), **odd: object) -> bytes:
    return malformed.tcp(source, (TARGET, 80), flags, **odd)  # type: ignore[arg-type]


def ipv4(**odd: object) -> bytes:
    return malformed.ipv4(CLIENT, TARGET, UDP, udp()[20:], **odd)  # type: ignore[arg-type]


def piece(at: int, size: int, *, flags: int = MORE, identification: int = 7) -> bytes:
    """Return a fragment; at is in units of 8 octets."""
    return malformed.ipv4(
        CLIENT, TARGET, UDP, b"f" * size, fragment=flags | at, identification=identification
    )


def icmp(kind: int) -> bytes:
    message = bytes((kind, 0, 0, 0, 0, 1, 0, 1)) + b"ping"
    total = malformed.checksum(message).to_bytes(2, "big")
    return malformed.ipv4(CLIENT, TARGET, malformed.ICMP, message[:2] + total + message[4:])


def after_half_a_minute() -> Stack:
    stack = Stack().take(piece(0, 8))
    frame = PLAIN + piece(0, 8, identification=8)
    view = IpView()
    assert parse_ip(frame, VNET_LEN, len(frame), view) == reasons.OK
    stack.reassembler.add(frame, view, clock.now() + LIFETIME + SECOND)
    return stack


def to_a_full_device() -> Stack:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        counters = Counters()
        stack = Stack(sink=DeviceSink(full, counters))
        stack.take(tcp(ACK))
        stack.counters.drops[reasons.NO_FLOW] = 0  # the segment itself; its answer is what is lost
        stack.counters.drops = [a + b for a, b in zip(stack.counters.drops, counters.drops, strict=True)]
        return stack
    finally:
        os.close(full)


def without_a_way() -> Stack:
    """Send more than waits for a way that nobody opens."""
    return Stack(verdict=OPEN, opener=Patient()).take(*[udp(size=40 + n) for n in range(MOST_DATAGRAMS + 3)])


class Forging(Patient):
    """Opens ways to a server whose seal nobody can open, and which answers at once."""

    def open_datagrams(self, info: FlowInfo, verdict: Verdict, request: DatagramRequest) -> None:
        self.server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.server.bind(("127.0.0.1", 0))
        self.way = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.way.setblocking(False)
        self.way.connect(self.server.getsockname())
        request.opened(self.way, Framing(), NeverOpen())

    def close_datagrams(self, request: DatagramRequest) -> None:
        self.way.close()
        self.server.close()


class NeverOpen(Seal):
    """Seals nothing, and opens nothing."""

    def seal(self, header: bytes, payload: bytes | memoryview) -> bytes:
        return header + payload

    def open(self, datagram: bytes) -> bytes | None:
        return None


def from_a_forger() -> Stack:
    forging = Forging()
    stack = Stack(verdict=OPEN, opener=forging).take(udp())
    for data in (b"forged", b"", b"forged again"):
        forging.server.sendto(data, forging.way.getsockname())
    while sum(stack.counters.drops) < 3:
        stack.dataplane.poll(0)
    stack.datagrams.close()
    return stack


def without_memory() -> Stack:
    stack = Stack()
    budget = stack.tcp._budget  # what holds so much is another test's affair
    budget.charge(budget.limit)
    return stack.take(tcp(SYN))


# What is counted for each reason, and how often.
CASES: dict[str, tuple[Callable[[], Stack], int]] = {
    "truncated": (lambda: Stack().take(udp()[:12]), 1),
    "bad-version": (lambda: Stack().take(b"\x55" + udp()[1:]), 1),
    "bad-header-length": (lambda: Stack().take(ipv4(version_ihl=0x44)), 1),
    "bad-length": (lambda: Stack().take(ipv4(length=1000)), 1),
    "bad-ip-checksum": (lambda: Stack().take(ipv4(wrong_sum=0x5555)), 1),
    "bad-checksum": (lambda: Stack().take(tcp(SYN, wrong_sum=True)), 1),
    "bad-extension-header": (lambda: Stack().take(malformed.ipv6(CLIENT6, TARGET6, 60, b"")), 1),
    "source-routed": (lambda: Stack().take(ipv4(version_ihl=0x46, options=b"\x83\x03\x04\0")), 1),
    "martian-source": (lambda: Stack().take(udp(source="127.0.0.1"), tcp(SYN, source=("0.0.0.0", 9))), 2),
    "martian-target": (lambda: Stack().take(udp(target="127.0.0.1")), 1),
    "land": (lambda: Stack().take(malformed.tcp((TARGET, 80), (TARGET, 80), SYN), udp(source=TARGET)), 2),
    "fragment": (lambda: Stack().take(piece(0, 13)), 1),
    "fragment-overlap": (lambda: Stack().take(piece(0, 16), piece(1, 16)), 1),
    "fragment-limit": (lambda: Stack().take(*(piece(0, 8, identification=n) for n in range(66))), 2),
    "fragment-timeout": (after_half_a_minute, 1),
    "unknown-protocol": (lambda: Stack().take(malformed.ipv4(CLIENT, TARGET, 47, b"\0" * 40)), 1),
    "bad-offset": (lambda: Stack().take(tcp(SYN, data_offset=3)), 1),
    "bad-port": (lambda: Stack().take(malformed.udp((CLIENT, 1000), (TARGET, 0), b"")), 1),
    "no-flow": (lambda: Stack().take(tcp(ACK)), 1),
    "table-full": (lambda: Stack(Sockets(none_for={"udp": errno.EMFILE})).take(udp()), 1),
    "ttl-zero": (lambda: Stack().take(ipv4(ttl=0)), 1),
    "multicast": (lambda: Stack().take(udp(target="224.0.0.1")), 1),
    "unhandled-icmp": (lambda: Stack().take(icmp(0)), 1),
    "device-write": (to_a_full_device, 1),
    "upstream-full": (lambda: Stack(Sockets(errno.EAGAIN)).take(udp(), udp()), 2),
    "rejected": (lambda: Stack(verdict=DROP).take(tcp(SYN)), 1),
    "memory-full": (without_memory, 1),
    "waiting-full": (without_a_way, 3),
    "bad-seal": (from_a_forger, 3),
    "echo-forbidden": (lambda: Stack(Sockets(none_for={"ping": errno.EACCES})).take(icmp(8)), 1),
}


def test_names_are_those_of_the_numbers() -> None:
    numbers = {
        name: value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, int)
    }
    assert sorted(numbers.values()) == list(range(len(reasons.NAMES)))
    for name, number in numbers.items():
        words = reasons.NAMES[number]
        assert words.replace("-", "_").startswith(name.lower())


def test_ok_is_no_reason() -> None:
    assert reasons.OK == 0
    assert len(set(reasons.NAMES)) == len(reasons.NAMES)


def test_every_reason_has_a_meaning_of_its_own() -> None:
    assert len(reasons.MEANINGS) == len(reasons.NAMES)
    assert len(set(reasons.MEANINGS)) == len(reasons.MEANINGS)


def test_documentation_has_a_row_for_each_reason_in_their_order() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \| ([^|]+) \|$", DOCUMENTATION.read_text(), re.M)
    expected = list(zip(reasons.NAMES, reasons.MEANINGS, strict=True))[1:]
    assert [(name, meaning) for name, meaning, _ in rows] == expected
    assert all(advice.strip() for _, _, advice in rows)


@pytest.mark.parametrize("name", CASES)
def test_reason_is_counted_once_for_each_packet(name: str) -> None:
    make, count = CASES[name]
    stack = make()
    try:
        assert stack.drops() == {name: count}
    finally:
        stack.close()


def test_errors_beyond_the_rate_are_counted() -> None:
    stack = Stack(Sockets(errno.ENETUNREACH))
    try:
        view, now = IpView(), clock.now()  # one moment for all of them: the rate is not what we wait for
        for n in range(300):
            frame = PLAIN + udp(size=n)
            assert parse_ip(frame, VNET_LEN, len(frame), view) == reasons.OK
            stack.datagrams.on_udp(frame, view, now)
            stack.datagrams.end_batch(now)
        drops = stack.drops()
        assert set(drops) == {"rejected", "icmp-limit"}
        assert drops["rejected"] == 300
        assert isinstance(stack.sink, Recorder)
        assert drops["icmp-limit"] + len(stack.sink.frames) == 300
    finally:
        stack.close()


def test_datagrams_that_are_sent_together_are_counted_one_by_one() -> None:
    for error, name in ((errno.EAGAIN, "upstream-full"), (errno.ENETUNREACH, "rejected")):
        stack = Stack(Sockets(error))
        try:
            for _ in range(3):
                stack.wire.send(PLAIN + udp())
            while stack.counters.frames_in < 3:
                stack.dataplane.poll(0)
            assert stack.drops() == {name: 3}
        finally:
            stack.close()


def test_frame_that_the_device_did_not_take_was_not_sent() -> None:
    counters = Counters()
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        sink = DeviceSink(full, counters)
        sink.write(b"frame")
        sink.write_parts(b"header", [b"payload"])
    finally:
        os.close(full)
    assert (counters.frames_out, counters.bytes_out, counters.drops[reasons.DEVICE_WRITE]) == (0, 0, 2)


def test_every_reason_is_reached() -> None:
    assert {*CASES, "icmp-limit"} == set(reasons.NAMES[1:])


def odd_packets() -> Iterator[bytes]:
    """Yield packets that nobody should send; of the thousands of unfinished ones, some."""
    for packets in (malformed.odd_ip(CLIENT, TARGET), malformed.odd_ipv6(CLIENT6, TARGET6)):
        found = list(packets)
        yield from found[: -3000 + 10]
    for source, target in ((CLIENT, TARGET), (CLIENT6, TARGET6)):
        yield from malformed.odd_tcp((source, 1000), (target, 80))
        yield from malformed.odd_udp_and_icmp(source, target)


def is_fragment(packet: bytes) -> bool:
    frame, view = PLAIN + packet, IpView()
    return parse_ip(frame, VNET_LEN, len(frame), view) == reasons.OK and bool(view.is_fragment)


def test_odd_packet_is_carried_or_answered_or_kept_or_counted_once() -> None:
    stack = Stack()
    try:
        for packet in odd_packets():
            sent, dropped = Outward.sent, sum(stack.counters.drops)
            stack.take(packet)
            dropped = sum(stack.counters.drops) - dropped
            carried = Outward.sent - sent + len(stack.tcp)
            assert dropped + carried == 1 or (dropped == 0 and is_fragment(packet)), (
                f"{dropped} drops, carried {carried} times: {packet[:80].hex()}"
            )
            stack.tcp.close()
    finally:
        stack.close()
