"""Frames made and read by dpkt, which shares no code with us.

``udp`` and ``icmp`` make what a client sends, checksums right; ``read`` plays the device behind us: it
completes the checksum that we left partial, has dpkt compute every checksum anew, and compares.
"""

import socket
import struct
from dataclasses import dataclass

import dpkt

from tunproxy.wire.ip import IpView, parse_ip
from tunproxy.wire.reasons import NAMES, OK
from tunproxy.wire.vnet import GSO_NONE, GSO_UDP_L4, NEEDS_CSUM, PLAIN, VNET_LEN

CLIENT = "10.0.0.2"
CLIENT6 = "fd00::2"
TARGET = "198.51.100.7"
TARGET6 = "2001:db8::7"


@dataclass(frozen=True)
class Packet:
    """A frame that we sent, as dpkt reads it; gso_size is 0 where it is not a super-packet."""

    source: str
    destination: str
    source_port: int
    destination_port: int
    payload: bytes
    gso_size: int
    hop_limit: int

    def datagrams(self) -> list[bytes]:
        """Return the payloads that the client's socket gets."""
        if not self.gso_size:
            return [self.payload]
        return [self.payload[at : at + self.gso_size] for at in range(0, len(self.payload), self.gso_size)]


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def ip(
    upper: object,
    protocol: int,
    *,
    source: str,
    target: str,
    hop_limit: int = 64,
    traffic_class: int = 0,
    df: bool = True,
    identification: int = 0,
) -> bytes:
    """Return a packet around upper, its checksums and lengths computed by dpkt."""
    if ":" in target:
        packet = dpkt.ip6.IP6(
            src=packed(source), dst=packed(target), nxt=protocol, hlim=hop_limit, data=upper
        )
        packet.fc = traffic_class
        packet.plen = len(upper)  # type: ignore[arg-type]
        packet.extension_hdrs = {}
        return bytes(packet)
    header = dpkt.ip.IP(
        src=packed(source), dst=packed(target), p=protocol, ttl=hop_limit, tos=traffic_class, data=upper
    )
    header.id = identification
    header.df = int(df)
    header.len = len(header)
    return bytes(header)


def udp(
    payload: bytes,
    *,
    source: tuple[str, int] = (CLIENT, 5000),
    target: tuple[str, int] = (TARGET, 7000),
    hop_limit: int = 64,
    traffic_class: int = 0,
    df: bool = True,
) -> bytes:
    """Return a client's datagram as a frame."""
    datagram = dpkt.udp.UDP(sport=source[1], dport=target[1], data=payload)
    datagram.ulen = len(datagram)
    return PLAIN + ip(
        datagram,
        17,
        source=source[0],
        target=target[0],
        hop_limit=hop_limit,
        traffic_class=traffic_class,
        df=df,
    )


def udp_super(payload: bytes, size: int, **ends: tuple[str, int]) -> bytes:
    """Return several datagrams of a client's in one frame, as the device hands them out."""
    frame = udp(payload, **ends)  # type: ignore[arg-type]
    ip_len = 40 if frame[VNET_LEN] >> 4 == 6 else 20
    return struct.pack("<BBHHHH", NEEDS_CSUM, GSO_UDP_L4, ip_len + 8, size, ip_len, 6) + frame[VNET_LEN:]


def echo_request(
    payload: bytes,
    *,
    source: str = CLIENT,
    target: str = TARGET,
    identifier: int = 77,
    sequence: int = 1,
    hop_limit: int = 64,
    df: bool = True,
) -> bytes:
    """Return a client's echo request as a frame."""
    message: dpkt.Packet
    if ":" in target:
        message = dpkt.icmp6.ICMP6(
            type=128, data=dpkt.icmp6.ICMP6.Echo(id=identifier, seq=sequence, data=payload)
        )
        return PLAIN + ip(message, 58, source=source, target=target, hop_limit=hop_limit)
    message = dpkt.icmp.ICMP(type=8, data=dpkt.icmp.ICMP.Echo(id=identifier, seq=sequence, data=payload))
    return PLAIN + ip(message, 1, source=source, target=target, hop_limit=hop_limit, df=df)


def parsed(frame: bytes) -> IpView:
    """Return the view of a frame whose IP header must be right."""
    view = IpView()
    reason = parse_ip(frame, VNET_LEN, len(frame), view)
    assert reason == OK, NAMES[reason]
    return view


def completed(frame: bytes) -> bytes:
    """Return the packet in frame with the checksum that its virtio header asks for filled in."""
    flags, _, _, _, start, offset = struct.unpack("<BBHHHH", frame[:VNET_LEN])
    packet = bytearray(frame[VNET_LEN:])
    if flags == NEEDS_CSUM:
        packet[start + offset : start + offset + 2] = struct.pack(
            "!H", ~summed(bytes(packet[start:])) & 0xFFFF
        )
    else:
        assert flags == 0
    return bytes(packet)


def summed(octets: bytes) -> int:
    """Return the one's-complement sum of octets, by the book."""
    octets += bytes(len(octets) % 2)
    total = sum(struct.unpack(f"!{len(octets) // 2}H", octets))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def check_sums(packet: bytes) -> None:
    """Fail unless the IPv4 header sum and the sum over transport and pseudo-header are right."""
    if packet[0] >> 4 == 6:
        protocol, addresses, upper = packet[6], packet[8:40], packet[40:]
        assert struct.unpack("!H", packet[4:6])[0] == len(upper)
    else:
        header_len = (packet[0] & 15) * 4
        assert struct.unpack("!H", packet[2:4])[0] == len(packet)
        assert summed(packet[:header_len]) == 0xFFFF
        protocol, addresses, upper = packet[9], packet[12:20], packet[header_len:]
    pseudo = b"" if protocol == 1 else addresses + struct.pack("!II", len(upper), protocol)
    assert summed(pseudo + upper) == 0xFFFF


def read(frame: bytes) -> Packet:
    """Return what a frame with UDP says, having checked everything in it that can be wrong."""
    _, gso_type, header_len, gso_size, csum_start, csum_offset = struct.unpack("<BBHHHH", frame[:VNET_LEN])
    packet = completed(frame)
    is_ipv6 = packet[0] >> 4 == 6
    ip_len = 40 if is_ipv6 else 20
    check_sums(packet)
    if frame[0]:
        assert (csum_start, csum_offset) == (ip_len, 6)
        assert header_len == ip_len + 8
    header = dpkt.ip6.IP6(packet) if is_ipv6 else dpkt.ip.IP(packet)
    datagram = header.data
    assert isinstance(datagram, dpkt.udp.UDP)
    assert datagram.ulen == len(packet) - ip_len
    assert gso_type == (GSO_UDP_L4 if gso_size else GSO_NONE)
    if gso_size:
        assert gso_size < len(datagram.data)
    family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
    return Packet(
        socket.inet_ntop(family, header.src),
        socket.inet_ntop(family, header.dst),
        datagram.sport,
        datagram.dport,
        bytes(datagram.data),
        gso_size,
        header.hlim if is_ipv6 else header.ttl,
    )
