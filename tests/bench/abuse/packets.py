"""IPv4, IPv6, TCP, UDP and ICMP packets: built field by field, read without trust."""

import socket
import struct
import time
from dataclasses import dataclass, field

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 1, 2, 4, 8, 16, 32, 64, 128
ICMP, TCP, UDP, FRAGMENT, ICMPV6 = 1, 6, 17, 44, 58
FLAG_NAMES = (
    (SYN, "SYN"),
    (FIN, "FIN"),
    (RST, "RST"),
    (ACK, "ACK"),
    (URG, "URG"),
    (ECE, "ECE"),
    (CWR, "CWR"),
)
MORE_FRAGMENTS = 0x2000
GSO_NONE, NEEDS_CSUM = 0, 1  # linux/virtio_net.h
MASK = 0xFFFF_FFFF


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def ipv4(
    source: str,
    target: str,
    proto: int,
    payload: bytes,
    *,
    ttl: int = 64,
    tos: int = 0,
    fragment: int = 0,
    identification: int = 7,
    options: bytes = b"",
    length: int | None = None,
    header_words: int | None = None,
    spoil_sum: int = 0,
) -> bytes:
    """Build an IPv4 packet; fragment is the word that holds flags and offset."""
    words = 5 + len(options) // 4 if header_words is None else header_words
    total = 20 + len(options) + len(payload) if length is None else length
    head = struct.pack("!BBHHHBBH", 0x40 | words, tos, total, identification, fragment, ttl, proto, 0)
    head += packed(source) + packed(target) + options
    return head[:10] + struct.pack("!H", checksum(head) ^ spoil_sum) + head[12:] + payload


def ipv6(source: str, target: str, proto: int, payload: bytes, *, ttl: int = 64, tos: int = 0) -> bytes:
    head = struct.pack("!IHBB", 6 << 28 | tos << 20, len(payload), proto, ttl)
    return head + packed(source) + packed(target) + payload


def ip(source: str, target: str, proto: int, payload: bytes, *, ttl: int = 64, tos: int = 0) -> bytes:
    return (ipv6 if ":" in source else ipv4)(source, target, proto, payload, ttl=ttl, tos=tos)


def with_sum(source: str, target: str, proto: int, body: bytes, at: int, spoil: int = 0) -> bytes:
    """Put the checksum over pseudo header and body into the body."""
    pseudo = packed(source) + packed(target) + struct.pack("!II", len(body), proto)
    return body[:at] + struct.pack("!H", checksum(pseudo + body) ^ spoil) + body[at + 2 :]


def tcp_body(
    source: tuple[str, int],
    target: tuple[str, int],
    flags: int,
    seq: int,
    ack: int = 0,
    *,
    window: int = 65535,
    options: bytes = b"",
    data: bytes = b"",
    urgent: int = 0,
    spoil_sum: int = 0,
    words: int | None = None,
) -> bytes:
    """Build a TCP segment without its IP header."""
    options += b"\1" * (-len(options) % 4)
    words = 5 + len(options) // 4 if words is None else words
    body = struct.pack(
        "!HHIIBBHHH", source[1], target[1], seq & MASK, ack & MASK, words << 4, flags, window, 0, urgent
    )
    return with_sum(source[0], target[0], TCP, body + options + data, 16, spoil_sum)


def udp_body(
    source: tuple[str, int],
    target: tuple[str, int],
    data: bytes,
    *,
    length: int | None = None,
    spoil_sum: int = 0,
) -> bytes:
    size = 8 + len(data) if length is None else length
    body = struct.pack("!HHHH", source[1], target[1], size, 0) + data
    return with_sum(source[0], target[0], UDP, body, 6, spoil_sum)


def udp(source: tuple[str, int], target: tuple[str, int], data: bytes, *, ttl: int = 64) -> bytes:
    return ip(source[0], target[0], UDP, udp_body(source, target, data), ttl=ttl)


def icmp_echo(source: str, target: str, ident: int, seq: int, data: bytes, *, spoil_sum: int = 0) -> bytes:
    six = ":" in source
    body = struct.pack("!BBHHH", 128 if six else 8, 0, 0, ident, seq) + data
    if six:
        return ipv6(source, target, ICMPV6, with_sum(source, target, ICMPV6, body, 2, spoil_sum))
    return ipv4(source, target, ICMP, body[:2] + struct.pack("!H", checksum(body) ^ spoil_sum) + body[4:])


def icmp_error(router: str, target: str, kind: int, code: int, rest: int, quoted: bytes) -> bytes:
    """Build an ICMPv4 error; rest is the second word of its header."""
    body = struct.pack("!BBHI", kind, code, 0, rest) + quoted
    return ipv4(router, target, ICMP, body[:2] + struct.pack("!H", checksum(body)) + body[4:])


def fragments(packet: bytes, size: int, identification: int) -> list[bytes]:
    """Cut an IPv4 packet without options into fragments of at most size octets of payload."""
    source, target = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    body, size = packet[20:], size // 8 * 8
    return [
        ipv4(
            source,
            target,
            packet[9],
            body[at : at + size],
            identification=identification,
            fragment=at // 8 | (MORE_FRAGMENTS if at + size < len(body) else 0),
        )
        for at in range(0, len(body), size)
    ]


