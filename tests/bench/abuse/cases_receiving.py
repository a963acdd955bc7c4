"""Receiving: acceptability, order, windows, acknowledgments, selective acknowledgments."""

import socket
import time

from tests.bench.abuse.case import case
from tests.bench.abuse.client import Client, after, pair, take
from tests.bench.abuse.packets import ACK, FIN, MASK, PSH, RST, URG
from tests.bench.abuse.rig import Absent, Failed, Rig

GROUP = "receiving"


@case(GROUP, "data in order is acknowledged within 0.5 s", "RFC 9293 MUST-58, 1122 §4.2.3.2")
def delayed_ack(rig: Rig) -> None:
    """A lone segment may wait for company, not longer."""
    client, server = pair(rig)
    client.settle()
    client.send(b"x" * 100)
    if client.wait_for_ack(client.snd_nxt, 0.55) is None:
        raise Failed("no ACK")
    take(server, 100)


@case(GROUP, "every second full segment is acknowledged", "RFC 9293 SHLD-18, 5681 §4.2")
def ack_each_second(rig: Rig) -> None:
    """Else the sender's window grows too slowly. Acknowledging a burst that was read at once is fine."""
    client, server = pair(rig)
    client.settle()
    for _ in range(10):
        for _ in range(2):
            client.send(b"x" * 1448)
        if client.wait_for_ack(client.snd_nxt, 0.15) is None:
            raise Failed("two full segments wait for an ACK")
    take(server, 28960)


@case(GROUP, "data across the end of the number space", "RFC 9293 §3.4")
def wrap(rig: Rig) -> None:
    """Sequence numbers go from 2^32-1 to 0."""
    client, server = pair(rig, isn=MASK - 3000)
    for number in range(6):
        client.send(bytes([65 + number]) * 1000)
    want = b"".join(bytes([65 + number]) * 1000 for number in range(6))
    if take(server, 6000) != want:
        raise Failed("data is lost or altered")
    client.must_live(server)


@case(GROUP, "data out of order arrives in order", "RFC 9293 §3.10.7.4")
def reorder(rig: Rig) -> None:
    """Kept until the gap is filled, or sent again by the client."""
    client, server = pair(rig)
    base = client.snd_nxt
    for at in (3, 1, 2, 0):
        client.send(bytes([65 + at]) * 500, seq=base + at * 500)
    client.snd_nxt = base + 2000 & MASK
    for _ in range(4):  # as a client would: again from where the ACK is
        if client.wait_for_ack(client.snd_nxt, 0.3) is not None:
            break
        for at in range(4):
            client.send(bytes([65 + at]) * 500, seq=base + at * 500)
    if take(server, 2000) != b"A" * 500 + b"B" * 500 + b"C" * 500 + b"D" * 500:
        raise Failed("data is lost or altered")


@case(GROUP, "overlapping data with other octets", "RFC 9293 §3.4, robustness")
def overlap(rig: Rig) -> None:
    """Which copy counts is free; what arrives is as long as it must be, and no octet is neither."""
    client, server = pair(rig)
    base = client.snd_nxt
    client.send(b"B" * 100, seq=base + 50)
    client.send(b"A" * 100, seq=base)
    client.snd_nxt = base + 150 & MASK
    if client.wait_for_ack(client.snd_nxt, 0.5) is None:
        client.send(b"B" * 50, seq=base + 100)
    got = take(server, 150)
    if len(got) != 150 or got.strip(b"AB") or got[:50] != b"A" * 50 or got[100:] != b"B" * 50:
        raise Failed(f"{len(got)} octets arrived, of 150 sent")
    client.send(b"C" * 100, seq=base)  # what has been delivered stays as it was
    client.must_live(server)


@case(GROUP, "old data is acknowledged, not delivered", "RFC 9293 §3.10.7.4")
def old_data(rig: Rig) -> None:
    """The first step: unacceptable segments get an ACK."""
    client, server = pair(rig)
    client.must_live(server)
    client.settle()
    client.send(b"old!", seq=client.snd_nxt - 4)
    client.must_be_challenged("old data")
    client.must_live(server)


