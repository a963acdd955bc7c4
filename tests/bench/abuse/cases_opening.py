"""Opening a connection, and what its first segments agree on."""

import time

from tests.bench.abuse.case import case
from tests.bench.abuse.client import Client, pair, read_within, take
from tests.bench.abuse.packets import ACK, CWR, ECE, MASK, PSH, RST, SYN
from tests.bench.abuse.rig import ABSENT, NO_HOST, SERVICE, SERVICE6, SILENT, Absent, Failed, Rig

GROUP = "opening"


def refused(rig: Rig, target: str) -> None:
    client = Client(rig, rig.port(), target)
    answer = client.shake(3)
    if answer is None:
        raise Failed("nothing")
    if answer.flags & (RST | SYN) != RST:
        raise Failed(f"{answer} comes first" if answer.flags & SYN else str(answer))
    if not answer.flags & ACK or answer.ack != client.snd_nxt:
        raise Failed("RST that does not acknowledge the SYN")


@case(GROUP, "refused port is a RST", "RFC 9293 §3.5.2")
def refused_port(rig: Rig) -> None:
    """A program must see "connection refused", not a connection that breaks."""
    refused(rig, SERVICE)


@case(GROUP, "refused port is a RST, IPv6", "RFC 9293 §3.5.2", needs="six")
def refused_port_six(rig: Rig) -> None:
    """The same over IPv6."""
    refused(rig, SERVICE6)


def not_open(rig: Rig, target: str, seconds: float) -> None:
    client = Client(rig, rig.port(), target)
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        answer = client.shake(left)
        if answer is not None and answer.flags & SYN:
            raise Failed("SYN+ACK: the host looks alive")
        if answer is not None:
            return


@case(GROUP, "host reported unreachable is no SYN, ACK", "RFC 9293 §3.9.2.2", needs="hosts")
def unreachable(rig: Rig) -> None:
    """Happy eyeballs and health checks believe a SYN, ACK."""
    not_open(rig, NO_HOST, 1)


@case(GROUP, "host that does not exist is no SYN, ACK", "RFC 9293 §3.10.7", needs="hosts")
def absent(rig: Rig) -> None:
    """Neighbour discovery fails after three seconds."""
    not_open(rig, ABSENT, 3.4)


@case(GROUP, "silent host is no SYN, ACK", "RFC 9293 §3.10.7", needs="hosts")
def silent(rig: Rig) -> None:
    """A dropping firewall must look like one."""
    not_open(rig, SILENT, 1.2)


@case(GROUP, "SYN is answered when the target has accepted", "RFC 9293 §3.5")
def answered_late(rig: Rig) -> None:
    """The target answers its second SYN; a SYN, ACK before that promises what nobody knows."""
    listener = rig.listen()
    client = Client(rig, listener.getsockname()[1])
    with rig.deaf(listener.getsockname()[1]):
        answer = client.shake(0.5)
        if answer is not None:
            raise Failed(f"{answer} before the target answered")
    client.open(4)
    client.must_live(rig.accept(listener))


@case(GROUP, "SYN, ACK offers what the SYN offered", "RFC 7323 §1.3, 2018 §2")
def options_mirror(rig: Rig) -> None:
    """MSS always; scale, SACK and timestamps where the SYN had them, and only there."""
    full, _ = pair(rig)
    bare, _ = pair(rig, shift=None, sack=False, stamps=False)
    assert full.syn_ack is not None
    assert bare.syn_ack is not None
    names = {2: "MSS", 3: "window scale", 4: "SACK permitted", 8: "timestamps"}
    if 2 not in full.syn_ack.options:
        raise Failed("without MSS")
    if extra := [name for kind, name in names.items() if kind != 2 and kind in bare.syn_ack.options]:
        raise Failed(f"offers {', '.join(extra)} to a SYN without")
    if missing := [name for kind, name in names.items() if kind not in full.syn_ack.options]:
        raise Absent(f"without {', '.join(missing)} (optional)")
    if full.syn_ack.timestamp and full.syn_ack.timestamp[1] == 0:
        raise Failed("SYN, ACK echoes no timestamp")


@case(GROUP, "numbers of new connections cannot be guessed", "RFC 6528 §3")
def sequence_numbers(rig: Rig) -> None:
    """Who knows one initial number must not know the next."""
    isns = []
    for _ in range(8):
        client, _ = pair(rig)
        assert client.syn_ack is not None
        isns.append(client.syn_ack.seq)
    steps = [(one - other) & MASK for one, other in zip(isns[1:], isns, strict=False)]
    small = sum(1 for step in steps if step < 1 << 24 or step > MASK - (1 << 24))
    if len(set(isns)) < 8 or small > 4:
        raise Failed(f"steps between them: {', '.join(map(str, steps[:4]))}, …")


