"""One direction of a path between two hosts: it loses, doubles, delays, reorders, damages, and it is full.

A link takes the frames that an engine hands to its device. Either it keeps super-packets whole, as a local
device does, or it cuts them and completes checksums as a kernel and a network card would (``cut``). What
happens to each packet is drawn from the link's own random numbers, so a seed says everything.
"""

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

from tunproxy.wire.vnet import GSO_NONE, NEEDS_CSUM, PLAIN, VNET_LEN

FIN, SYN, PSH, ECE, CWR = 0x01, 0x02, 0x08, 0x40, 0x80
CE = 3


@dataclass(frozen=True)
class LinkPlan:
    """What a link does. Times in microseconds, rates in octets per second, 0 for no limit."""

    delay: int = 1000
    jitter: int = 0
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0  # how many packets fall behind those that follow
    corruption: float = 0.0
    marks: float = 0.0  # how many ECN-capable packets get a CE mark
    bleaching: float = 0.0  # how many SYNs lose ECE and CWR, as a middlebox would have it
    outages: tuple[tuple[int, int], ...] = ()  # (from, to) in which nothing arrives
    strips: tuple[int, ...] = ()  # kinds of TCP options that a middlebox takes out of SYNs
    rate: int = 0
    queue: int = 1 << 30  # octets that wait for their turn; the rest is dropped
    mtu: int = 1500
    keeps_whole: bool = False


class Link:
    """Delivers what is sent into it, if it does, through ``deliver(frame, at)``."""

    def __init__(self, plan: LinkPlan, seed: int, deliver: Callable[[bytes, int], None]) -> None:
        self.plan = plan
        self.sent = 0
        self.lost = 0
        self.corrupted = 0
        self.marked = 0
        self._random = random.Random(seed)
        self._deliver = deliver
        self._free_at = 0  # when the last octet of what waits has left
        self._last_arrival = 0

    def send(self, frame: bytes, now: int) -> None:
        """Take one frame of an engine."""
        if self.plan.strips:
            frame = strip(frame, self.plan.strips)
        if self.plan.bleaching and self._random.random() < self.plan.bleaching:
            frame = bleach(frame)
        if self.plan.keeps_whole:
            self._carry(frame, now)
        else:
            for packet in cut(frame):
                assert len(packet) - VNET_LEN <= self.plan.mtu, (
                    f"{len(packet) - VNET_LEN} octets in one packet"
                )
                self._carry(packet, now)

    def _carry(self, packet: bytes, now: int) -> None:
        plan, draw = self.plan, self._random.random
        self.sent += 1
        if plan.rate:
            waiting = max(self._free_at - now, 0) * plan.rate // 1_000_000
            if waiting > plan.queue:
                self.lost += 1
                return
            self._free_at = max(self._free_at, now) + len(packet) * 1_000_000 // plan.rate
            now = self._free_at
        if draw() < plan.loss or any(begin <= now < end for begin, end in plan.outages):
            self.lost += 1
            return
        if plan.marks and is_ecn_capable(packet) and draw() < plan.marks:
            packet = mark(packet)
            self.marked += 1
        copies = 2 if plan.duplication and draw() < plan.duplication else 1
        for _ in range(copies):
            at = now + plan.delay
            if plan.jitter:
                at += self._random.randrange(plan.jitter)
            if plan.reordering and draw() < plan.reordering:
                at += self._random.randrange(1, 5 * (plan.delay + plan.jitter))
            else:
                at = self._last_arrival = max(at, self._last_arrival)
            damaged = packet
            if plan.corruption and draw() < plan.corruption:
                damaged = corrupt(packet, self._random)
                self.corrupted += 1
            self._deliver(damaged, at)


def ones_sum(data: bytes) -> int:
    """Return the sum of data as 16-bit words in ones' complement, never 0 but for nothing but zeros."""
    number = int.from_bytes(data + bytes(len(data) % 2))
    return (number - 1) % 0xFFFF + 1 if number else 0


