"""The oracle finds no fault with frames that are right, and each that it knows of in those that have it.

The frames are put together here, octet by octet, so that anything can be wrong alone. Every check in
``oracle.py`` must fail for some case of this table: ``test_every_check_can_fail`` reads them off its source.
"""

import ast
import re
import struct
from pathlib import Path

import dpkt
import pytest

from tests.sim import oracle
from tests.sim.oracle import examine

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))
ICMP, TCP, UDP, FRAGMENT, GRE, ICMPV6 = 1, 6, 17, 44, 47, 58
NEEDS_CSUM, TCPV4, TCPV6, UDP_L4, GSO_ECN = 1, 1, 4, 5, 0x80
SUM_AT = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2, GRE: 2}
V4 = bytes((192, 0, 2, 1, 10, 0, 0, 2))
V6 = bytes.fromhex("20010db8") + bytes(11) + b"\x01" + b"\xfd" + bytes(14) + b"\x02"


def total(octets: bytes) -> int:
    """Return the sum of RFC 1071, word by word."""
    words = struct.unpack(f"!{(len(octets) + 1) // 2}H", octets + bytes(len(octets) % 2))
    found = sum(words)
    while found > 0xFFFF:
        found = (found & 0xFFFF) + (found >> 16)
    return found


def ip(
    upper: bytes, protocol: int = TCP, *, v6: bool = False, sums: str = "right", kind: int = 0, size: int = 0,
    start: int | None = None, header_len: int | None = None, flags: int | None = None, addresses: bytes = b"",
    field: int = 0x4000, ttl: int = 64, length: int | None = None, tos: int = 0, words: int = 5,
    wrong: int = 0, head: bytes = b"",
) -> bytes:  # fmt: skip
    """Return a frame. sums is right, partial (for the kernel), wrong, or kept; all else is right."""
    addresses = addresses or (V6 if v6 else V4)
    pseudo = addresses + struct.pack("!II", len(upper), protocol)
    ip_len = 40 + len(head) if v6 else 4 * words
    is_fragment = bool(head) if v6 else bool(field & 0x3FFF)
    at = SUM_AT.get(protocol, 0)
    if sums != "kept" and not is_fragment and len(upper) >= at + 2:
        body = upper[:at] + b"\0\0" + upper[at + 2 :]
        word = (
            total(pseudo)
            if sums.startswith("partial")
            else ~total((b"" if protocol == ICMP else pseudo) + body) & 0xFFFF
        )
        if protocol == UDP and sums == "right":
            word = word or 0xFFFF
        word ^= 1 if sums.endswith("wrong") else 0
        upper = body[:at] + struct.pack("!H", word) + body[at + 2 :]
    is_partial = sums.startswith("partial")
    if v6:
        nxt = FRAGMENT if head else protocol
        size_said = len(head) + len(upper) if length is None else length
        packet = struct.pack("!IHBB", 6 << 28 | tos << 20, size_said, nxt, ttl) + addresses + head + upper
    else:
        said = ip_len + len(upper) if length is None else length
        first = struct.pack("!BBHHHBB", 0x40 | words, tos, said, 0, field, ttl, protocol)
        options = bytes(4 * words - 20)
        first += struct.pack("!H", (~total(first + addresses + options) & 0xFFFF) ^ wrong)
        packet = first + addresses + options + upper
    where = ip_len if start is None else start
    if is_partial and header_len is None:
        header_len = ip_len + (8 if protocol == UDP else (upper[12] >> 4) * 4)
    virtio = struct.pack(
        "<BBHHHH", (NEEDS_CSUM if is_partial else 0) if flags is None else flags, kind, header_len or 0, size,
        where if is_partial or start is not None else 0, SUM_AT.get(protocol, 0) if is_partial else 0,
    )  # fmt: skip
    return virtio + packet


def tcp(
    flags: int = ACK, data: bytes = b"", options: bytes = b"", *, port: int = 80, ack: int | None = None,
    off: int | None = None, urgent: int = 0, reserved: int = 0,
) -> bytes:  # fmt: skip
    """Return a segment without a checksum."""
    number = (2 if flags & ACK else 0) if ack is None else ack
    words = 5 + len(options) // 4 if off is None else off
    header = struct.pack("!HHIIBBHHH", port, 50000, 1, number, words << 4 | reserved, flags, 9, 0, urgent)
    return header + options + data


