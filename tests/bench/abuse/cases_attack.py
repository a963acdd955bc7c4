"""Segments from somebody who knows addresses and ports but not the numbers, and segments for nobody."""

import time

from tests.bench.abuse.case import case
from tests.bench.abuse.client import Client, ending, pair, take
from tests.bench.abuse.packets import ACK, FIN, ICMP, MASK, PSH, RST, SYN, TCP, icmp_error, ip, ipv4, tcp_body
from tests.bench.abuse.rig import GATEWAY, SERVICE, US, Failed, Rig

GROUP = "attack"


@case(GROUP, "RST in the window, not exact: challenge ACK", "RFC 5961 §3.2")
def blind_reset(rig: Rig) -> None:
    """Else one of 65,000 guesses ends a connection."""
    client, server = pair(rig)
    client.must_live(server)
    client.settle()
    client.segment(RST, client.snd_nxt + 1000 & MASK, 0)
    client.must_be_challenged("RST in the window")
    client.must_live(server)


@case(GROUP, "RST outside the window: dropped", "RFC 5961 §3.2")
def wild_reset(rig: Rig) -> None:
    """Silently, and the connection lives."""
    client, server = pair(rig)
    client.must_live(server)
    client.settle()
    for step in (-1, -100_000, 0x4000_0000, 0x7FFF_0000):
        client.segment(RST, client.snd_nxt + step & MASK, 0)
        client.segment(RST | ACK, client.snd_nxt + step & MASK, client.rcv_nxt)
    if any(p.flags & RST for p in client.collect(0.2)):
        raise Failed("answers with a RST")
    client.must_live(server)


@case(GROUP, "RST at the exact number resets the target", "RFC 9293 §3.10.7.4", needs="resets")
def exact_reset(rig: Rig) -> None:
    """The target must see a reset, not an orderly end."""
    client, server = pair(rig)
    client.must_live(server)
    client.settle()
    client.segment(RST, client.snd_nxt, 0)
    if (seen := ending(server)) != "reset":
        raise Failed(f"the target sees {seen}")


@case(GROUP, "RST at the exact number counts whatever its ACK", "RFC 9293 §3.10.7.4")
def reset_with_wrong_ack(rig: Rig) -> None:
    """In synchronized states the sequence number alone decides."""
    client, server = pair(rig)
    client.must_live(server)
    client.settle()
    client.segment(RST | ACK, client.snd_nxt, client.rcv_nxt + 5000 & MASK)
    if ending(server) == "open":
        raise Failed("the connection stays open")


@case(GROUP, "SYN on a connection: challenge ACK", "RFC 5961 §4.2")
def blind_syn(rig: Rig) -> None:
    """Whatever its number, in the window or not."""
    for step in (1000, 0x5000_0000):
        client, server = pair(rig)
        client.must_live(server)
        client.settle()
        client.segment(SYN, client.snd_nxt + step & MASK, 0, options=client.syn_options())
        client.must_be_challenged("SYN in the window" if step == 1000 else "SYN outside the window")
        client.must_live(server)


@case(GROUP, "SYN, ACK on a connection does no harm", "RFC 5961 §4.2")
def blind_syn_ack(rig: Rig) -> None:
    """A challenge ACK or nothing, and the connection lives."""
    client, server = pair(rig)
    client.must_live(server)
    client.settle()
    client.segment(SYN | ACK, client.snd_nxt, client.rcv_nxt, options=client.syn_options())
    if (answer := client.next(0.3)) is not None and answer.flags & (RST | SYN):
        raise Failed(f"answers {answer}")
    client.must_live(server)


@case(GROUP, "data with an ACK from long ago: not delivered", "RFC 5961 §5.2")
def blind_data(rig: Rig) -> None:
    """An ACK older than the largest window ever offered is a guess; a challenge ACK answers."""
    client, server = pair(rig, shift=None)
    client.must_live(server)
    client.settle()
    client.send(b"evil", seq=client.snd_nxt, ack=client.rcv_nxt - 0x4000_0000 & MASK)
    answer = client.next(0.6)
    if got := take(server, 4, 0.2):
        raise Failed(f"{got!r} was delivered")
    if answer is None:
        raise Failed("not delivered, and no challenge ACK")
    client.must_live(server)