def fragment6(
    source: str, target: str, proto: int, part: bytes, offset: int, more: bool, ident: int
) -> bytes:
    head = struct.pack("!BBHI", proto, 0, offset | more, ident)
    return ipv6(source, target, FRAGMENT, head + part)


@dataclass
class Packet:
    """One packet from a program, read. TCP fields are 0 or empty in others."""

    source: str
    target: str
    proto: int
    ttl: int
    tos: int
    body: bytes
    at: float = field(default_factory=time.monotonic)
    gso: int = 0  # payload of each segment that the kernel will cut it into; 0: it is one packet
    sum_is_right: bool = True
    fragment: int = 0  # IPv4: flags and offset
    identification: int = 0
    sport: int = 0
    dport: int = 0
    seq: int = 0
    ack: int = 0
    flags: int = 0
    window: int = 0
    data: bytes = b""
    options: dict[int, bytes] = field(default_factory=dict)

    def __str__(self) -> str:
        if self.proto == TCP:
            names = "+".join(name for bit, name in FLAG_NAMES if self.flags & bit) or "no flags"
            return f"{names} with {len(self.data)} octets" if self.data else names
        if self.proto in (ICMP, ICMPV6) and len(self.body) > 1:
            return f"ICMP {self.body[0]}/{self.body[1]} from {self.source}"
        return f"protocol {self.proto}, {len(self.body)} octets"

    @property
    def length(self) -> int:
        """Return SEG.LEN."""
        return len(self.data) + bool(self.flags & SYN) + bool(self.flags & FIN)

    @property
    def largest(self) -> int:
        """Return the octets of data in the largest packet that this one becomes on the wire."""
        return min(self.gso, len(self.data)) if self.gso else len(self.data)

    @property
    def timestamp(self) -> tuple[int, int] | None:
        raw = self.options.get(8)
        return struct.unpack("!II", raw) if raw is not None and len(raw) == 8 else None

    @property
    def sack(self) -> list[tuple[int, int]]:
        raw = self.options.get(5, b"")
        return [struct.unpack_from("!II", raw, at) for at in range(0, len(raw) // 8 * 8, 8)]


def read_options(raw: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(raw) and raw[at]:
        if raw[at] == 1:
            at += 1
            continue
        if at + 1 >= len(raw) or raw[at + 1] < 2 or at + raw[at + 1] > len(raw):
            break
        found[raw[at]] = raw[at + 2 : at + raw[at + 1]]
        at += raw[at + 1]
    return found


def read(raw: bytes, gso: int = 0, partial_sum: bool = False) -> Packet | None:
    """Read a packet; None where it is none of ours to read. partial_sum: the kernel computes the checksum."""
    if len(raw) < 20:
        return None
    if raw[0] >> 4 == 4:
        head, total = (raw[0] & 15) * 4, struct.unpack_from("!H", raw, 2)[0]
        proto, ttl, tos = raw[9], raw[8], raw[1]
        source, target = socket.inet_ntoa(raw[12:16]), socket.inet_ntoa(raw[16:20])
        identification, fragment = struct.unpack_from("!HH", raw, 4)
        right = checksum(raw[:head]) == 0
    elif raw[0] >> 4 == 6 and len(raw) >= 40:
        head, total = 40, 40 + struct.unpack_from("!H", raw, 4)[0]
        proto, ttl, tos = raw[6], raw[7], struct.unpack_from("!H", raw)[0] >> 4 & 0xFF
        source, target = (socket.inet_ntop(socket.AF_INET6, raw[at : at + 16]) for at in (8, 24))
        identification = fragment = 0
        right = True
    else:
        return None
    if total > head and not gso:
        raw = raw[:total]  # what Ethernet pads is not the packet's
    body = raw[head:]
    packet = Packet(source, target, proto, ttl, tos, body, gso=gso, fragment=fragment & 0xBFFF)
    packet.identification = identification
    if packet.fragment:
        packet.sum_is_right = right
        return packet
    if proto == TCP and len(body) >= 20:
        packet.sport, packet.dport, packet.seq, packet.ack, offset, packet.flags, packet.window = (
            struct.unpack_from("!HHIIBBH", body)
        )
        packet.options = read_options(body[20 : (offset >> 4) * 4])
        packet.data = body[(offset >> 4) * 4 :]
    elif proto == UDP and len(body) >= 8:
        packet.sport, packet.dport = struct.unpack_from("!HH", body)
        packet.data = body[8:]
    if proto in (TCP, UDP, ICMPV6) and not partial_sum:
        pseudo = packed(source) + packed(target) + struct.pack("!II", len(body), proto)
        absent = proto == UDP and raw[0] >> 4 == 4 and body[6:8] == b"\0\0"
        right = right and (absent or checksum(pseudo + body) == 0)
    elif proto == ICMP:
        right = right and checksum(body) == 0
    packet.sum_is_right = right
    return packet
