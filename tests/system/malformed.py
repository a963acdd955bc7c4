"""Packets that nobody should send, built by hand so that no code of ours can make them right again."""

import random
import socket
import struct
from collections.abc import Iterator

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
ODD_TCP_OPTIONS = (  # cut off, of length 0 or 1, longer than the header, unknown, nothing but padding
    b"\x02\x04",
    b"\x02\0\0\0",
    b"\x02\x01\0\0",
    b"\x03\xff\0\0",
    b"\x05\x0b" + b"\0" * 9,
    b"\x08\x0a\0",
    b"\x05\x02\x01\x01",
    b"\x22\x28",
    b"\xfd\x03\xff\x01",
    b"\x01" * 40,
)
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(
    source: str,
    target: str,
    proto: int,
    payload: bytes,
    *,
    version_ihl: int = 0x45,
    length: int | None = None,
    fragment: int = 0,
    options: bytes = b"",
    ttl: int = 64,
    wrong_sum: int = 0,
    identification: int = 7,
) -> bytes:
    """Build an IPv4 packet, right where no argument makes it wrong. fragment is the word with the flags."""
    total = 20 + len(options) + len(payload) if length is None else length
    head = struct.pack("!BBHHHBBH", version_ihl, 0, total & 0xFFFF, identification, fragment, ttl, proto, 0)
    head += socket.inet_aton(source) + socket.inet_aton(target) + options
    return head[:10] + struct.pack("!H", checksum(head) ^ wrong_sum) + head[12:] + payload


def ipv6(
    source: str, target: str, proto: int, payload: bytes, *, length: int | None = None, first: int = 0x60
) -> bytes:
    """Build an IPv6 packet, right where no argument makes it wrong."""
    head = struct.pack("!B3xHBB", first, (len(payload) if length is None else length) & 0xFFFF, proto, 64)
    return (
        head + socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, target) + payload
    )


def ip(source: str, target: str, proto: int, payload: bytes) -> bytes:
    return (ipv6 if ":" in source else ipv4)(source, target, proto, payload)


def summed(source: str, target: str, proto: int, segment: bytes, at: int) -> bytes:
    """Put the checksum with pseudo header into a segment, at an offset."""
    af = socket.AF_INET6 if ":" in source else socket.AF_INET
    pseudo = (
        socket.inet_pton(af, source) + socket.inet_pton(af, target) + struct.pack("!II", len(segment), proto)
    )
    return segment[:at] + struct.pack("!H", checksum(pseudo + segment)) + segment[at + 2 :]


def tcp(
    source: tuple[str, int],
    target: tuple[str, int],
    flags: int,
    *,
    seq: int = 1,
    ack: int = 0,
    options: bytes = b"",
    data_offset: int | None = None,
    payload: bytes = b"",
    wrong_sum: bool = False,
    urgent: int = 0,
) -> bytes:
    """Build a whole TCP packet of either family."""
    options += b"\0" * (-len(options) % 4)
    words = 5 + len(options) // 4 if data_offset is None else data_offset
    ports = struct.pack("!HHII", source[1], target[1], seq, ack)
    segment = ports + struct.pack("!BBHHH", words << 4, flags & 0xFF, 65535, 0, urgent) + options + payload
    if not wrong_sum:
        segment = summed(source[0], target[0], TCP, segment, 16)
    return ip(source[0], target[0], TCP, segment)


def udp(
    source: tuple[str, int], target: tuple[str, int], payload: bytes, *, length: int | None = None
) -> bytes:
    """Build a whole UDP packet of either family; length overrides the header's."""
    segment = (
        struct.pack("!HHHH", source[1], target[1], 8 + len(payload) if length is None else length, 0)
        + payload
    )
    return ip(source[0], target[0], UDP, summed(source[0], target[0], UDP, segment, 6))