@case(GROUP, "data that acknowledges what was never sent: ACK", "RFC 9293 §3.10.7.4, 5961 §5")
def ack_of_the_future(rig: Rig) -> None:
    """Dropped with an ACK."""
    client, server = pair(rig)
    client.must_live(server)
    client.settle()
    client.send(b"evil", seq=client.snd_nxt, ack=client.rcv_nxt + 100_000 & MASK)
    answer = client.next(0.6)
    if got := take(server, 4, 0.2):
        raise Failed(f"{got!r} was delivered")
    if answer is None:
        raise Failed("not delivered, and no ACK")
    if answer.flags & RST:
        raise Failed("RST")
    client.must_live(server)


@case(GROUP, "FIN with a guessed number does not end the stream", "RFC 9293 §3.10.7.4")
def blind_fin(rig: Rig) -> None:
    """A FIN ahead of a hole is kept or dropped, one outside the window is dropped."""
    client, server = pair(rig)
    client.must_live(server)
    client.settle()
    client.segment(FIN | ACK, client.snd_nxt + 0x5000_0000 & MASK, client.rcv_nxt, options=client.stamp())
    client.segment(FIN | ACK, client.snd_nxt - 9 & MASK, client.rcv_nxt, options=client.stamp())
    client.must_live(server)


@case(GROUP, "segment without ACK is dropped", "RFC 9293 §3.10.7.4")
def no_ack_bit(rig: Rig) -> None:
    """Data without the ACK bit is never delivered."""
    client, server = pair(rig)
    client.must_live(server)
    client.settle()
    client.segment(PSH, client.snd_nxt, 0, data=b"evil", options=client.stamp())
    if got := take(server, 4, 0.3):
        raise Failed(f"{got!r} was delivered")
    client.must_live(server)


@case(GROUP, "wrong TCP checksum is dropped", "RFC 9293 MUST-3")
def bad_sum(rig: Rig) -> None:
    """Neither a SYN nor data nor a RST with it counts."""
    client, server = pair(rig)
    client.must_live(server)
    client.settle()
    client.segment(RST, client.snd_nxt, 0, spoil_sum=0x1111)
    client.segment(
        ACK | PSH, client.snd_nxt, client.rcv_nxt, data=b"evil", spoil_sum=0x1111, options=client.stamp()
    )
    client.must_live(server)
    listener = rig.listen()
    other = Client(rig, listener.getsockname()[1])
    other.segment(SYN, other.iss, 0, spoil_sum=0x1111)
    if (answer := other.next(0.4)) is not None:
        raise Failed(f"a SYN with it is answered: {answer}")


@case(GROUP, "data offset beyond the segment is dropped", "RFC 9293 §3.1")
def bad_offset(rig: Rig) -> None:
    """Header lengths of 0 to 16 octets, or more than there is."""
    client, server = pair(rig, stamps=False)
    client.must_live(server)
    for words in (0, 1, 4, 15):
        body = tcp_body(
            client.source, client.target, ACK | PSH, client.snd_nxt, client.rcv_nxt, data=b"evil", words=words
        )
        rig.wire.send(ipv4(US, SERVICE, TCP, body))
    for size in (1, 8, 19):
        whole = tcp_body(client.source, client.target, ACK, client.snd_nxt, client.rcv_nxt)
        rig.wire.send(ipv4(US, SERVICE, TCP, whole[:size]))
    if got := take(server, 4, 0.2):
        raise Failed(f"{got!r} was delivered")
    client.must_live(server)


@case(GROUP, "ACK for no connection is a RST with its number", "RFC 9293 §3.10.7.1")
def ack_for_nobody(rig: Rig) -> None:
    """Tells a program whose connection is gone; <SEQ=SEG.ACK><CTL=RST>."""
    client = Client(rig, rig.port())
    client.segment(ACK, client.iss, 0x1234_5678)
    answer = client.next(1)
    if answer is None:
        raise Failed("nothing")
    if not answer.flags & RST:
        raise Failed(str(answer))
    if answer.seq != 0x1234_5678:
        raise Failed("RST with another number, which the client must ignore")