def option(kind: int, value: bytes = b"") -> bytes:
    """Return an option behind no-operations that fill words."""
    found = bytes((kind, 2 + len(value))) + value
    return bytes((1,)) * (-len(found) % 4) + found


def udp(data: bytes = b"data", *, port: int = 53, length: int | None = None) -> bytes:
    return struct.pack("!HHHH", 5000, port, 8 + len(data) if length is None else length, 0) + data


def udp_without_sum() -> bytes:
    """Return a datagram whose sum is right with a checksum of 0, which says that there is none."""
    upper = udp(b"\0\0")
    pseudo = V4 + struct.pack("!II", len(upper), UDP)
    return upper[:8] + struct.pack("!H", ~total(pseudo + upper) & 0xFFFF)


def udp_cut_short() -> bytes:
    """Return seven octets of a datagram, in which no checksum fits, whose sum is right."""
    rest = struct.pack("!HHB", 53, 7, 0)
    pseudo = V4 + struct.pack("!II", 2 + len(rest), UDP)
    return struct.pack("!H", ~total(pseudo + bytes(2) + rest) & 0xFFFF) + rest


def icmp(kind: int, code: int = 0, rest: bytes = bytes(4), quote: bytes = b"") -> bytes:
    return struct.pack("!BBH", kind, code, 0) + rest + quote


def fragment_head(field: int, reserved: int = 0, protocol: int = UDP) -> bytes:
    return struct.pack("!BBHI", protocol, reserved, field, 7)


QUOTE = ip(udp(bytes(20)), UDP)[10:]
QUOTE_V6 = ip(udp(bytes(20)), UDP, v6=True)[10:]
SYN_OPTIONS = option(2, b"\x05\xb4") + option(3, b"\x07") + option(4) + option(8, bytes(8))
PARTIAL = {"sums": "partial"}
BLOCK = struct.pack("!II", 10, 20)
GROUP_V4, GROUP_V6 = b"\xe0\0\0\1" + V4[4:], b"\xff\2" + V6[2:]

RIGHT = {
    "bare": ip(tcp()),
    "bare-v6": ip(tcp(), v6=True),
    "partial": ip(tcp(data=b"data"), **PARTIAL),
    "partial-v6": ip(tcp(data=b"odd"), v6=True, **PARTIAL),
    "syn": ip(tcp(SYN, options=SYN_OPTIONS)),
    "rst": ip(tcp(RST)),
    "sack": ip(tcp(options=option(8, bytes(8)) + option(5, BLOCK * 2))),
    "super": ip(tcp(data=bytes(3000)), kind=TCPV4, size=1000, **PARTIAL),
    "super-v6": ip(tcp(data=bytes(3000)), v6=True, kind=TCPV6, size=1000, **PARTIAL),
    "offer": ip(tcp(SYN | ECE | CWR)),
    "yes": ip(tcp(SYN | ACK | ECE)),
    "echo": ip(tcp(ACK | ECE)),
    "capable": ip(tcp(data=b"d"), tos=2),
    "cwr-v6": ip(tcp(ACK | CWR, b"d"), v6=True, tos=2),
    "super-cwr": ip(tcp(ACK | CWR, bytes(3000)), kind=TCPV4 | GSO_ECN, size=1000, tos=2, **PARTIAL),
    "udp": ip(udp(), UDP),
    "udp-v6": ip(udp(), UDP, v6=True, **PARTIAL),
    "udp-super": ip(udp(bytes(100)), UDP, kind=UDP_L4, size=40, **PARTIAL),
    "echo-reply": ip(icmp(0), ICMP),
    "echo-reply-v6": ip(icmp(129), ICMPV6, v6=True),
    "unreachable": ip(icmp(3, 1, quote=QUOTE), ICMP),
    "unreachable-v6": ip(icmp(1, 4, quote=QUOTE_V6), ICMPV6, v6=True),
    "fragment": ip(bytes(16), UDP, field=0x2000),
    "last-fragment": ip(bytes(15), UDP, field=0x1F00),
    "fragment-v6": ip(bytes(16), UDP, v6=True, head=fragment_head(1)),
}