@case(GROUP, "data beyond the window is acknowledged, not delivered", "RFC 9293 §3.10.7.4")
def beyond(rig: Rig) -> None:
    """The window is at most 1 GB; this is 1.5 GB ahead."""
    client, server = pair(rig)
    client.settle()
    client.send(b"wild", seq=client.snd_nxt + 0x6000_0000)
    client.must_be_challenged("data beyond the window")
    client.must_live(server)


@case(GROUP, "PAWS: old timestamp is acknowledged, not delivered", "RFC 7323 §5.3")
def paws(rig: Rig) -> None:
    """A segment of an earlier lap of the sequence numbers has an old timestamp."""
    client, server = pair(rig)
    if not client.stamps:
        raise Absent("has no timestamps (optional)")
    client.must_live(server)
    client.settle()
    client.send(b"laps", seq=client.snd_nxt, ts=client.ts_base - 100_000 & MASK)
    client.must_be_challenged("old timestamp")
    if got := take(server, 4, 0.3):
        raise Failed(f"{got!r} was delivered")
    client.must_live(server)


@case(GROUP, "timestamps on every segment, echoed", "RFC 7323 §3.2")
def stamps(rig: Rig) -> None:
    """Once agreed on, each segment but a RST has them, and echoes ours."""
    client, server = pair(rig)
    if not client.stamps:
        raise Absent("has no timestamps (optional)")
    client.send(b"x" * 100)
    take(server, 100)
    server.sendall(b"y" * 5000)
    server.close()
    found = client.collect(0.4)
    if without := [p for p in found if p.timestamp is None and not p.flags & RST]:
        raise Failed(f"{without[0]} has none")
    if not any(p.flags & FIN for p in found):
        raise Failed("no FIN came")
    if any(p.timestamp and not p.flags & RST and after(client.ts_base, p.timestamp[1]) for p in found):
        raise Failed("what is echoed was never sent")


@case(GROUP, "first SACK block has the newest data", "RFC 2018 §4")
def sack_order(rig: Rig) -> None:
    """The first block MUST have the segment that triggered the ACK; the others come after it."""
    client, server = pair(rig)
    client.settle()
    base = client.snd_nxt
    for at in (1000, 3000, 5000, 2000 - 500):
        client.send(b"s" * 400, seq=base + at)
        answer = client.next(0.5)
        if answer is None:
            raise Failed("a hole brings no immediate ACK")
        if not answer.sack:
            raise Absent("has no SACK (optional)")
        left, right = answer.sack[0]
        if not (not after(left, base + at & MASK) and not after(base + at + 400 & MASK, right)):
            raise Failed("the newest data is not in the first block")
    if len(answer.sack) < 3:
        raise Failed(f"only {len(answer.sack)} blocks, 3 fit beside timestamps")
    server.close()


@case(GROUP, "D-SACK tells of duplicates", "RFC 2883 §4")
def dsack(rig: Rig) -> None:
    """Lets a sender know that it sent again in vain."""
    client, server = pair(rig)
    client.send(b"d" * 500)
    client.wait_for_ack(client.snd_nxt)
    take(server, 500)
    client.settle()
    client.send(b"d" * 500, seq=client.snd_nxt - 500)
    answer = client.next(0.6)
    if answer is None:
        raise Failed("no ACK for a duplicate")
    if not answer.sack or answer.sack[0] != (client.snd_nxt - 500 & MASK, client.snd_nxt):
        raise Absent("has no D-SACK (optional)")


@case(GROUP, "urgent data arrives in its place", "RFC 9293 MUST-30, 6093 §4")
def urgent(rig: Rig) -> None:
    """The pointer is tolerated and no octet lost."""
    client, server = pair(rig)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    client.send(b"ab", flags=ACK | PSH | URG, urgent=1)
    client.send(b"cd", flags=ACK | PSH | URG, urgent=0xFFFF)
    if (got := take(server, 4)) != b"abcd":
        raise Failed(f"{got!r} arrived")
    client.must_live(server)


