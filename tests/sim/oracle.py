"""What dpkt, which shares no code with us, says about a frame of ours: nothing, or what is wrong with it.

``examine`` plays the kernel behind the device. It checks the virtio header, completes the checksum that was
left partial, has dpkt take the packet apart, and holds every length, sum, flag, option and quotation against
the RFCs. It knows what we send: TCP, UDP, echo replies, ICMP errors and fragments, in both families. Sums are
computed as a remainder modulo 0xFFFF, another way than ours.
"""

import struct

import dpkt

VNET_LEN = 10
NEEDS_CSUM = 1
TCPV4, TCPV6, UDP_L4 = 1, 4, 5
ICMP, TCP, UDP, FRAGMENT, ICMPV6 = 1, 6, 17, 44, 58
GSO_ECN = 0x80
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80
ECT_0 = 2
LEAST_MTU_V6 = 1280
ERRORS = (3, 11, 12)  # RFC 792; their codes are those of whoever reported, which are passed on
ERRORS_V6 = (1, 2, 3, 4)  # RFC 4443 §3


class Wrong(Exception):
    """A frame is not what it has to be."""


def examine(frame: bytes) -> str:
    """Return what is wrong with a frame, "" if it is perfect."""
    try:
        _frame(frame)
    except (Wrong, dpkt.UnpackError, struct.error, IndexError) as error:
        return f"{error or type(error).__name__}: {frame[:120].hex()}"
    return ""


def ones_sum(octets: bytes) -> int:
    """Return the one's-complement sum of octets; 0xFFFF, not 0, for a sum of zero that has octets in it."""
    number = int.from_bytes(octets + bytes(len(octets) % 2), "big")
    return number % 0xFFFF or (0xFFFF if number else 0)


def completed(frame: bytes) -> bytes:
    """Return the packet in frame with its transport checksum filled in, as the kernel does."""
    flags, _, _, _, start, offset = struct.unpack("<BBHHHH", frame[:VNET_LEN])
    packet = frame[VNET_LEN:]
    if not flags & NEEDS_CSUM:
        return packet
    at = start + offset
    word = ~ones_sum(packet[start:]) & 0xFFFF or 0xFFFF
    return packet[:at] + struct.pack("!H", word) + packet[at + 2 :]


def _hold(holds: bool, what: str) -> None:
    if not holds:
        raise Wrong(what)


def _frame(frame: bytes) -> None:
    flags, kind, header_len, size, start, offset = struct.unpack("<BBHHHH", frame[:VNET_LEN])
    packet = frame[VNET_LEN:]
    _hold(flags in (0, NEEDS_CSUM), f"flags {flags:#x} of virtio")
    if packet[0] >> 4 == 6:
        protocol, upper_at, upper = _ipv6(packet)
    else:
        protocol, upper_at, upper = _ipv4(packet)
    if flags == 0:
        _hold(frame[1:VNET_LEN] == bytes(9), "a virtio header that asks for nothing says something")
    else:
        where = {TCP: 16, UDP: 6}.get(protocol)
        _hold((start, offset) == (upper_at, where), f"the checksum is said to be at {start} + {offset}")
    if upper is None:  # a fragment: its sum can be checked only with the others
        _hold(flags == 0, "a fragment whose checksum the kernel should complete")
        return
    if flags:
        pseudo = ones_sum(_pseudo(packet, protocol, len(packet) - upper_at))
        (found,) = struct.unpack_from("!H", packet, upper_at + offset)
        _hold(found % 0xFFFF == pseudo % 0xFFFF, f"the partial checksum is {found:#x}, not {pseudo:#x}")
        packet = completed(frame)
    octets = packet[upper_at:]
    pseudo_header = b"" if protocol == ICMP else _pseudo(packet, protocol, len(octets))
    _hold(ones_sum(pseudo_header + octets) == 0xFFFF, "the transport checksum is wrong")
    if protocol == TCP:
        data_at = _tcp(upper, octets)
        _ecn(packet, octets[13], len(octets) - data_at, kind)
    elif protocol == UDP:
        data_at = _udp(upper, octets)
    elif protocol in (ICMP, ICMPV6):
        data_at = 0
        _icmp(octets, is_ipv6=protocol == ICMPV6)
    else:
        raise Wrong(f"protocol {protocol}")
    if protocol == TCP:
        kind &= ~GSO_ECN  # which has been looked at
    whole = {TCPV4: (4, TCP), TCPV6: (6, TCP), UDP_L4: (packet[0] >> 4, UDP)}
    if kind == 0:
        _hold(size == 0, "a size of pieces, and no super-packet")
    else:
        _hold(whole.get(kind) == (packet[0] >> 4, protocol), f"a super-packet of kind {kind}")
        _hold(0 < size < len(octets) - data_at, f"pieces of {size} octets of {len(octets) - data_at}")
    if flags:
        _hold(header_len == upper_at + (data_at if data_at else 0), f"headers of {header_len} octets")


