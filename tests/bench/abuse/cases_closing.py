"""Closing: in order, at once, by halves, by reset."""

import socket
import struct
import time

from tests.bench.abuse.case import case
from tests.bench.abuse.client import Client, ending, pair, take
from tests.bench.abuse.packets import ACK, FIN, MASK, PSH, RST, SYN
from tests.bench.abuse.rig import Failed, Rig

GROUP = "closing"


@case(GROUP, "FIN with data: both count", "RFC 9293 §3.10.7.4")
def fin_with_data(rig: Rig) -> None:
    """The octets are delivered, then the end, and one ACK covers all."""
    client, server = pair(rig)
    client.send(b"last words", flags=ACK | PSH | FIN)
    if (got := take(server, 10)) != b"last words":
        raise Failed(f"{got!r} arrived")
    if (seen := ending(server, 1)) != "end":
        raise Failed(f"the target sees {seen} instead of the end")
    if client.wait_for_ack(client.snd_nxt) is None:
        raise Failed("the FIN is not acknowledged")


@case(GROUP, "target's last octets, then its FIN", "RFC 9293 §3.6")
def target_ends(rig: Rig) -> None:
    """An orderly end stays one, and nothing before it is lost."""
    client, server = pair(rig)
    server.sendall(b"z" * 20_000)
    server.shutdown(socket.SHUT_WR)
    if len(client.read(20_000)) < 20_000:
        raise Failed("octets before the FIN are lost")
    if not client.has_ended and client.wait_for(FIN, 1) is None:
        raise Failed("no FIN came")


@case(GROUP, "client half closed, target goes on for 3 s", "RFC 9293 §3.6, 1122 §4.2.2.13")
def half_closed_by_client(rig: Rig) -> None:
    """A request that ends in FIN may be answered late."""
    client, server = pair(rig)
    client.send(b"ask", flags=ACK | PSH | FIN)
    if take(server, 3) != b"ask" or ending(server, 1) != "end":
        raise Failed("the FIN does not reach the target")
    client.settle()
    for number in range(6):
        time.sleep(0.5)
        try:
            server.sendall(b"%d" % number * 100)
        except OSError as error:
            raise Failed(f"after {number * 0.5} s the target sees {error.strerror}") from error
        if len(client.read(100, 1)) < 100:
            raise Failed(f"after {number * 0.5} s nothing comes any more")


@case(GROUP, "target half closed, client goes on for 3 s", "RFC 9293 §3.6, 1122 §4.2.2.13")
def half_closed_by_target(rig: Rig) -> None:
    """The other direction; programs like ssh and rsync rely on it."""
    client, server = pair(rig)
    server.shutdown(socket.SHUT_WR)
    fin = client.wait_for(FIN, 2)
    if fin is None:
        raise Failed("the target's FIN does not come")
    client.rcv_nxt = fin.seq + fin.length & MASK
    client.send(flags=ACK)
    for number in range(6):
        time.sleep(0.5)
        client.send(b"u" * 100)
        if len(take(server, 100, 1)) < 100:
            raise Failed(f"after {number * 0.5} s nothing arrives any more")


@case(GROUP, "FIN is sent again until acknowledged", "RFC 9293 §3.8.1")
def fin_again(rig: Rig) -> None:
    """It occupies a number like data."""
    client, server = pair(rig)
    server.shutdown(socket.SHUT_WR)
    fins = [p for p in client.collect(2.6) if p.flags & FIN]
    if len(fins) < 2:
        raise Failed(f"{len(fins)} FIN within 2.6 s")
    if len({(p.seq + p.length) & MASK for p in fins}) > 1:
        raise Failed("at different numbers")


@case(GROUP, "simultaneous close", "RFC 9293 §3.6, figure 13")
def both_close(rig: Rig) -> None:
    """FINs cross: each is acknowledged, nobody resets."""
    client, server = pair(rig)
    server.shutdown(socket.SHUT_WR)
    fin = client.wait_for(FIN, 2)
    if fin is None:
        raise Failed("the target's FIN does not come")
    client.send(flags=ACK | FIN)  # sent before theirs arrived: it acknowledges nothing new
    answer = client.wait_for_ack(client.snd_nxt, 2)
    if answer is None:
        raise Failed("our FIN is not acknowledged")
    if answer.flags & RST:
        raise Failed("RST")
    if (seen := ending(server, 1)) != "end":
        raise Failed(f"the target sees {seen}")
    client.rcv_nxt = fin.seq + fin.length & MASK
    client.send(flags=ACK)
    if any(p.flags & RST for p in client.collect(0.2)):
        raise Failed("RST after the last ACK")