@case(GROUP, "keepalive probes are answered", "RFC 9293 MUST-26, 1122 §4.2.3.6")
def keepalive(rig: Rig) -> None:
    """With and without an octet of garbage, which is not delivered."""
    client, server = pair(rig)
    client.must_live(server)
    for garbage in (b"", b"\0"):
        client.settle()
        client.send(garbage, flags=ACK, seq=client.snd_nxt - 1)
        client.must_be_challenged("keepalive with an octet" if garbage else "keepalive")
    client.must_live(server)


def fill(client: Client) -> tuple[int, int]:
    """Send until the window is shut; return the octets sent and how far its right edge went back at worst."""
    assert client.syn_ack is not None
    acked = client.snd_nxt
    edge = acked + client.syn_ack.window & MASK
    worst = sent = quiet = 0
    until = time.monotonic() + 8
    while quiet < 2 and time.monotonic() < until:
        may_send = after(edge, client.snd_nxt) and (client.snd_nxt - acked & MASK) < 40_000
        if may_send:
            size = min(edge - client.snd_nxt & MASK, 1448)
            client.send(b"w" * size)
            sent += size
        packet = client.next(0.001 if may_send else 0.3)
        if packet is not None:
            new = packet.ack + (packet.window << client.scale()) & MASK
            worst = max(worst, edge - new & MASK) if after(edge, new) else worst
            edge = new if after(new, edge) else edge
            acked = packet.ack if after(packet.ack, acked) else acked
            quiet = 0
        elif not may_send:
            quiet += 1
            if after(client.snd_nxt, acked):  # lost on the device's queue: again
                client.send(b"w" * min(1448, client.snd_nxt - acked & MASK), seq=acked)
    return sent, worst


@case(GROUP, "window closes, never shrinks, opens again", "RFC 9293 SHLD-14, MUST-35", tries=3)
def window_shut(rig: Rig) -> None:
    """A target that does not read closes it; a probe is answered; all of it arrives when it reads."""
    client, server = pair(rig)
    sent, worst = fill(client)
    step = 1 << client.scale()
    if worst >= max(step, 2):
        raise Failed(f"the right edge went back by {worst} octets")
    if sent > 64 << 20:
        raise Failed("never closes: memory is unbounded")
    client.settle()
    client.send(b"p", seq=client.snd_nxt)  # one octet beyond: a probe
    if client.next(1) is None:
        raise Failed("a window probe is not answered")
    got = 0
    until = time.monotonic() + 5
    while got < sent and time.monotonic() < until:
        part = take(server, min(1 << 20, sent - got), 0.5)
        got += len(part)
        if not part:
            break
    if got < sent:
        raise Failed(f"{got} of {sent} octets arrived")
    if client.wait_for_ack(client.snd_nxt, 2) is None:
        raise Failed("does not open again")


@case(GROUP, "window opens in large steps", "RFC 9293 MUST-39", tries=3)
def silly_receiver(rig: Rig) -> None:
    """A target that reads little by little must not make a sender send little by little."""
    client, server = pair(rig)
    fill(client)
    client.settle(0.3)
    edge = None
    for _ in range(40):
        take(server, 100, 0.2)
        for packet in client.collect(0.01):
            new = packet.ack + (packet.window << client.scale()) & MASK
            if edge is not None and after(new, edge) and (new - edge & MASK) < 536:
                raise Failed(f"opens by {new - edge & MASK} octets")
            edge = new if edge is None or after(new, edge) else edge


@case(GROUP, "3000 segments of one octet", "robustness")
def tinygrams(rig: Rig) -> None:
    """All arrive, in order; what is lost on the device's queue the client sends again."""
    client, server = pair(rig)
    base = client.snd_nxt
    data = bytes(number % 251 for number in range(3000))
    for at in range(3000):
        client.send(data[at : at + 1])
        if at % 200 == 199:
            client.wait_for_ack(client.snd_nxt, 0.3)
    got = take(server, 3000, 1)
    for _ in range(9):
        if len(got) == 3000:
            break
        at = len(got)
        client.send(data[at : at + 1000], seq=base + at)
        got += take(server, 3000 - at, 0.3)
    if got != data:
        raise Failed(f"{len(got)} of 3000 octets arrived" if data.startswith(got) else "octets are altered")