@case(GROUP, "SYN that comes twice is one connection", "RFC 9293 §3.10.7.4")
def syn_twice(rig: Rig) -> None:
    """A retransmitted SYN gets the same SYN, ACK."""
    listener = rig.listen()
    client = Client(rig, listener.getsockname()[1])
    first = client.shake()
    client.segment(SYN, client.iss, 0, options=client.syn_options())
    second = client.wait_for(SYN, 2)
    if first is None or not first.flags & SYN:
        raise Failed(f"{first or 'nothing'}")
    if second is not None and second.seq != first.seq:
        raise Failed("the second SYN, ACK has another number")
    client.take_syn_ack(first)
    client.send(flags=ACK)
    client.must_live(rig.accept(listener))
    rig.not_connected(listener)


@case(GROUP, "wrong ACK of a SYN, ACK is a RST", "RFC 9293 §3.5.2, §3.10.7.4")
def wrong_handshake_ack(rig: Rig) -> None:
    """An ACK of what was never sent must not open a connection; the right one still does."""
    listener = rig.listen()
    client = Client(rig, listener.getsockname()[1])
    answer = client.shake()
    if answer is None or not answer.flags & SYN:
        raise Failed(f"no SYN, ACK but {answer or 'nothing'}")
    client.take_syn_ack(answer)
    wrong = answer.seq + 70_001 & MASK
    client.send(flags=ACK, ack=wrong)
    back = client.wait_for(RST, 1)
    if back is None:
        raise Failed("no RST")
    if back.seq != wrong:
        raise Failed("RST whose number is not that of the ACK")
    client.send(flags=ACK)
    client.must_live(rig.accept(listener))


@case(GROUP, "RST in the handshake ends it, the next SYN works", "RFC 9293 §3.10.7.4")
def reset_in_handshake(rig: Rig) -> None:
    """What a port scanner leaves behind must not block the port."""
    listener = rig.listen()
    client = Client(rig, listener.getsockname()[1])
    answer = client.shake()
    if answer is None or not answer.flags & SYN:
        raise Failed(f"no SYN, ACK but {answer or 'nothing'}")
    client.segment(RST, client.snd_nxt, 0)
    time.sleep(0.1)
    again = Client(rig, listener.getsockname()[1], isn=client.iss + 500_000, sport=client.source[1]).open()
    again.send(b"once")
    for _ in range(2):  # the first attempt may have reached the target; it has ended there then
        server = rig.accept(listener)
        try:
            if take(server, 4, 1) == b"once":
                return
        except Failed:
            continue
    raise Failed("the second connection carries no data")


@case(GROUP, "data with the last ACK of the handshake", "RFC 9293 §3.10.7.4")
def data_with_ack(rig: Rig) -> None:
    """The first request may come with the third segment."""
    listener = rig.listen()
    client = Client(rig, listener.getsockname()[1])
    answer = client.shake()
    if answer is None or not answer.flags & SYN:
        raise Failed(f"no SYN, ACK but {answer or 'nothing'}")
    client.take_syn_ack(answer)
    client.send(b"hello")
    server = rig.accept(listener)
    if not client.repeat(b"hello"):
        raise Failed("they are not acknowledged")
    if take(server, 5) != b"hello":
        raise Failed("the octets did not arrive")


@case(GROUP, "SYN with data: each octet arrives once", "RFC 9293 §3.10.7.2")
def syn_with_data(rig: Rig) -> None:
    """They may be kept or left to be sent again, not lost or doubled."""
    listener = rig.listen()
    client = Client(rig, listener.getsockname()[1])
    client.snd_nxt = client.iss + 1 & MASK
    client.segment(SYN, client.iss, 0, options=client.syn_options(), data=b"early")
    answer = client.next(3)
    if answer is None or not answer.flags & SYN:
        raise Failed(f"no SYN, ACK but {answer or 'nothing'}")
    client.take_syn_ack(answer)
    taken = answer.ack - client.snd_nxt & MASK
    if taken not in (0, 5):
        raise Failed(f"the SYN, ACK acknowledges {taken} of 5 octets")
    client.snd_nxt = answer.ack
    rest = b"early"[taken:] + b"late"
    client.send(rest)
    client.repeat(rest)
    if (got := take(rig.accept(listener), 10, 1)) != b"earlylate":
        raise Failed(f"{got!r} arrived")


@case(GROUP, "options that nobody knows are ignored", "RFC 9293 MUST-6")
def unknown_options(rig: Rig) -> None:
    """In the SYN and later; else nobody could ever introduce one."""
    client, server = pair(rig, stamps=False, odd_options=b"\x22\x04\xab\xcd\xfd\x04\xf9\x89")
    client.send(b"data", options=b"\x4d\x06abcd\x01\x01")
    if take(server, 4) != b"data":
        raise Failed("data with an unknown option did not arrive")
    client.must_live(server)