@case(GROUP, "FIN sent again in TIME-WAIT is acknowledged again", "RFC 9293 §3.10.7.4")
def fin_in_time_wait(rig: Rig) -> None:
    """The last ACK may be lost; a RST instead makes an orderly end an error."""
    client, server = pair(rig)
    server.close()
    fin = client.wait_for(FIN, 2)
    if fin is None:
        raise Failed("the target's FIN does not come")
    client.rcv_nxt = fin.seq + fin.length & MASK
    client.send(flags=ACK | FIN)
    if client.wait_for_ack(client.snd_nxt, 1) is None:
        raise Failed("our FIN is not acknowledged")
    client.settle()
    client.segment(ACK | FIN, client.snd_nxt - 1 & MASK, client.rcv_nxt, options=client.stamp())
    answer = client.next(1)
    if answer is None:
        raise Failed("nothing")
    if answer.flags & RST:
        raise Failed("RST")


@case(GROUP, "data for a target that closed is a RST", "RFC 9293 §3.6.1", needs="resets")
def data_after_close(rig: Rig) -> None:
    """Else a program writes for ever into nowhere."""
    client, server = pair(rig)
    server.close()
    fin = client.wait_for(FIN, 2)
    if fin is None:
        raise Failed("the target's FIN does not come")
    client.rcv_nxt = fin.seq + fin.length & MASK
    client.send(flags=ACK)
    for _ in range(6):
        client.send(b"more")
        found = client.wait_for(RST, 0.3)
        if found is not None:
            return
    raise Failed("no RST within 1.8 s")


@case(GROUP, "RST of the target is a RST", "RFC 9293 §3.10.7.4", needs="resets")
def target_resets(rig: Rig) -> None:
    """Not an orderly end, which would say that all of it came."""
    client, server = pair(rig)
    client.must_live(server)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
    answer = client.wait_for(RST | FIN, 2)
    if answer is None:
        raise Failed("nothing")
    if not answer.flags & RST:
        raise Failed("FIN")
    if answer.seq != client.rcv_nxt:
        raise Failed("RST with a number that the client must challenge")


@case(GROUP, "port that is used again at once", "RFC 6191 §2 (SHOULD)")
def port_again(rig: Rig) -> None:
    """A SYN with higher number and time stamp ends TIME-WAIT; browsers and load generators do it."""
    listener = rig.listen()
    port = listener.getsockname()[1]
    client = Client(rig, port).open()
    for number in range(3):
        server = rig.accept(listener)
        client.must_live(server)
        server.close()
        fin = client.wait_for(FIN, 2)
        if fin is None:
            raise Failed("the target's FIN does not come")
        client.rcv_nxt = fin.seq + fin.length & MASK
        client.send(flags=ACK | FIN)
        client.settle(0.15)
        following = Client(rig, port, isn=client.snd_nxt + 100_000 & MASK, sport=client.source[1])
        following.ts_base = client.ts_base + 10_000
        answer = following.shake(1.5)
        if answer is None or not answer.flags & SYN:
            raise Failed(f"use {number + 2}: {answer or 'nothing'}")
        following.take_syn_ack(answer)
        following.send(flags=ACK)
        client = following


@case(GROUP, "octets before a client's RST", "RFC 9293 §3.10.7.4, robustness")
def data_before_reset(rig: Rig) -> None:
    """What was acknowledged before the reset may be lost; what follows it never arrives."""
    client, server = pair(rig)
    client.send(b"a" * 1000)
    client.wait_for_ack(client.snd_nxt)
    client.segment(RST, client.snd_nxt, 0)
    client.send(b"b" * 1000)
    answer = client.wait_for(RST, 1)
    try:
        got = take(server, 2000, 0.5)
    except Failed:
        got = b""
    if b"b" in got:
        raise Failed("data after the reset arrived")
    if answer is None:
        raise Failed("data after the reset is not answered with RST")
