"""Floods: what they cost, whom they hurt. SCALE makes them smaller where there is little time."""

import os
import random
import struct
import threading
import time
from collections.abc import Iterator

from tests.bench.abuse import packets
from tests.bench.abuse.case import case
from tests.bench.abuse.client import Client, pair
from tests.bench.abuse.packets import ACK, FIN, ICMP, PSH, RST, SYN, TCP, UDP, ip, tcp_body
from tests.bench.abuse.rig import SERVICE, SERVICE6, SILENT, US, US6, Failed, Rig
from tests.system.stopwatch import Stopwatch

GROUP = "floods"
SCALE = float(os.environ.get("ABUSE_SCALE", "1"))
LONGEST = 25.0  # seconds that a flood may take; what a program does not take in that time it is spared
MEMORY = 64 << 20  # octets that a flood may leave in a process
SYN_OPTIONS = b"\2\4\5\xb4\4\2\x08\x0a\0\0\0\7\0\0\0\0\1\3\3\7"
LITTLE_DATA = b"x" * 64


def syns(target: str, count: int, first_port: int) -> Iterator[bytes]:
    """Yield SYNs from one address, 60,000 ports of it, to as many ports as that takes."""
    template = ip(US, target, TCP, tcp_body((US, 0), (target, 0), SYN, 0, options=SYN_OPTIONS))
    head, tail = template[:20], template[32:36]
    rest = template[38:]
    base = ~int.from_bytes(template[36:38], "big") & 0xFFFF
    for number in range(count):
        sport, dport, seq = (
            5000 + number % 60_000,
            first_port + number // 60_000,
            number * 64_037 & 0xFFFF_FFFF,
        )
        total = base + sport + dport + (seq >> 16) + (seq & 0xFFFF)
        total = (total & 0xFFFF) + (total >> 16)
        total = (total & 0xFFFF) + (total >> 16)
        numbers = struct.pack("!HHII", sport, dport, seq, 0)
        yield head + numbers + tail + struct.pack("!H", ~total & 0xFFFF) + rest


def during(rig: Rig, flood: Iterator[bytes], allowed: float) -> str:
    """Connect again and again while a flood lasts; return what it came to, fail where one takes too long."""
    listener = rig.listen()
    port = listener.getsockname()[1]
    client, server = pair(rig)
    before, until = rig.resident(), time.monotonic() + LONGEST
    rig.wire.flooded = True
    sent: list[int] = []
    flooding = threading.Thread(target=lambda: sent.append(rig.wire.send_all(flood, until)), daemon=True)
    started = time.monotonic()
    flooding.start()
    slowest, count = 0.0, 0
    try:
        time.sleep(0.2)
        while True:
            with Stopwatch() as watch:
                one = Client(rig, port).open(5)
                one.send(b"here")
                one.repeat(b"here")  # the device's queue is full, and drops unseen
                accepted = rig.accept(listener, 5)
                accepted.settimeout(5)
                if accepted.recv(4) != b"here":
                    raise Failed("a connect during the flood carries no data")
                one.segment(RST, one.snd_nxt, 0)
                accepted.close()
            slowest, count = max(slowest, watch.seconds()), count + 1
            if not flooding.is_alive():
                break
            time.sleep(0.05)
    except Failed as failure:
        raise Failed(f"a connect during the flood: {failure}") from failure
    finally:
        flooding.join(LONGEST + 5)
        time.sleep(0.5)
        rig.wire.flooded = False
    took = time.monotonic() - started
    grown = max(0, rig.resident() - before)
    if slowest > allowed:
        raise Failed(f"the slowest of {count} connects took {slowest:.2f} s")
    if grown > MEMORY:
        raise Failed(f"{grown >> 20} MB more memory")
    client.must_live(server, "a connection from before: ")
    return (
        f"{sent[0]} in {took:.1f} s, slowest of {count} connects {slowest:.2f} s, {grown / (1 << 20):.1f} MB"
    )


@case(
    GROUP,
    "SYN flood at a silent host, others connect within 1 s",
    "RFC 4987 §3, robustness",
    needs="hosts",
    tries=1,
)
def syn_flood(rig: Rig) -> None:
    """100,000 SYNs that nobody will ever complete."""
    rig.note(during(rig, syns(SILENT, int(100_000 * SCALE), 700), 1.0))


@case(GROUP, "10,000 half-open connections at a listener", "RFC 4987 §3, robustness", tries=1)
def embryos(rig: Rig) -> None:
    """Each SYN is answered by the target and never completed."""
    victim = rig.listen()
    rig.note(during(rig, syns(SERVICE, int(10_000 * SCALE), victim.getsockname()[1]), 1.0))