def _pseudo(packet: bytes, protocol: int, length: int) -> bytes:
    addresses = packet[8:40] if packet[0] >> 4 == 6 else packet[12:20]
    return addresses + struct.pack("!II", length, protocol)


def _ipv4(packet: bytes) -> tuple[int, int, object]:
    """Check the header; return the protocol, where its part begins, and that, None for a fragment."""
    ip = dpkt.ip.IP(packet)
    _hold(ip.hl == 5, "IPv4 options, which we never send")
    _hold(ip.len == len(packet), f"a total length of {ip.len}, and {len(packet)} octets")
    _hold(ones_sum(packet[:20]) == 0xFFFF, "the IPv4 header checksum is wrong")
    _hold(ip.ttl > 0, "a TTL of 0")
    _hold(not ip.rf, "the reserved flag")
    is_group = 224 <= ip.src[0] < 240 or ip.src == b"\xff" * 4
    _hold(not is_group, "a group's address as the source")  # RFC 1122 §3.2.1.3
    at = ip.offset * 8
    if ip.mf or at:
        _hold(not ip.df, "a fragment that must not be fragmented")
        _hold(not ip.mf or (len(packet) - 20) % 8 == 0, "a fragment of no whole eighths")
        _hold(at + len(packet) - 20 <= 65535, "a fragment behind the largest packet")
        _hold(len(packet) > 20, "a fragment of nothing")
        return ip.p, 20, None
    return ip.p, 20, ip.data


def _ipv6(packet: bytes) -> tuple[int, int, object]:
    ip = dpkt.ip6.IP6(packet)
    _hold(ip.plen == len(packet) - 40, f"a payload length of {ip.plen}, and {len(packet)} octets")
    _hold(ip.hlim > 0, "a hop limit of 0")
    _hold(ip.src[0] != 255, "a group's address as the source")  # RFC 4291 §2.7
    if ip.nxt == FRAGMENT:
        protocol, reserved, field, _ = struct.unpack("!BBHI", packet[40:48])
        size, more = len(packet) - 48, field & 1
        _hold(reserved == 0 and not field & 6, "reserved bits of a fragment header")
        _hold(size > 0, "a fragment of nothing")
        _hold(not more or size % 8 == 0, "a fragment of no whole eighths")
        _hold((field & 0xFFF8) + size <= 65535, "a fragment behind the largest packet")
        return protocol, 48, None
    return ip.nxt, 40, ip.data


def _tcp(tcp: object, octets: bytes) -> int:
    """Check a segment; return where its data begins."""
    _hold(isinstance(tcp, dpkt.tcp.TCP), "dpkt sees no TCP")
    assert isinstance(tcp, dpkt.tcp.TCP)
    flags = tcp.flags
    _hold(bool(tcp.sport and tcp.dport), "port 0")
    _hold(bool(flags & (SYN | RST | ACK)), f"flags {flags:#x}: neither SYN, RST nor ACK")
    _hold(not (flags & SYN and flags & (FIN | RST)), f"flags {flags:#x}: SYN with FIN or RST")
    _hold(not (flags & RST and flags & FIN), f"flags {flags:#x}: RST with FIN")
    _hold(not flags & URG and tcp.urp == 0, "an urgent pointer, which we never send")
    _hold(octets[12] & 0x0F == 0, "reserved bits")
    _hold(bool(flags & ACK) or tcp.ack == 0, "an acknowledgment number without ACK")
    data_at = tcp.off * 4
    _hold(data_at == len(octets) - len(tcp.data), "the data offset")
    _hold(not flags & (SYN | RST) or len(tcp.data) == 0, "data on SYN or RST")
    _options(octets[20:data_at], flags)
    return int(data_at)


