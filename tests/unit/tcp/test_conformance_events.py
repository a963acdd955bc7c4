"""Every kind of segment in every state: what is answered, and which state follows (RFC 9293 §3.10.7.4).

SYN-SENT, CLOSED and the SYN that nobody has answered yet have rules of their own: test_receive.py.
"""

from collections.abc import Callable

import pytest

from tests.unit.tcp.builders import SYNCHRONIZED, Script, syn_received
from tunproxy.tcp.connection import Connection
from tunproxy.tcp.state import NAMES
from tunproxy.wire.tcp import ACK, FIN, PSH, RST, SYN, URG


def at(number: int) -> int:
    """Return number as it stands in a header."""
    return number % 2**32


# What arrives. "all" acknowledges everything that we sent, "none" nothing new. Where a FIN or data "next"
# comes behind the peer's FIN, there is nothing it could mean.
SEGMENTS: dict[str, Callable[[Script, Connection], object]] = {
    "ACK of all": lambda p, c: p.sends(),
    "ACK of none": lambda p, c: p.sends(ack=c.snd_una),
    "ACK old": lambda p, c: p.sends(ack=at(c.snd_una - 1)),
    "ACK of more than was sent": lambda p, c: p.sends(ack=at(c.snd_nxt + 1)),
    "data next, ACK of all": lambda p, c: p.sends(payload=b"text", flags=ACK | PSH),
    "data next, ACK of none": lambda p, c: p.sends(payload=b"text", ack=c.snd_una),
    "data urgent": lambda p, c: p.sends(payload=b"text", flags=ACK | PSH | URG),
    "data old": lambda p, c: p.sends(seq=at(c.rcv_nxt - 500), payload=b"text"),
    "data beyond the window": lambda p, c: p.sends(seq=at(c.rcv_adv + 1), payload=b"text"),
    "FIN next, ACK of all": lambda p, c: p.sends(flags=ACK | FIN),
    "FIN next, ACK of none": lambda p, c: p.sends(flags=ACK | FIN, ack=c.snd_una),
    "FIN again": lambda p, c: p.sends(seq=at(c.rcv_nxt - 1), flags=ACK | FIN, ack=c.snd_una),
    "RST next": lambda p, c: p.sends(flags=RST),
    "RST next, with data": lambda p, c: p.sends(flags=RST, payload=b"why"),
    "RST in the window": lambda p, c: p.sends(seq=at(c.rcv_nxt + 1), flags=RST),
    "RST old": lambda p, c: p.sends(seq=at(c.rcv_nxt - 500), flags=RST),
    "SYN again": lambda p, c: p.sends_syn(seq=c.irs),
    "SYN next": lambda p, c: p.sends_syn(seq=c.rcv_nxt),
    "SYN in the window": lambda p, c: p.sends_syn(seq=at(c.rcv_nxt + 100)),
    "SYN old": lambda p, c: p.sends_syn(seq=at(c.rcv_nxt - 500)),
    "no ACK flag": lambda p, c: p.sends(flags=0, payload=b"text"),
}