ODD_OPTIONS = (
    b"\x02\x04", b"\x02\0\0\0", b"\x02\x01\0\0", b"\x03\xff\0\0", b"\x05\x0b" + b"\0" * 9, b"\x08\x0a\0",
    b"\x05\x02\x01\x01", b"\x22\x28", b"\xfd\x03\xff\x01", b"\x01" * 40, b"\x13\x12" + b"m" * 16,
)  # fmt: skip


@case(GROUP, "illegal option lengths do no harm", "RFC 9293 MUST-7")
def odd_options(rig: Rig) -> None:
    """Cut off, of length 0, longer than the header: the connection lives, and others open."""
    client, server = pair(rig, stamps=False)
    for number, options in enumerate(ODD_OPTIONS):
        client.send(flags=ACK, options=options)
        odd = Client(rig, rig.port())
        odd.segment(SYN, odd.iss, 0, options=options)
        if number % 4 == 3:
            client.must_live(server)
    client.must_live(server)
    other, other_server = pair(rig)
    other.must_live(other_server)


@case(GROUP, "window scale 15 counts as 14", "RFC 7323 §2.3")
def scale_fifteen(rig: Rig) -> None:
    """Never more under way than 14 allows, and all of it arrives."""
    client, server = pair(rig, shift=15, window=1)
    client.send(flags=ACK, window=1)
    server.setblocking(False)
    read_within(client, server.send(b"x" * 60_000), 16384, 1)


@case(GROUP, "peer that names no MSS gets 536", "RFC 9293 MUST-15")
def no_mss(rig: Rig) -> None:
    """The default where the SYN has no option."""
    client, server = pair(rig, mss=None, shift=None, sack=False, stamps=False)
    server.sendall(b"x" * 8000)
    biggest = max((p.largest for p in client.collect(0.5)), default=0)
    if biggest > 536:
        raise Failed(f"segments of {biggest} octets")
    if not biggest:
        raise Failed("no data came")


@case(GROUP, "MSS of the peer is respected", "RFC 9293 MUST-14")
def small_mss(rig: Rig) -> None:
    """Options count: data and options fit into MSS and fixed header."""
    client, server = pair(rig, mss=600)
    server.sendall(b"x" * 8000)
    biggest = max((p.largest for p in client.collect(0.5)), default=0)
    fit = 588 if client.stamps else 600
    if biggest > fit:
        raise Failed(f"segments of {biggest} octets where MSS 600 and options leave {fit}")
    if not biggest:
        raise Failed("no data came")


@case(GROUP, "MSS of 1 neither stops nor exhausts it", "robustness")
def absurd_mss(rig: Rig) -> None:
    """Data must arrive; whether in octets or, as in Linux, in slightly larger segments is its own choice."""
    client, server = pair(rig, mss=1)
    server.sendall(b"0123456789" * 100)
    if len(got := client.read(1000, 4)) < 1000:
        raise Failed(f"only {len(got)} of 1000 octets came in 4 s")
    other, other_server = pair(rig)
    other.must_live(other_server)


@case(GROUP, "ECN: agreed or not, never half", "RFC 3168 §6.1.1")
def ecn(rig: Rig) -> None:
    """ECE alone in the SYN, ACK says yes; then a CE mark must come back as ECE until CWR."""
    plain, _ = pair(rig)
    assert plain.syn_ack is not None
    if plain.syn_ack.flags & (ECE | CWR):
        raise Failed("ECN flags for a SYN without")
    listener = rig.listen()
    client = Client(rig, listener.getsockname()[1])
    answer = client.shake(flags=SYN | ECE | CWR)
    if answer is None or not answer.flags & SYN:
        raise Failed(f"no SYN, ACK but {answer or 'nothing'}")
    if answer.flags & CWR:
        raise Failed("CWR in the SYN, ACK")
    if not answer.flags & ECE:
        raise Absent("does not agree to it (optional)")
    client.take_syn_ack(answer)
    client.send(flags=ACK)
    server = rig.accept(listener)
    client.send(b"a" * 1000, tos=3)
    client.send(b"b" * 1000, tos=2)
    if take(server, 2000) != b"a" * 1000 + b"b" * 1000:
        raise Failed("marked data did not arrive")
    marks = [p for p in client.collect(0.3) if p.flags & ACK]
    if not any(p.flags & ECE for p in marks):
        raise Failed("a CE mark is not reported")
    client.send(b"c" * 1000, flags=ACK | PSH | CWR, tos=2)
    client.settle(0.3)
    client.send(b"d" * 1000, tos=2)
    if any(p.flags & ECE for p in client.collect(0.3)):
        raise Failed("ECE goes on after CWR")