def _ecn(packet: bytes, flags: int, size: int, kind: int) -> None:
    """Check the ECN field of IP, and the flags and the kind of super-packet that go with it (RFC 3168)."""
    field = (packet[1] >> 4 if packet[0] >> 4 == 6 else packet[1]) & 3
    _hold(field in (0, ECT_0), f"an ECN field of {field}")  # CE is for routers, and ECT(1) for RFC 9331
    _hold(not field or size > 0, "ECN-capable, and no data")  # §6.1.1, §6.1.4, §6.1.6
    _hold(not flags & RST or not flags & (ECE | CWR), f"flags {flags:#x}: RST with ECN")
    if flags & SYN:
        offer = flags & (ECE | CWR)
        legal = (0, ECE) if flags & ACK else (0, ECE | CWR)
        _hold(offer in legal, f"flags {flags:#x}: half an offer of ECN")  # §6.1.1
    else:
        _hold(not flags & CWR or field == ECT_0, "CWR, and not ECN-capable")  # §6.1.2: with new data only
    is_said = bool(kind & GSO_ECN)
    is_super = bool(kind & ~GSO_ECN)
    _hold(is_said == (is_super and bool(flags & CWR)), f"a super-packet of kind {kind:#x}, flags {flags:#x}")


def _options(raw: bytes, flags: int) -> None:
    """Check that options are well-formed, in place, once each, and padded (RFC 9293 §3.2)."""
    lengths = {dpkt.tcp.TCP_OPT_MSS: 4, dpkt.tcp.TCP_OPT_WSCALE: 3, dpkt.tcp.TCP_OPT_SACKOK: 2}
    seen: set[int] = set()
    at = 0
    while at < len(raw):
        kind = raw[at]
        if kind == 1:
            at += 1
            continue
        _hold(kind != 0, "an end of options")  # ours are padded in front
        size = raw[at + 1]
        _hold(2 <= size <= len(raw) - at, f"option {kind} of {size} octets")
        _hold(kind not in seen, f"option {kind} twice")
        seen.add(kind)
        value = raw[at + 2 : at + size]
        if kind in lengths:
            _hold(bool(flags & SYN), f"option {kind} without SYN")
            _hold(size == lengths[kind], f"option {kind} of {size} octets")
            _hold(kind != dpkt.tcp.TCP_OPT_WSCALE or value[0] <= 14, "a scale above 14")
            _hold(kind != dpkt.tcp.TCP_OPT_MSS or value != b"\0\0", "an MSS of 0")
        elif kind == dpkt.tcp.TCP_OPT_TIMESTAMP:
            _hold(size == 10, "a timestamp option of the wrong size")
        elif kind == dpkt.tcp.TCP_OPT_SACK:
            _hold(not flags & SYN, "SACK blocks on a SYN")
            _hold(size > 2 and (size - 2) % 8 == 0, "broken SACK blocks")
            for left, right in struct.iter_unpack("!II", value):
                _hold(0 < (right - left) % 2**32 < 2**31, "a SACK block without octets")
        else:
            raise Wrong(f"option {kind}")
        at += size
    _hold(len(dpkt.tcp.parse_opts(raw)) >= len(seen), "dpkt sees other options")


def _udp(udp: object, octets: bytes) -> int:
    _hold(isinstance(udp, dpkt.udp.UDP), "dpkt sees no UDP")
    assert isinstance(udp, dpkt.udp.UDP)
    _hold(udp.ulen == len(octets), f"a UDP length of {udp.ulen}, and {len(octets)} octets")
    _hold(bool(udp.dport), "port 0")
    _hold(udp.sum != 0, "no UDP checksum")
    return 8


def _icmp(octets: bytes, *, is_ipv6: bool) -> None:
    kind, code = octets[0], octets[1]
    if kind == (129 if is_ipv6 else 0):
        _hold(code == 0, f"an echo reply with code {code}")
        _hold(len(octets) >= 8, "half an echo reply")
        return
    errors = ERRORS_V6 if is_ipv6 else ERRORS
    _hold(kind in errors, f"ICMP of type {kind}")
    quote = octets[8:]
    if is_ipv6:
        _hold(len(octets) + 40 <= LEAST_MTU_V6, "an error that is too long")  # RFC 4443 §2.4 c
        _hold(len(quote) >= 40 and quote[0] >> 4 == 6, "no packet is quoted")
        return
    _hold(len(octets) + 20 <= 576, "an error that is too long")  # RFC 1812 §4.3.2.3
    _hold(len(quote) >= 28 and quote[0] >> 4 == 4, "no packet is quoted")  # RFC 792: header and 8 octets
    _hold(ones_sum(quote[: (quote[0] & 15) * 4]) == 0xFFFF, "the quoted header's checksum is wrong")
    inner = dpkt.icmp.ICMP(octets)
    _hold(inner.type == kind and inner.code == code, "dpkt sees another ICMP")
