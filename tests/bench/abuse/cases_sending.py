"""Sending: retransmission, windows of the peer, path MTU."""

import socket
import time

from tests.bench.abuse.case import case
from tests.bench.abuse.client import pair, read_within, shut_window
from tests.bench.abuse.packets import ACK, MASK, TCP, icmp_error, ip, tcp_body
from tests.bench.abuse.rig import GATEWAY, SERVICE, US, Failed, Rig

GROUP = "sending"


@case(GROUP, "what is not acknowledged is sent again, ever later", "RFC 6298 §5")
def backoff(rig: Rig) -> None:
    """At least two retransmissions within 4.5 s, the gaps growing."""
    client, server = pair(rig)
    server.sendall(b"r" * 100)
    found = [p for p in client.collect(4.5) if p.data]
    copies = [p for p in found if p.seq == client.rcv_nxt]
    if len(copies) < 3:
        raise Failed(f"{max(0, len(copies) - 1)} retransmissions within 4.5 s")
    if any(p.data != b"r" * 100 for p in copies):
        raise Failed("with other octets")
    times = [p.at for p in copies]
    gaps = [one - other for one, other in zip(times[1:], times, strict=False)]
    gaps = [gap for gap in gaps if gap > 0.15]  # a loss probe comes early
    if len(gaps) > 1 and gaps[-1] < gaps[0] * 1.5:
        raise Failed(f"no backoff: {', '.join(f'{gap:.2f}' for gap in gaps)} s")


@case(GROUP, "one lost segment is sent again at once", "RFC 5681 §3.2, 6675, 8985")
def fast_retransmit(rig: Rig) -> None:
    """Duplicate ACKs with SACK tell of it; the retransmission timer is for the rest."""
    client, server = pair(rig)
    client.must_live(server)
    client.settle()
    server.sendall(b"f" * 14_480)
    segments = sorted((p for p in client.collect(0.15) if p.data), key=lambda p: p.at)
    total = sum(len(p.data) for p in segments)
    if total < 14_480:
        client.send(flags=ACK, ack=client.rcv_nxt)
    base = client.rcv_nxt
    started = time.monotonic()
    for edge in (3, 4, 5, 6):
        left, right = base + 1448 & MASK, base + 1448 * edge & MASK
        sack = b"\1\1\5\12" + left.to_bytes(4, "big") + right.to_bytes(4, "big")
        client.send(flags=ACK, options=sack)
    again = rig.wire.wait(lambda p: client.is_mine(p) and bool(p.data) and p.seq == base, 1.5)
    if again is None:
        raise Failed("not sent again within 1.5 s")
    if again.at - started > 0.15:
        raise Failed(f"after {again.at - started:.2f} s")


@case(GROUP, "window of the peer is respected", "RFC 9293 §3.8.6")
def peer_window(rig: Rig) -> None:
    """Never more under way than 3000 octets where the window says so."""
    client, server = pair(rig, shift=None, window=3000)
    server.setblocking(False)
    read_within(client, server.send(b"w" * 50_000), 3000, 3000)


@case(GROUP, "zero window is probed, an answer opens it", "RFC 9293 MUST-36, §3.8.6.1")
def zero_window(rig: Rig) -> None:
    """The window update that was lost would block for ever."""
    client, server = pair(rig, shift=None, window=2920)
    server.sendall(b"z" * 9000)
    edge = shut_window(client, 2920)
    for number in ("no probe", "no second probe"):
        probe = client.next(4)
        if probe is None:
            raise Failed(f"{number} within 4 s")
        beyond = probe.seq + len(probe.data) - edge & MASK
        if 1 < beyond < 1 << 31:
            raise Failed(f"{beyond} octets into a window of 0")
        client.send(flags=ACK, window=edge - client.rcv_nxt & MASK)
        client.settle(0.1)
    client.send(flags=ACK, window=20_000)
    if len(client.read(9000 - 2920)) < 9000 - 2920:
        raise Failed("does not go on when the window opens")


@case(GROUP, "window that opens by octets brings no tiny segments", "RFC 9293 MUST-38")
def silly_sender(rig: Rig) -> None:
    """A sender waits for room worth a segment, or for its own timer."""
    client, server = pair(rig, shift=None, window=14_600)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    server.sendall(b"s" * 100_000)
    edge = shut_window(client, 14_600)
    found: list[int] = []
    for number in range(1, 31):
        client.send(flags=ACK, window=(edge - client.rcv_nxt & MASK) + number)
        found += [len(p.data) for p in client.collect(0.005) if p.data]
    if len(found) > 5:
        raise Failed(f"{len(found)} segments of {max(found)} octets or fewer within 0.2 s")


@case(GROUP, "too big is obeyed", "RFC 1191 §3, 9293 MUST-54")
def too_big(rig: Rig) -> None:
    """A router's word on a smaller link, with the numbers of what is under way."""
    client, server = pair(rig)
    client.must_live(server)
    client.settle()
    server.sendall(b"t" * 6000)
    first = next((p for p in client.collect(0.2) if p.data), None)
    if first is None:
        raise Failed("no data came")
    body = tcp_body(client.target, client.source, ACK, first.seq, first.ack, data=first.data[:100])
    rig.wire.send(icmp_error(GATEWAY, SERVICE, 3, 4, 600, ip(SERVICE, US, TCP, body)[:48]))
    again = [p for p in client.collect(2.5) if p.data]
    if not again:
        raise Failed("what was lost is not sent again")
    biggest = max(p.largest for p in again)
    if biggest > 560:
        raise Failed(f"segments of {biggest} octets where 548 fit")
    if client.read(6000) != b"t" * 6000:
        raise Failed("data is lost")


@case(GROUP, "checksums of all that it sends are right", "RFC 9293 MUST-2")
def sums(rig: Rig) -> None:
    """Of headers, segments of all sizes, and a RST."""
    client, server = pair(rig)
    wrong = []
    for size in (1, 2, 3, 100, 1447, 5001):
        server.sendall(b"c" * size)
        found = client.collect(0.05)
        wrong += [p for p in found if not p.sum_is_right]
        client.rcv_nxt = max((p.seq + len(p.data) for p in found if p.data), default=client.rcv_nxt) & MASK
        client.send(flags=ACK)
    other = client.rcv_nxt
    client.segment(ACK, client.snd_nxt, other + 0x3000_0000)
    wrong += [p for p in client.collect(0.1) if not p.sum_is_right]
    if wrong:
        raise Failed(f"wrong in {wrong[0]}")
