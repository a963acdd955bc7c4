"""Packets and capture files, made by dpkt and, for what dpkt cannot write, by hand."""

import ipaddress
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import dpkt
import dpkt.pcap
from dpkt.icmp import ICMP
from dpkt.ip import IP
from dpkt.ip6 import IP6
from dpkt.tcp import TCP
from dpkt.udp import UDP

CLIENT, SERVER = "10.0.0.2", "192.0.2.1"
SYN, ACK, PUSH = 2, 0x10, 8


def ip(source: str, target: str, payload: object, protocol: int) -> bytes:
    ends = [ipaddress.ip_address(each).packed for each in (source, target)]
    if len(ends[0]) == 16:
        return bytes(IP6(src=ends[0], dst=ends[1], nxt=protocol, plen=len(payload), hlim=64, data=payload))  # type: ignore[arg-type]
    return bytes(IP(src=ends[0], dst=ends[1], p=protocol, data=payload))


def tcp(
    data: bytes = b"", *, flags: int = ACK | PUSH, seq: int = 1001, sport: int = 4000, dport: int = 443,
    source: str = CLIENT, target: str = SERVER,
) -> bytes:  # fmt: skip
    return ip(source, target, TCP(sport=sport, dport=dport, seq=seq, flags=flags, data=data), 6)


def syn(**more: object) -> bytes:
    return tcp(flags=SYN, seq=1000, **more)  # type: ignore[arg-type]


def udp(
    data: bytes, *, sport: int = 4000, dport: int = 443, source: str = CLIENT, target: str = SERVER
) -> bytes:
    return ip(source, target, UDP(sport=sport, dport=dport, data=data, ulen=8 + len(data)), 17)


def ping(kind: int = 8, source: str = CLIENT, target: str = SERVER, data: bytes = b"x" * 16) -> bytes:
    return ip(source, target, ICMP(type=kind, data=ICMP.Echo(id=7, seq=1, data=data)), 1)


def pcap(path: Path, packets: Iterable[bytes], linktype: int = 101, *, apart: float = 0.1) -> Path:
    with open(path, "wb") as file:
        writer = dpkt.pcap.Writer(file, linktype=linktype)
        for number, packet in enumerate(packets):
            writer.writepkt(packet, 1000 + number * apart)
    return path


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    length = struct.pack(f"{order}I", 12 + len(body))
    return struct.pack(f"{order}I", kind) + length + body + length


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(linktype: int, options: bytes = b"", order: str = "<") -> bytes:
    return block(1, struct.pack(f"{order}HHI", linktype, 0, 0) + options, order)


def option(code: int, data: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}HH", code, len(data)) + data + bytes(-len(data) % 4)


def packet_block(
    packet: bytes, ticks: int = 1_000_000_000, number: int = 0, comments: Sequence[str] = (), order: str = "<"
) -> bytes:
    head = struct.pack(f"{order}IIIII", number, ticks >> 32, ticks & 0xFFFF_FFFF, len(packet), len(packet))
    options = b"".join(option(1, each.encode(), order) for each in comments)
    options += option(0, b"", order) if comments else b""
    return block(6, head + packet + bytes(-len(packet) % 4) + options, order)


def written(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path
