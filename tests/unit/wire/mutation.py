"""Frames that went wrong on the way, the same ones in every run."""

import random
import struct
from collections.abc import Iterator

import dpkt

from tests.unit.wire import frames
from tests.unit.wire.frames import CLIENT, CLIENT6, TARGET, TARGET6
from tunproxy.wire.vnet import PLAIN, VNET_LEN


def segment(payload: bytes, options: bytes, *, source: str, target: str) -> bytes:
    """Return a client's TCP segment as a frame."""
    tcp = dpkt.tcp.TCP(sport=5000, dport=80, seq=1, ack=2, flags=0x10, win=500, opts=options, data=payload)
    tcp.off = 5 + len(options) // 4
    return PLAIN + frames.ip(tcp, 6, source=source, target=target)


def with_extensions(*headers: tuple[int, bytes], upper: bytes = b"", protocol: int = 17) -> bytes:
    """Return an IPv6 frame with these extension headers: (kind, octets behind "next header")."""
    kinds = [kind for kind, _ in headers] + [protocol]
    chain = b"".join(bytes([kind]) + body for kind, (_, body) in zip(kinds[1:], headers, strict=True))
    frame = frames.ip(chain + upper, kinds[0], source=CLIENT6, target=TARGET6)
    return PLAIN + frame


def corpus() -> list[bytes]:
    """Return right frames of every kind that a parser knows."""
    found = []
    options = bytes([2, 4, 5, 180, 1, 3, 3, 7, 4, 2, 8, 10]) + bytes(8) + bytes([1, 1, 5, 10]) + bytes(8)
    timestamps = bytes([1, 1, 8, 10]) + struct.pack("!II", 7, 8)
    for source, target in ((CLIENT, TARGET), (CLIENT6, TARGET6)):
        found.append(frames.udp(b"payload", source=(source, 5000), target=(target, 53)))
        found.append(frames.udp_super(bytes(300), 100, source=(source, 5000), target=(target, 53)))
        found.append(frames.echo_request(b"payload", source=source, target=target))
        found.extend(
            segment(b"payload", kind, source=source, target=target)
            for kind in (b"", timestamps, options + bytes(-len(options) % 4))
        )
    found.append(
        with_extensions(
            (0, bytes([0, 1, 4, 0, 0, 0, 0])),
            (60, bytes([0, 1, 4, 0, 0, 0, 0])),
            (43, bytes([0, 0, 0, 0, 0, 0, 0])),
            (51, bytes([1]) + bytes(10)),
            (44, bytes([0, 0, 1, 0, 0, 0, 9])),
            upper=bytes(40),
        )
    )
    fragment = bytearray(frames.udp(bytes(64), df=False))
    fragment[VNET_LEN + 6 : VNET_LEN + 8] = b"\x20\x00"
    repair(fragment)
    found.append(bytes(fragment))
    return found


def mutants(seed: int, count: int) -> Iterator[bytes]:
    """Yield count frames of at least ten octets, each a right one with a few faults in its packet."""
    source = random.Random(seed)
    good = corpus()
    for _ in range(count):
        packet = bytearray(source.choice(good))
        for _ in range(source.randrange(4)):
            fault = source.randrange(5)
            at = source.randrange(VNET_LEN, max(len(packet), VNET_LEN + 1))
            if fault == 0 and at < len(packet):
                packet[at] = source.randrange(256)
            elif fault == 1 and at < len(packet):
                packet[at] ^= 1 << source.randrange(8)
            elif fault == 2:
                del packet[at:]
            elif fault == 3:
                packet[at:at] = source.randbytes(source.randrange(1, 20))
            else:
                del packet[at : at + source.randrange(1, 20)]
        if len(packet) >= VNET_LEN + 20 and packet[VNET_LEN] >> 4 == 4 and source.random() < 0.7:
            repair(packet)
        yield bytes(packet)


def repair(packet: bytearray) -> None:
    """Make the sum of the IPv4 header right again, so that the faults behind it are reached."""
    end = VNET_LEN + min((packet[VNET_LEN] & 15) * 4, len(packet) - VNET_LEN)
    packet[VNET_LEN + 10 : VNET_LEN + 12] = b"\0\0"
    total = frames.summed(bytes(packet[VNET_LEN:end]))
    packet[VNET_LEN + 10 : VNET_LEN + 12] = struct.pack("!H", ~total & 0xFFFF)
