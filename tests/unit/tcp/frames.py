"""Frames as somebody else writes and reads them: dpkt, which shares no code with us.

``parse_sent`` plays the device behind us: it completes the checksum that we left partial, as virtio does,
then has dpkt compute all checksums anew and compares the whole packet. ``arriving`` makes a segment of the
peer with dpkt and takes it through our parsers.
"""

import socket
import struct
from dataclasses import dataclass, field

import dpkt

from tests.unit.recorder import Recorder as Recorder
from tunproxy.tcp.connection import Connection
from tunproxy.wire.ip import TCP, Endpoints, IpView, parse_ip
from tunproxy.wire.reasons import NAMES, OK
from tunproxy.wire.tcp import CWR, Segment, parse_tcp
from tunproxy.wire.vnet import GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, NEEDS_CSUM, PLAIN, VNET_LEN

TARGET_PORT = 80
CLIENT_PORT = 50000


@dataclass(frozen=True)
class Sent:
    """One frame that we sent, as dpkt reads it. gso_size is 0 where it is not a super-packet."""

    seq: int
    ack: int
    flags: int
    wnd: int
    payload: bytes
    gso_size: int
    mss: int | None = None
    shift: int | None = None
    sack_permitted: bool = False
    ts_val: int | None = None
    ts_ecr: int | None = None
    blocks: list[tuple[int, int]] = field(default_factory=list)
    ecn: int = 0  # the ECN field of the IP header

    @property
    def length(self) -> int:
        return len(self.payload)


def ends(*, ipv6: bool = False) -> Endpoints:
    """Return our view of the flow: we speak for the target, towards the client."""
    if ipv6:
        source, destination = (socket.inet_pton(socket.AF_INET6, a) for a in ("2001:db8::1", "fd00::2"))
    else:
        source, destination = (socket.inet_aton(a) for a in ("192.0.2.1", "10.0.0.2"))
    return Endpoints(source, destination, TARGET_PORT, CLIENT_PORT, TCP)


def completed(frame: bytes) -> bytes:
    """Return the packet in frame with the checksum that its virtio header asks for filled in."""
    flags, _, _, _, start, offset = struct.unpack("<BBHHHH", frame[:VNET_LEN])
    packet = bytearray(frame[VNET_LEN:])
    assert flags == NEEDS_CSUM
    padded = bytes(packet[start:]) + bytes(len(packet[start:]) % 2)
    total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    packet[start + offset : start + offset + 2] = struct.pack("!H", ~total & 0xFFFF)
    return bytes(packet)


def parse_sent(frame: bytes) -> Sent:
    """Return what the frame says, having checked everything in it that can be wrong."""
    _, gso_type, header_len, gso_size, csum_start, csum_offset = struct.unpack("<BBHHHH", frame[:VNET_LEN])
    packet = completed(frame)
    is_ipv6 = packet[0] >> 4 == 6
    ip = dpkt.ip6.IP6(packet) if is_ipv6 else dpkt.ip.IP(packet)
    tcp = ip.data
    if is_ipv6:
        assert ip.plen == len(packet) - 40
        assert (csum_start, csum_offset) == (40, 16)
    else:
        assert ip.len == len(packet)
        assert (csum_start, csum_offset) == (20, 16)
        assert ip.df
        assert not ip.mf
        assert ip.offset == 0
        ip.sum = 0
    assert isinstance(tcp, dpkt.tcp.TCP)
    sum_before, tcp.sum = tcp.sum, 0
    assert bytes(ip) == packet, f"checksum {sum_before:#x} is wrong"
    assert header_len == csum_start + tcp.off * 4
    if gso_type == GSO_NONE:
        assert gso_size == 0
    else:
        has_cwr = (
            GSO_ECN if tcp.flags & CWR else 0
        )  # virtio 1.2 §5.1.6.2: said where it is so, and only there
        assert gso_type == (GSO_TCPV6 if is_ipv6 else GSO_TCPV4) | has_cwr
        assert 0 < gso_size < len(tcp.data)
    found: dict[str, object] = {"ecn": (ip.fc if is_ipv6 else ip.tos) & 3}
    for kind, value in dpkt.tcp.parse_opts(tcp.opts):
        if kind == dpkt.tcp.TCP_OPT_MSS:
            found["mss"] = struct.unpack("!H", value)[0]
        elif kind == dpkt.tcp.TCP_OPT_WSCALE:
            found["shift"] = value[0]
        elif kind == dpkt.tcp.TCP_OPT_SACKOK:
            found["sack_permitted"] = True
        elif kind == dpkt.tcp.TCP_OPT_TIMESTAMP:
            found["ts_val"], found["ts_ecr"] = struct.unpack("!II", value)
        elif kind == dpkt.tcp.TCP_OPT_SACK:
            words = struct.unpack(f"!{len(value) // 4}I", value)
            found["blocks"] = list(zip(words[::2], words[1::2], strict=True))
        else:
            assert kind == dpkt.tcp.TCP_OPT_NOP, f"option {kind}"
    return Sent(tcp.seq, tcp.ack, tcp.flags, tcp.win, bytes(tcp.data), gso_size, **found)  # type: ignore[arg-type]


def options(
    *,
    mss: int | None = None,
    shift: int | None = None,
    sack_permitted: bool = False,
    ts: tuple[int, int] | None = None,
    blocks: list[tuple[int, int]] | None = None,
) -> bytes:
    """Return a list of TCP options, padded to whole words."""
    found = b""
    if mss is not None:
        found += struct.pack("!BBH", 2, 4, mss)
    if shift is not None:
        found += struct.pack("!BBB", 3, 3, shift)
    if sack_permitted:
        found += bytes((4, 2))
    if ts is not None:
        found += struct.pack("!BBBBII", 1, 1, 8, 10, *ts)
    if blocks:
        found += struct.pack("!BBBB", 1, 1, 5, 2 + 8 * len(blocks))
        found += b"".join(struct.pack("!II", *block) for block in blocks)
    return found + bytes(-len(found) % 4)


def arriving(
    ours: Endpoints,
    *,
    seq: int,
    ack: int = 0,
    flags: int,
    wnd: int,
    payload: bytes = b"",
    opts: bytes = b"",
    ecn: int = 0,
) -> Segment:
    """Return a segment of the peer, with right checksums, as our parsers read it."""
    tcp = dpkt.tcp.TCP(
        sport=ours.destination_port, dport=ours.source_port, seq=seq, ack=ack, flags=flags, win=wnd,
        opts=opts, data=payload,
    )  # fmt: skip
    tcp.off = 5 + len(opts) // 4
    packet: dpkt.Packet
    if ours.is_ipv6:
        packet = dpkt.ip6.IP6(src=ours.destination, dst=ours.source, nxt=TCP, hlim=64, data=tcp)
        packet.plen = len(tcp)
        packet.fc = ecn
    else:
        packet = dpkt.ip.IP(src=ours.destination, dst=ours.source, p=TCP, ttl=64, tos=ecn, data=tcp)
        packet.len = len(packet)
    frame = PLAIN + bytes(packet)
    view, seg = IpView(), Segment()
    reason = parse_ip(frame, VNET_LEN, len(frame), view) or parse_tcp(frame, view, False, seg)
    assert reason == OK, NAMES[reason]
    return seg


def held(conn: Connection) -> bytes:
    """Return what has been delivered and not yet taken."""
    return b"".join(bytes(piece) for piece in conn.rcv_queue)