# The answer, then the next state where it is another: "ack" at once, "later" an acknowledgment that waits
# for data to carry it, "rst", "syn" our SYN once more, "-" nothing.
TABLE = """
                          | SYN-RECEIVED      | ESTABLISHED      | FIN-WAIT-1       | FIN-WAIT-2
ACK of all                | - ESTABLISHED     | -                | - FIN-WAIT-2     | -
ACK of none               | rst               | -                | -                | -
ACK old                   | rst               | -                | -                | -
ACK of more than was sent | rst               | ack              | ack              | ack
data next, ACK of all     | later ESTABLISHED | later            | later FIN-WAIT-2 | later
data next, ACK of none    | rst               | later            | later            | later
data urgent               | later ESTABLISHED | later            | later FIN-WAIT-2 | later
data old                  | ack               | ack              | ack              | ack
data beyond the window    | ack               | ack              | ack              | ack
FIN next, ACK of all      | later CLOSE-WAIT  | later CLOSE-WAIT | ack TIME-WAIT    | ack TIME-WAIT
FIN next, ACK of none     | rst               | later CLOSE-WAIT | ack CLOSING      | ack TIME-WAIT
FIN again                 | ack               | ack              | ack              | ack
RST next                  | - CLOSED          | - CLOSED         | - CLOSED         | - CLOSED
RST next, with data       | - CLOSED          | - CLOSED         | - CLOSED         | - CLOSED
RST in the window         | ack               | ack              | ack              | ack
RST old                   | -                 | -                | -                | -
SYN again                 | syn               | ack              | ack              | ack
SYN next                  | ack               | ack              | ack              | ack
SYN in the window         | ack               | ack              | ack              | ack
SYN old                   | ack               | ack              | ack              | ack
no ACK flag               | -                 | -                | -                | -

                          | CLOSE-WAIT        | CLOSING          | LAST-ACK         | TIME-WAIT
ACK of all                | -                 | - TIME-WAIT      | - CLOSED         | -
ACK of none               | -                 | -                | -                | -
ACK old                   | -                 | -                | -                | -
ACK of more than was sent | ack               | ack              | ack              | ack
data next, ACK of all     | -                 | - TIME-WAIT      | - CLOSED         | -
data next, ACK of none    | -                 | -                | -                | -
data urgent               | -                 | - TIME-WAIT      | - CLOSED         | -
data old                  | ack               | ack              | ack              | ack
data beyond the window    | ack               | ack              | ack              | ack
FIN next, ACK of all      | -                 | - TIME-WAIT      | - CLOSED         | -
FIN next, ACK of none     | -                 | -                | -                | -
FIN again                 | ack               | ack              | ack              | ack
RST next                  | - CLOSED          | - CLOSED         | - CLOSED         | - CLOSED
RST next, with data       | - CLOSED          | - CLOSED         | - CLOSED         | - CLOSED
RST in the window         | ack               | ack              | ack              | ack
RST old                   | -                 | -                | -                | -
SYN again                 | ack               | ack              | ack              | ack
SYN next                  | ack               | ack              | ack              | ack
SYN in the window         | ack               | ack              | ack              | ack
SYN old                   | ack               | ack              | ack              | ack
no ACK flag               | -                 | -                | -                | -
"""

STATES: dict[str, Callable[..., Connection]] = {"SYN-RECEIVED": syn_received, **SYNCHRONIZED}
DELIVERS = ("SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2")


def rows() -> list[tuple[str, str, str]]:
    """Return (state, what arrives, what follows) for each cell of the table."""
    found = []
    for half in TABLE.strip("\n").split("\n\n"):
        head, *lines = ([cell.strip() for cell in line.split("|")] for line in half.split("\n"))
        for what, *cells in lines:
            found += [(state, what, cell) for state, cell in zip(head[1:], cells, strict=True)]
    return found


def answer(peer: Script) -> str:
    """Return what the peer was answered, in the words of the table."""
    found = peer.sent()
    conn = peer.conn
    if not found:
        return "later" if conn.ack_at >= 0 else "-"
    (sent,) = found
    if sent.flags == RST:
        return "rst"
    if sent.flags == SYN | ACK:
        assert (sent.seq, sent.ack) == (conn.iss, conn.rcv_nxt)
        return "syn"
    assert (sent.seq, sent.ack, sent.flags, sent.payload) == (conn.snd_nxt, conn.rcv_nxt, ACK, b"")
    return "ack"


@pytest.mark.parametrize("base", [(1000, 5000), (2**32 - 1, 1)], ids=["usual", "at the wrap"])
@pytest.mark.parametrize(("state", "what", "expected"), rows())
def test_event(state: str, what: str, expected: str, base: tuple[int, int]) -> None:
    peer = Script(STATES[state](rcv_nxt=base[0], snd_nxt=base[1]))
    if peer.conn.ack_at >= 0:
        peer.waits()
        peer.sent()
    assert NAMES[peer.conn.state] == state
    SEGMENTS[what](peer, peer.conn)
    reply, _, after = expected.partition(" ")
    assert (answer(peer), NAMES[peer.conn.state]) == (reply, after or state)
    is_data = what.startswith("data") and reply == "later"
    assert peer.delivered == (b"text" if is_data else b"")
    assert not is_data or state in DELIVERS


def test_table_has_every_state_and_every_segment() -> None:
    cells = [(state, what) for state, what, _ in rows()]
    assert set(cells) == {(state, what) for state in STATES for what in SEGMENTS}
    assert len(cells) == len(set(cells))