def cut(frame: bytes) -> list[bytes]:
    """Return the packets that leave a network card for this frame, each behind an empty virtio header.

    Sequence numbers, lengths, IPv4 identification and both checksums are each packet's own; FIN and PSH
    stay with the last one, CWR with the first.
    """
    flags, gso_type, _, gso_size, start, _ = struct.unpack_from("<BBHHHH", frame)
    if flags == 0 and gso_type == GSO_NONE:  # a kernel's packet that has its checksum
        return [frame]
    assert flags == NEEDS_CSUM
    packet = frame[VNET_LEN:]
    is_ipv6 = packet[0] >> 4 == 6
    data_off = start + (packet[start + 12] >> 4) * 4
    payload = packet[data_off:]
    size = len(payload) if gso_type == GSO_NONE else gso_size
    addresses = packet[8:40] if is_ipv6 else packet[12:20]
    (seq,) = struct.unpack_from("!I", packet, start + 4)
    found = []
    for number, at in enumerate(range(0, max(len(payload), 1), max(size, 1))):
        piece = payload[at : at + size]
        tcp = bytearray(packet[start:data_off])
        struct.pack_into("!I", tcp, 4, (seq + at) & 0xFFFF_FFFF)
        if at + size < len(payload):
            tcp[13] &= ~(FIN | PSH)
        if number > 0:
            tcp[13] &= ~CWR
        tcp[16:18] = b"\0\0"
        pseudo = addresses + struct.pack("!II", len(tcp) + len(piece), 6)
        struct.pack_into("!H", tcp, 16, ~ones_sum(pseudo + tcp + piece) & 0xFFFF)
        ip = bytearray(packet[:start])
        if is_ipv6:
            struct.pack_into("!H", ip, 4, len(tcp) + len(piece))
        else:
            (identification,) = struct.unpack_from("!H", ip, 4)
            struct.pack_into("!HH", ip, 2, start + len(tcp) + len(piece), (identification + number) & 0xFFFF)
            ip[10:12] = b"\0\0"
            struct.pack_into("!H", ip, 10, ~ones_sum(bytes(ip)) & 0xFFFF)
        found.append(PLAIN + bytes(ip) + bytes(tcp) + piece)
    return found


def strip(frame: bytes, kinds: tuple[int, ...]) -> bytes:
    """Return frame, if it is a SYN, with these options overwritten by no-operations."""
    (start,) = struct.unpack_from("<H", frame, 6)
    tcp = VNET_LEN + start
    if not frame[tcp + 13] & SYN:
        return frame
    found = bytearray(frame)
    at, end = tcp + 20, tcp + (frame[tcp + 12] >> 4) * 4
    while at < end and frame[at] != 0:
        size = 1 if frame[at] == 1 else frame[at + 1]
        if frame[at] in kinds:
            found[at : at + size] = bytes((1,)) * size
        at += size
    return bytes(found)


def bleach(frame: bytes) -> bytes:
    """Return frame, if it is a SYN whose checksum is partial still, without ECE and CWR."""
    (start,) = struct.unpack_from("<H", frame, 6)
    at = VNET_LEN + start + 13
    if not frame[at] & SYN:
        return frame
    return frame[:at] + bytes((frame[at] & ~(ECE | CWR),)) + frame[at + 1 :]


def ecn_field(packet: bytes) -> int:
    """Return the ECN field of the packet behind a virtio header (RFC 3168 §5)."""
    octet = packet[VNET_LEN + 1]
    return (octet >> 4 if packet[VNET_LEN] >> 4 == 6 else octet) & 3


def is_ecn_capable(packet: bytes) -> bool:
    return ecn_field(packet) in (1, 2)


def mark(packet: bytes) -> bytes:
    """Return packet with CE, as a router marks it: with the header checksum of IPv4 made anew."""
    found = bytearray(packet)
    if packet[VNET_LEN] >> 4 == 6:
        found[VNET_LEN + 1] |= CE << 4
    else:
        found[VNET_LEN + 1] |= CE
        end = VNET_LEN + (packet[VNET_LEN] & 15) * 4
        found[VNET_LEN + 10 : VNET_LEN + 12] = b"\0\0"
        total = ones_sum(bytes(found[VNET_LEN:end]))
        struct.pack_into("!H", found, VNET_LEN + 10, ~total & 0xFFFF)
    return bytes(found)


def corrupt(packet: bytes, source: random.Random) -> bytes:
    """Return packet with some bits of one 16-bit word inverted, which no Internet checksum misses.

    Words that no checksum covers (IPv6 has some) may be hit too; they carry nothing that matters to TCP.
    """
    damaged = bytearray(packet)
    at = VNET_LEN + 2 * source.randrange((len(packet) - VNET_LEN) // 2)
    (word,) = struct.unpack_from("!H", packet, at)
    wrong = word
    while wrong == word or {word, wrong} == {0, 0xFFFF}:
        wrong = word ^ source.choice((1 << source.randrange(16), source.randrange(0x10000)))
    struct.pack_into("!H", damaged, at, wrong)
    return bytes(damaged)