def odd_ip(source: str, target: str) -> Iterator[bytes]:
    """Yield IPv4 packets that are wrong in the IP header, odd protocols, and fragments that do not fit."""
    good = udp((source, 1000), (target, 9), b"x" * 40)
    for size in (*range(1, 21), 24, 27, 28, 29):
        yield good[:size]
    for first in (0x00, 0x40, 0x41, 0x44, 0x46, 0x4F, 0x55, 0x75, 0xF5):
        yield bytes([first]) + good[1:]
    for length in (0, 1, 19, 20, 27, 28, 67, 69, 1000, 65535):
        yield ipv4(source, target, UDP, good[20:], length=length)
    yield ipv4(source, target, UDP, good[20:], wrong_sum=0x5555)
    yield ipv4(source, target, UDP, good[20:], ttl=0)
    for proto in (0, 2, 4, 41, 47, 50, 132, 255):
        yield ipv4(source, target, proto, b"\xff" * 60)
    for options in (
        b"\x07\x27" + b"\x04" * 38,
        b"\x83\x03\x10\0",
        b"\x44\0\0\0",
        b"\x94\xff\0\0",
        b"\x01" * 40,
    ):
        yield ipv4(source, target, UDP, good[20:], version_ihl=0x45 + len(options) // 4, options=options)
    for odd in ("0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", target):
        yield ipv4(odd, target, UDP, good[20:])
        yield ipv4(source, odd, UDP, good[20:])
    yield ipv4(source, source, TCP, tcp((source, 80), (source, 80), SYN)[20:])  # "land"
    more = 0x2000
    yield ipv4(source, target, UDP, good[20:], fragment=0x8000)  # the reserved bit
    yield ipv4(source, target, UDP, good[20:], fragment=0x4000 | more)
    for number, (offset, flag, size) in enumerate(
        # never completed, overlapping, beyond 65535, empty, not a multiple of eight, last before first
        [
            (0, more, 8),
            (0, more, 800),
            (50, 0, 400),
            (0x1FFF, 0, 1000),
            (0, more, 0),
            (3, more, 13),
            (1, 0, 1),
        ]
    ):
        yield ipv4(source, target, UDP, b"f" * size, fragment=flag | offset, identification=100 + number % 3)
    for number in range(3000):  # more unfinished datagrams than anybody should keep
        yield ipv4(source, target, UDP, b"f" * 1400, fragment=more, identification=number)


def odd_ipv6(source: str, target: str) -> Iterator[bytes]:
    """Yield IPv6 packets with wrong headers and chains of extension headers."""
    good = udp((source, 1000), (target, 9), b"x" * 40)
    for size in (*range(1, 41, 3), 40, 41, 47, 48, 49):
        yield good[:size]
    for length in (0, 1, 7, 8, 47, 49, 1000, 65535):
        yield ipv6(source, target, UDP, good[40:], length=length)
    for first in (0x00, 0x40, 0x50, 0x70, 0xF0):
        yield ipv6(source, target, UDP, good[40:], first=first)
    for proto in (0, 43, 44, 50, 51, 59, 60, 132, 135, 253, 255):
        yield ipv6(source, target, proto, b"\xff" * 80)
        yield ipv6(source, target, proto, b"\0" * 80)
        yield ipv6(source, target, proto, bytes([proto, 0]) + b"\0" * 6)
        yield ipv6(source, target, proto, bytes([proto]))
        yield ipv6(source, target, proto, b"")
    yield ipv6(source, target, 60, b"\x3c\0\x01\x04\0\0\0\0" * 100 + b"\x11\0\x01\x04\0\0\0\0" + good[40:])
    yield ipv6(source, target, 0, b"\x11\0\xc2\x04\0\x01\0\0" + good[40:], length=0)  # a jumbogram
    for offset, more, size in ((0, 1, 8), (8, 0, 8), (8, 1, 800), (65528, 0, 1000), (0, 1, 13), (0, 0, 40)):
        yield ipv6(source, target, 44, struct.pack("!BBHI", UDP, 0, offset | more, 77) + b"f" * size)
    for odd in ("::", "::1", "ff02::1", "::ffff:10.98.1.1", "fe80::1", target):
        yield ipv6(odd, target, UDP, good[40:])
        yield ipv6(source, odd, UDP, good[40:])
    for number in range(3000):
        yield ipv6(source, target, 44, struct.pack("!BBHI", UDP, 0, 1, number) + b"f" * 1400)


def odd_tcp(source: tuple[str, int], target: tuple[str, int]) -> Iterator[bytes]:
    """Yield TCP packets with odd flags, offsets, options and checksums."""
    for flags in range(64):
        if flags & (SYN | RST | ACK | FIN) != SYN:  # a proper SYN is a connection attempt, not malformed
            yield tcp(source, target, flags, seq=flags, payload=b"x" * (flags % 3))
    for words in (*range(5), 6, 10, 15):
        yield tcp(source, target, SYN, data_offset=words)
    for options in ODD_TCP_OPTIONS:
        yield tcp(source, target, ACK, options=options)
        yield tcp(source, target, SYN | RST, options=options)
    yield tcp(source, target, SYN, wrong_sum=True)
    yield tcp(source, target, ACK, payload=b"x" * 1000, wrong_sum=True)
    yield tcp(source, target, SYN | FIN)
    whole = tcp(source, target, SYN)
    head = 40 if ":" in source[0] else 20
    for size in range(20):
        yield ip(source[0], target[0], TCP, whole[head : head + size])


def odd_udp_and_icmp(source: str, target: str) -> Iterator[bytes]:
    """Yield UDP with wrong lengths, and ICMP that is short, unknown, or reports what never was."""
    for length in (0, 1, 7, 9, 200, 65535):
        yield udp((source, 1001), (target, 9), b"x" * 40, length=length)
    yield udp((source, 0), (target, 9), b"from port zero")
    yield udp((source, 1001), (target, 0), b"to port zero")
    for size in range(8):
        yield ip(source, target, UDP, b"\0" * size)
    proto = ICMPV6 if ":" in source else ICMP
    for kind in range(256):
        yield ip(source, target, proto, struct.pack("!BBHI", kind, kind % 5, 0, 1) + b"\x45" * 30)
    quoted = tcp((target, 80), (source, 1000), ACK)
    for kind in (3, 4, 5, 11, 12) if proto == ICMP else (1, 2, 3, 4, 137):
        for size in (0, 1, 8, 20, 27, 28, 40, 60):
            body = struct.pack("!BBHI", kind, 0, 0, 68) + quoted[:size]
            whole = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
            yield ip(
                source, target, proto, whole if proto == ICMP else summed(source, target, proto, body, 2)
            )


def against_flow(source: tuple[str, int], target: tuple[str, int]) -> Iterator[bytes]:
    """Yield segments that bear a live connection's addresses and ports, but not its sequence numbers."""
    rng = random.Random(5961)
    for flags in (RST, RST | ACK, SYN, SYN | ACK, FIN | ACK, ACK, ACK | PSH, ACK | URG, 0, 0x3F):
        for _ in range(20):
            seq, ack = rng.getrandbits(32), rng.getrandbits(32)
            yield tcp(
                source, target, flags, seq=seq, ack=ack, payload=b"!" * rng.choice((0, 1, 500)), urgent=9
            )


def mutations(packets: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Yield copies of packets with some octets replaced, cut off, or doubled."""
    rng = random.Random(seed)
    for _ in range(count):
        packet = bytearray(rng.choice(packets))
        for _ in range(rng.randint(1, 6)):
            packet[rng.randrange(len(packet))] = rng.getrandbits(8)
        at = rng.randrange(1, len(packet) + 1)
        yield bytes(
            packet[:at] if rng.random() < 0.3 else packet + packet[:at] if rng.random() < 0.1 else packet
        )