WRONG = {
    "flags 0x2 of virtio": ip(tcp(), flags=2),
    "a virtio header that asks for nothing says something": ip(tcp(), header_len=40),
    "the checksum is said to be at 24 + 16": ip(tcp(), start=24, **PARTIAL),
    "a fragment whose checksum the kernel should complete": (
        struct.pack("<BBHHHH", 1, 0, 28, 0, 20, 6) + ip(bytes(16), UDP, field=0x2000)[10:]
    ),
    "the partial checksum is": ip(tcp(), sums="partial wrong"),
    "the transport checksum is wrong": ip(tcp(), sums="wrong"),
    f"protocol {GRE}": ip(bytes(8), GRE),
    "a size of pieces, and no super-packet": ip(tcp(data=b"data"), size=2, **PARTIAL),
    f"a super-packet of kind {TCPV6}": ip(tcp(data=b"data"), kind=TCPV6, size=2, **PARTIAL),
    f"a super-packet of kind {UDP_L4 | GSO_ECN}": ip(udp(), UDP, kind=UDP_L4 | GSO_ECN, size=2, **PARTIAL),
    "pieces of 4 octets of 4": ip(tcp(data=b"data"), kind=TCPV4, size=4, **PARTIAL),
    "headers of 44 octets": ip(tcp(), header_len=44, **PARTIAL),
    # IP
    "IPv4 options, which we never send": ip(tcp(), words=6),
    "a total length of 41, and 40 octets": ip(tcp(), length=41),
    "the IPv4 header checksum is wrong": ip(tcp(), wrong=0x100),
    "a TTL of 0": ip(tcp(), ttl=0),
    "the reserved flag": ip(tcp(), field=0xC000),
    "a group's address as the source": ip(tcp(), addresses=GROUP_V4),
    "a fragment that must not be fragmented": ip(bytes(16), UDP, field=0x6000),
    "a fragment of no whole eighths": ip(bytes(15), UDP, field=0x2000),
    "a fragment behind the largest packet": ip(bytes(16), UDP, field=0x1FFF),
    "a fragment of nothing": ip(b"", UDP, field=0x0001),
    "a payload length of 21, and 60 octets": ip(tcp(), v6=True, length=21),
    "a hop limit of 0": ip(tcp(), v6=True, ttl=0),
    "a group's address as the source (IPv6)": ip(tcp(), v6=True, addresses=GROUP_V6),
    "reserved bits of a fragment header": ip(bytes(16), UDP, v6=True, head=fragment_head(3)),
    "reserved bits of a fragment header (octet)": ip(bytes(16), UDP, v6=True, head=fragment_head(1, 9)),
    "a fragment of nothing (IPv6)": ip(b"", UDP, v6=True, head=fragment_head(8)),
    "a fragment of no whole eighths (IPv6)": ip(bytes(15), UDP, v6=True, head=fragment_head(1)),
    "a fragment behind the largest packet (IPv6)": ip(bytes(16), UDP, v6=True, head=fragment_head(0xFFF8)),
    # TCP
    "dpkt sees no TCP": ip(tcp()[:18]),
    "port 0": ip(tcp(port=0)),
    "flags 0x8: neither SYN, RST nor ACK": ip(tcp(PSH)),
    "flags 0x3: SYN with FIN or RST": ip(tcp(SYN | FIN)),
    "flags 0x6: SYN with FIN or RST": ip(tcp(SYN | RST)),
    "flags 0x5: RST with FIN": ip(tcp(RST | FIN)),
    "an urgent pointer, which we never send": ip(tcp(ACK | URG, b"d", urgent=1)),
    "reserved bits": ip(tcp(reserved=1)),
    "an acknowledgment number without ACK": ip(tcp(RST, ack=1)),
    "the data offset": ip(tcp(off=7)),
    "data on SYN or RST": ip(tcp(SYN, b"d")),
    # ECN
    "an ECN field of 1": ip(tcp(data=b"d"), tos=1),
    "an ECN field of 3": ip(tcp(data=b"d"), v6=True, tos=3),
    "ECN-capable, and no data": ip(tcp(), tos=2),
    "flags 0x44: RST with ECN": ip(tcp(RST | ECE)),
    "flags 0x42: half an offer of ECN": ip(tcp(SYN | ECE)),
    "flags 0xd2: half an offer of ECN": ip(tcp(SYN | ACK | ECE | CWR)),
    "CWR, and not ECN-capable": ip(tcp(ACK | CWR, b"d")),
    "a super-packet of kind 0x1, flags 0x90": ip(
        tcp(ACK | CWR, bytes(3000)), kind=TCPV4, size=1000, tos=2, **PARTIAL
    ),
    "a super-packet of kind 0x81, flags 0x10": ip(
        tcp(ACK, bytes(3000)), kind=TCPV4 | GSO_ECN, size=1000, tos=2, **PARTIAL
    ),
    # options
    "an end of options": ip(tcp(options=bytes(4))),
    "option 8 of 12 octets": ip(tcp(options=b"\1\1\x08\x0c" + bytes(8))),
    "option 8 twice": ip(tcp(options=option(8, bytes(8)) * 2)),
    "option 4 without SYN": ip(tcp(options=option(4))),
    "option 3 of 4 octets": ip(tcp(SYN, options=option(3, b"\1\1"))),
    "a scale above 14": ip(tcp(SYN, options=option(3, b"\x0f"))),
    "an MSS of 0": ip(tcp(SYN, options=option(2, b"\0\0"))),
    "a timestamp option of the wrong size": ip(tcp(options=option(8, bytes(6)))),
    "SACK blocks on a SYN": ip(tcp(SYN, options=option(5, BLOCK))),
    "broken SACK blocks": ip(tcp(options=option(5, BLOCK[:6]))),
    "a SACK block without octets": ip(tcp(options=option(5, BLOCK[:4] * 2))),
    "option 28": ip(tcp(options=option(28, b"\0\5"))),
    # UDP
    "dpkt sees no UDP": ip(udp_cut_short(), UDP, sums="kept"),
    "a UDP length of 13, and 12 octets": ip(udp(length=13), UDP),
    "port 0 (UDP)": ip(udp(port=0), UDP),
    "no UDP checksum": ip(udp_without_sum(), UDP, sums="kept"),
    # ICMP
    "an echo reply with code 1": ip(icmp(0, 1), ICMP),
    "half an echo reply": ip(icmp(0, rest=b"\0\0"), ICMP),
    "ICMP of type 8": ip(icmp(8), ICMP),
    "an error that is too long": ip(icmp(3, quote=QUOTE + bytes(521)), ICMP),
    "no packet is quoted": ip(icmp(3, quote=QUOTE[:27]), ICMP),
    "the quoted header's checksum is wrong": ip(icmp(3, quote=QUOTE[:10] + b"\1\1" + QUOTE[12:]), ICMP),
    "an error that is too long (IPv6)": ip(icmp(1, quote=QUOTE_V6 + bytes(1200)), ICMPV6, v6=True),
    "no packet is quoted (IPv6)": ip(icmp(1, quote=QUOTE_V6[:39]), ICMPV6, v6=True),
}
# What dpkt says otherwise than we do cannot be put into a frame.
BY_DPKT = {"dpkt sees other options", "dpkt sees another ICMP"}


