"""Packets that stacks have fallen over, by the names under which they became known, as hexadecimal text.

Each is an IP packet. The sums of IPv4 headers are right unless the packet is about them; transport sums are
not looked at, because the fuzzer says in front of the packet that they were verified. 10.0.0.2 and fd00::2
are clients, 198.51.100.7 and 2001:db8::7 targets. White space means nothing.
"""

import struct

# ruff: noqa: E501 (a packet a line)

V4 = "0a000002 c6336407"  # from the client to the target
V6 = "fd000000000000000000000000000002 20010db8000000000000000000000007"
SYN = "9c40 0050 00000001 00000000 50 02 ffff 0000 0000"
TEXTS = {
    "empty": "",
    "one octet": "45",
    "header only, length 0": f"4500 0000 0000 4000 4006 0000 {V4}",
    "length beyond the frame": f"4500 ffff 0000 4000 4006 0000 {V4} {SYN}",
    "header length below 20": f"4100 0028 0000 4000 4006 0000 {V4} {SYN}",
    "header length beyond the packet": f"4f00 0028 0000 4000 4006 0000 {V4} {SYN}",
    "hop limit 0": f"4500 0028 0000 4000 0006 0000 {V4} {SYN}",
    "land": f"4500 0028 0000 4000 4006 0000 0a000002 0a000002 0050 0050 {SYN[10:]}",
    "from everybody": f"4500 0028 0000 4000 4006 0000 ffffffff c6336407 {SYN}",
    "from loopback": f"4500 0028 0000 4000 4006 0000 7f000001 c6336407 {SYN}",
    "to loopback": f"4500 0028 0000 4000 4006 0000 0a000002 7f000001 {SYN}",
    "to nobody": f"4500 0028 0000 4000 4006 0000 0a000002 00000000 {SYN}",
    "smurf": "4500 001c 0000 4000 4001 0000 0a000002 ffffffff 0800 f7ff 0000 0000",
    "loose source route": f"4700 0030 0000 4000 4006 0000 {V4} 83 07 04 0a000003 00 {SYN}",
    "option of length 0": f"4600 002c 0000 4000 4006 0000 {V4} 07 00 00 00 {SYN}",
    "ping of death": f"4500 0030 0007 1ffe 4001 0000 {V4}" + "41" * 28,
    "teardrop, first": f"4500 0038 00f2 2000 4011 0000 {V4}" + "42" * 36,
    "teardrop, second": f"4500 0018 00f2 0003 4011 0000 {V4}" + "43" * 4,
    "tiny first fragment": f"4500 001c 00f3 2000 4006 0000 {V4} 9c40 0050 0000 0001",
    "flags behind a tiny fragment": f"4500 0020 00f3 0001 4006 0000 {V4} 0000 0000 50 02 ffff 0000 0000",
    "rose, far end": f"4500 001c 00f4 3fff 4011 0000 {V4}" + "44" * 8,
    "fragment of nothing": f"4500 0014 00f5 2000 4011 0000 {V4}",
    "all flags": f"4500 0028 0000 4000 4006 0000 {V4} 9c40 0050 00000001 00000000 50 ff ffff 0000 0000",
    "no flags": f"4500 0028 0000 4000 4006 0000 {V4} 9c40 0050 00000001 00000000 50 00 ffff 0000 0000",
    "SYN and FIN": f"4500 0028 0000 4000 4006 0000 {V4} 9c40 0050 00000001 00000000 50 03 ffff 0000 0000",
    "SYN with data": f"4500 002c 0000 4000 4006 0000 {V4} {SYN} 41424344",
    "urgent beyond the data": f"4500 0029 0000 4000 4006 0000 {V4} 9c40 0050 00000002 00000001 50 38 ffff 0000 ffff 00",
    "TCP option of length 0": f"4500 002c 0000 4000 4006 0000 {V4} 9c40 0050 00000001 00000000 60 02 ffff 0000 0000 02000000",
    "TCP option beyond the header": f"4500 002c 0000 4000 4006 0000 {V4} 9c40 0050 00000001 00000000 60 02 ffff 0000 0000 0101 05ff",
    "MSS 0": f"4500 002c 0000 4000 4006 0000 {V4} 9c41 0050 00000001 00000000 60 02 ffff 0000 0000 02040000",
    "window scale 255": f"4500 002c 0000 4000 4006 0000 {V4} 9c42 0050 00000001 00000000 60 02 ffff 0000 0000 0303ff00",
    "data offset 60": f"4500 0028 0000 4000 4006 0000 {V4} 9c40 0050 00000001 00000000 f0 02 ffff 0000 0000",
    "TCP port 0": f"4500 0028 0000 4000 4006 0000 {V4} 0000 0000 {SYN[10:]}",
    "UDP length 0": f"4500 001c 0000 4000 4011 0000 {V4} 1388 1b58 0000 0000",
    "UDP length beyond the packet": f"4500 001c 0000 4000 4011 0000 {V4} 1388 1b58 ffff 0000",
    "UDP port 0": f"4500 001c 0000 4000 4011 0000 {V4} 1388 0000 0008 0000",
    "echo of nothing": f"4500 001a 0000 4000 4001 0000 {V4} 0800 f7ff 0000",
    "error about an error": f"4500 0038 0000 4000 4001 0000 {V4} 0303 0000 00000000 4500 001c 0000 4000 4001 0000 c6336407 0a000002 0303 0000 0000 0000",
    "too big, of 0": f"4500 0038 0000 4000 4001 0000 {V4} 0304 0000 00000000 4500 0028 0000 4000 4006 0000 c6336407 0a000002 0050 9c40 0000 0000",
    "ICMPv6 in IPv4": f"4500 001c 0000 4000 403a 0000 {V4} 8000 0000 0000 0000",
    "protocol 255": f"4500 0014 0000 4000 40ff 0000 {V4}",
    "IPv6, length beyond the frame": f"60000000 ffff 06 40 {V6} {SYN}",
    "IPv6, jumbogram": f"60000000 0000 00 40 {V6} 06 00 c2 04 00100000",
    "IPv6, hop limit 0": f"60000000 0014 06 00 {V6} {SYN}",
    "IPv6, mapped address": f"60000000 0014 06 40 fd000000000000000000000000000002 00000000000000000000ffff 7f000001 {SYN}",
    "IPv6, routing header 0": f"60000000 002c 2b 40 {V6} 06 02 00 01 00000000 20010db8000000000000000000000008 {SYN}",
    "IPv6, nine headers": f"60000000 0050 3c 40 {V6}" + "3c00010400000000" * 9 + "1388 1b58 0008 0000",
    "IPv6, header beyond the packet": f"60000000 0008 3c 40 {V6} 06ff 0104 00000000",
    "IPv6, no next header": f"60000000 0000 3b 40 {V6}",
    "IPv6, atomic fragment": f"60000000 001c 2c 40 {V6} 06 00 0000 00000009 {SYN}",
    "IPv6, overlap, first": f"60000000 0028 2c 40 {V6} 11 00 0001 0000000a" + "45" * 32,
    "IPv6, overlap, second": f"60000000 0018 2c 40 {V6} 11 00 0018 0000000a" + "46" * 16,
    "IPv6, fragment in a fragment": f"60000000 0018 2c 40 {V6} 2c 00 0001 0000000b 11 00 0001 0000000c" + "47" * 8,
    "IPv6, piece of 7 octets": f"60000000 000f 2c 40 {V6} 11 00 0001 0000000d" + "48" * 7,
    "IPv6, ICMP of IPv4": f"60000000 0008 01 40 {V6} 0800 f7ff 0000 0000",
    "IPv6, router advertisement": f"60000000 0010 3a ff {V6} 8600 0000 40000708 00000000 00000000",
    "IPv6, UDP to all nodes": "60000000 0008 11 40 fd000000000000000000000000000002 ff020000000000000000000000000001 1388 1b58 0008 ffff",
}  # fmt: skip


def packets() -> dict[str, bytes]:
    """Return all packets by name."""
    return {name: summed(bytes.fromhex(text)) for name, text in TEXTS.items()}


def summed(packet: bytes) -> bytes:
    """Return packet with the sum of its IPv4 header right, where it has such a header."""
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return packet
    end = min(max((packet[0] & 15) * 4, 20), len(packet)) & ~1
    header = packet[:10] + b"\0\0" + packet[12:end]
    total = sum(struct.unpack(f"!{end // 2}H", header)) % 0xFFFF
    return packet[:10] + struct.pack("!H", ~total & 0xFFFF) + packet[12:]
