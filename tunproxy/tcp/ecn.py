"""Explicit congestion notification: a router marks a packet where it would else drop it (RFC 3168).

  sender ───── new data, ECT(0) ────▶ router ────── the same, CE ──────▶ receiver
     ▲                                                                      │
     └────────── ECE, on every acknowledgment until CWR comes ──────────────┘
  sender ───── the next new data, CWR: the window is smaller ──────────▶ receiver

It is agreed on by the SYNs. What is sent again, bare acknowledgments and probes are never ECN-capable
(§6.1.4 to §6.1.6). A mark counts as a loss does, once in a window of data, and reduces the window by the same
factor, CUBIC's 0.7 (RFC 9438 §4.6): the 0.85 of RFC 8511 is an experiment, and alpha would have to follow it.
It goes on down to one segment; then a mark puts the next one off by a retransmission time-out.

Two questions are kept apart. ``ecn_on``: do we echo marks? Whoever has ever said so in a SYN must.
``ecn_sends``: is our own data ECN-capable? Not if any SYN of either side was without (§6.1.1).
"""

from typing import Final

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.tcp.connection import ECN_OFF, Connection, Settings
from tunproxy.tcp.seq import seq_le, seq_lt
from tunproxy.tcp.state import SYN_RECEIVED
from tunproxy.wire.tcp import ACK, CWR, ECE, Segment

_BOTH: Final[i64] = 0xC0  # ECE and CWR


def offers_ecn(syn: Segment) -> bool:
    """Tell whether a SYN offers it: an ECN-setup SYN (§6.1.1)."""
    return syn.flags & _BOTH == _BOTH


def is_agreed(settings: Settings, syn: Segment) -> bool:
    """Tell whether the answer to this SYN says yes."""
    return settings.ecn != ECN_OFF and offers_ecn(syn)


def is_answer_to_ecn(syn_ack: Segment) -> bool:
    """Tell whether a SYN, ACK says yes: an ECN-setup SYN-ACK; some old ones mirror both bits (§6.1.1)."""
    return syn_ack.flags & _BOTH == ECE


def on_syn_again(conn: Connection, syn: Segment) -> None:
    """Take notice of the peer's SYN, or SYN, ACK, sent again; without a yes it has given ECN up (§6.1.1)."""
    is_yes = is_answer_to_ecn(syn) if syn.flags & ACK else offers_ecn(syn)
    if not is_yes:
        conn.ecn_sends = False
        if conn.state == SYN_RECEIVED and not conn.is_answered:  # we have not said yes yet
            conn.ecn_on = False


def take_marks(conn: Connection, seg: Segment) -> None:
    """Note what a segment with new data says: that the peer's window is reduced, and that it was marked.

    In that order: what has CWR was sent after the reduction, so its own mark is a new one (§6.1.3). Either is
    acknowledged at once, as the kernel does: the sender may have little left to send.
    """
    if seg.flags & CWR:
        conn.ece = 0
        conn.ack_now = True
    if seg.is_marked(conn.ends.is_ipv6):
        if conn.ece == 0:
            conn.ack_now = True
        conn.ece = ECE


def take_echo(conn: Connection, ack: i64, now: Micros) -> None:
    """Process ECE in an acknowledgment up to ack, which has not moved snd_una yet (§6.1.2).

    The window is reduced if it was not, for whatever reason, since what is acknowledged was sent; what was
    sent afterwards begins with CWR, which ends the echo of older marks. And the window does not grow. Where
    it is one segment already, the clock sends the next one.
    """
    conn.used_until = conn.snd_una  # as if it had not been used
    if conn.snd_nxt == conn.snd_una or (
        seq_le(ack, conn.reduced_at) and seq_le(conn.reduced_at, conn.snd_nxt)
    ):
        return
    if conn.congestion.cwnd <= conn.snd_mss:
        conn.resume_at = now + conn.rtt.rto
    conn.congestion.on_echo(conn.flight_size)
    recovery = conn.recovery
    if recovery is not None:
        recovery.undo_from = -1  # what may yet be taken back is no longer the last reduction
    note_reduction(conn)
    conn.reduced_for_echo = True


def reduce_for_loss(conn: Connection, seq: i64, flight_size: i64) -> bool:
    """Reduce the window because something was lost, at seq or before, and return True.

    Return False where an echo has had it reduced in the same window of data: once is enough (§6.1.2).
    """
    if conn.reduced_for_echo and seq_lt(seq, conn.reduced_at) and seq_le(conn.reduced_at, conn.snd_nxt):
        return False
    conn.congestion.on_loss(flight_size)
    note_reduction(conn)
    return True


def note_reduction(conn: Connection) -> None:
    """Say that the congestion window was reduced, for whatever reason: the peer is told by CWR (§6.1.2)."""
    if conn.ecn_sends:
        conn.cwr_due = True
        conn.reduced_at = conn.snd_nxt
        conn.reduced_for_echo = False


def forget_reduction(conn: Connection) -> None:
    """Say that the reduction was taken back: echoes of this window count again."""
    conn.cwr_due = False
    conn.reduced_at = conn.snd_una