@pytest.mark.parametrize("name", RIGHT)
def test_frame_that_is_right_has_no_fault(name: str) -> None:
    assert examine(RIGHT[name]) == ""


@pytest.mark.parametrize("fault", WRONG)
def test_fault_is_found(fault: str) -> None:
    found = examine(WRONG[fault])
    assert found.startswith(re.sub(r" \((IPv6|UDP|octet)\)$", "", fault)), found


def test_other_options_than_dpkt_sees_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpkt.tcp, "parse_opts", lambda raw: [])
    assert examine(RIGHT["sack"]).startswith("dpkt sees other options")


def test_another_icmp_than_dpkt_sees_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(octets: bytes) -> dpkt.icmp.ICMP:
        return real(b"\0\0" + octets[2:])

    real = dpkt.icmp.ICMP
    frame = RIGHT["unreachable"]
    monkeypatch.setattr(dpkt.icmp, "ICMP", other)
    assert examine(frame).startswith("dpkt sees another ICMP")


def test_what_is_no_packet_at_all_is_a_fault() -> None:
    for size in range(40):
        assert examine(RIGHT["bare"][: 10 + size])
    assert examine(b"")


def checks() -> list[str]:
    """Return what each check of the oracle says, as a regular expression."""
    found = []
    for node in ast.walk(ast.parse(Path(oracle.__file__).read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        if node.func.id in ("_hold", "Wrong"):
            said = node.args[-1]
            parts = said.values if isinstance(said, ast.JoinedStr) else [said]
            if not isinstance(said, ast.Name):
                found.append(
                    "".join(re.escape(p.value) if isinstance(p, ast.Constant) else ".+" for p in parts)
                )
    return found


def test_every_check_can_fail() -> None:
    said = [examine(frame).rpartition(": ")[0] for frame in WRONG.values()]
    never = [each for each in checks() if not any(re.fullmatch(each, one) for one in said)]
    assert {re.sub(r"\\", "", each) for each in never} == BY_DPKT
    assert len(checks()) > 60