def seeds(rig: Rig) -> list[bytes]:
    """Return good packets of every kind, to be spoilt."""
    tcp = [
        tcp_body((US, 4100), (SERVICE, 9), SYN, 1, options=SYN_OPTIONS),
        tcp_body((US, 4101), (SERVICE, 9), ACK | PSH, 5, 6, data=LITTLE_DATA),
        tcp_body((US, 4102), (SERVICE, 9), FIN | ACK, 5, 6, options=b"\1\1\5\12" + b"\0" * 8),
    ]
    good = [ip(US, SERVICE, TCP, body) for body in tcp]
    good.append(packets.udp((US, 4103), (SERVICE, 9), LITTLE_DATA))
    good.append(packets.udp((US, 4104), (SERVICE, 53), b"\x12\x34\1\0\0\1" + b"\0" * 10))
    good.append(packets.icmp_echo(US, SERVICE, 77, 1, LITTLE_DATA))
    good.append(packets.icmp_error(SERVICE, US, 3, 3, 0, good[3][:28]))
    good += packets.fragments(packets.udp((US, 4105), (SERVICE, 9), LITTLE_DATA * 4), 104, 9)[:2]
    if "six" not in rig.lacks:
        good.append(packets.udp((US6, 4106), (SERVICE6, 9), LITTLE_DATA))
        good.append(packets.icmp_echo(US6, SERVICE6, 78, 1, LITTLE_DATA))
        good.append(ip(US6, SERVICE6, TCP, tcp_body((US6, 4107), (SERVICE6, 9), SYN, 1, options=SYN_OPTIONS)))
        body = packets.udp_body((US6, 4108), (SERVICE6, 9), LITTLE_DATA)
        good.append(packets.fragment6(US6, SERVICE6, UDP, body, 0, True, 5))
    return good


def mutants(good: list[bytes], count: int) -> Iterator[bytes]:
    """Yield spoilt copies: half of them with their checksums right, so that they get further."""
    rng = random.Random(3)
    for number in range(count):
        packet = bytearray(good[number % len(good)])
        for _ in range(1 + number % 4):
            packet[int(rng.random() * len(packet))] = int(rng.random() * 256)
        if packet[0] >> 4 == 4:
            packet[16:20] = good[0][16:20]  # or most would go to addresses that are nowhere
        if number % 3 == 0:
            del packet[1 + int(rng.random() * len(packet)) :]
        elif number % 2 and packet[0] == 0x45 and len(packet) > 40:
            mend(packet)
        yield bytes(packet)


def mend(packet: bytearray) -> None:
    """Make the checksums of an IPv4 packet right again."""
    packet[2:4] = len(packet).to_bytes(2, "big")
    packet[10:12] = b"\0\0"
    packet[10:12] = packets.checksum(bytes(packet[:20])).to_bytes(2, "big")
    at = {TCP: 16, UDP: 6, ICMP: 2}.get(packet[9])
    if at is None:
        return
    packet[20 + at : 22 + at] = b"\0\0"
    pseudo = (
        bytes(packet[12:20]) + struct.pack("!HH", packet[9], len(packet) - 20) if packet[9] != ICMP else b""
    )
    packet[20 + at : 22 + at] = packets.checksum(pseudo + bytes(packet[20:])).to_bytes(2, "big")


@case(GROUP, "200,000 mutated packets: others notice nothing", "robustness", tries=1)
def mutated(rig: Rig) -> None:
    """The process lives, memory is bounded, an old connection and new ones carry data."""
    rig.note(during(rig, mutants(seeds(rig), int(200_000 * SCALE)), 2.0))
    if not rig.is_alive():
        raise Failed("the process is gone")


@case(GROUP, "1000 datagrams from as many ports", "RFC 4787 REQ-5, robustness", needs="udp", tries=2)
def many_ports(rig: Rig) -> None:
    """Each gets through; a program like this opens a socket for each."""
    server = rig.datagram()
    server.settimeout(2)
    target, seen = server.getsockname()[:2], set()
    for number in range(1000):
        rig.wire.send(packets.udp((US, 30_000 + number), target, b"%d" % number))
        if number % 50 == 49:
            time.sleep(0.02)
    try:
        while len(seen) < 1000:
            seen.add(server.recv(100))
    except TimeoutError:
        pass
    if len(seen) < 1000:
        raise Failed(f"{len(seen)} of 1000 arrived")
    client, other = pair(rig)
    client.must_live(other)


@case(GROUP, "the process lives after all of this", "robustness", tries=1)
def alive(rig: Rig) -> None:
    """And serves."""
    if not rig.is_alive():
        raise Failed("it is gone")
    client, server = pair(rig)
    client.must_live(server)