@case(GROUP, "FIN without ACK for no connection: RST or nothing", "RFC 9293 §3.10.7.1")
def fin_for_nobody(rig: Rig) -> None:
    """Never a connection; a RST has number 0 and acknowledges the segment."""
    client = Client(rig, rig.port())
    client.segment(FIN, client.iss, 0)
    answer = client.next(0.4)
    if answer is not None and (not answer.flags & RST or answer.ack != client.iss + 1 & MASK):
        raise Failed(f"{answer}, acknowledging {answer.ack - client.iss & MASK}")


@case(GROUP, "RST for no connection is not answered", "RFC 9293 §3.10.7.1")
def reset_for_nobody(rig: Rig) -> None:
    """Else two ends could reset each other for ever."""
    client = Client(rig, rig.port())
    client.segment(RST, client.iss, 0)
    client.segment(RST | ACK, client.iss, 77)
    if (answer := client.next(0.4)) is not None:
        raise Failed(str(answer))


@case(GROUP, "land: source and target are one", "RFC 9293 §3.9.2.3, robustness")
def land(rig: Rig) -> None:
    """Must neither connect, nor answer itself for ever, nor harm others."""
    listener = rig.listen()
    port = listener.getsockname()[1]
    client, server = pair(rig)
    for flags in (SYN, SYN | ACK, ACK):
        body = tcp_body((SERVICE, port), (SERVICE, port), flags, 1000, 1000)
        rig.wire.send(ipv4(SERVICE, SERVICE, TCP, body))
    echoes = rig.wire.collect(lambda p: p.proto == TCP and p.dport == port, 0.4)
    if len(echoes) > 3:
        raise Failed(f"{len(echoes)} answers to 3 packets")
    rig.not_connected(listener, 0.1)
    client.must_live(server)


@case(GROUP, "forged host unreachable does not end a connection", "RFC 9293 §3.9.2.2, 5927 §4")
def forged_unreachable(rig: Rig) -> None:
    """Soft errors MUST NOT abort."""
    client, server = pair(rig)
    server.sendall(b"q" * 100)
    client.settle()
    for code in (0, 1, 5):
        quoted = ip(
            SERVICE, US, TCP, tcp_body(client.target, client.source, ACK, client.rcv_nxt, client.snd_nxt)
        )
        rig.wire.send(icmp_error(GATEWAY, US, 3, code, 0, quoted[:28]))
        rig.wire.send(icmp_error(GATEWAY, SERVICE, 3, code, 0, quoted[:28]))
    if client.read(100) != b"q" * 100:
        raise Failed("data under way is lost")
    client.must_live(server)


@case(GROUP, "forged too big with wrong numbers is ignored", "RFC 5927 §4, 8899 §4.6.1")
def forged_too_big(rig: Rig) -> None:
    """Else anybody makes every segment tiny."""
    client, server = pair(rig)
    server.sendall(b"q" * 4000)
    client.read(4000)
    for mtu in (0, 68, 300):
        body = tcp_body(client.target, client.source, ACK, client.rcv_nxt + 0x4000_0000, client.snd_nxt)
        rig.wire.send(icmp_error(GATEWAY, SERVICE, 3, 4, mtu, ip(SERVICE, US, TCP, body)[:28]))
    time.sleep(0.05)
    server.sendall(b"q" * 20_000)
    biggest = max((p.largest for p in client.collect(0.4)), default=0)
    if biggest < 500:
        raise Failed(f"segments of {biggest} octets afterwards")


@case(GROUP, "echo reply and errors that nobody asked for", "RFC 1122 §3.2.2")
def stray_icmp(rig: Rig) -> None:
    """Every type and code, quoting things that never were: dropped, nothing is answered by an error."""
    client, server = pair(rig)
    for kind in range(20):
        if kind in (8, 13, 15, 17):
            continue
        for quoted in (b"", b"\x45" * 28, ipv4(SERVICE, US, TCP, b"\0" * 20)):
            rig.wire.send(icmp_error(GATEWAY, SERVICE, kind, 0, 0, quoted))
    answers = rig.wire.collect(lambda p: p.proto == ICMP, 0.2)
    if answers:
        raise Failed(f"{len(answers)} answers, the first {answers[0]}")
    client.must_live(server)
