"""What acknowledgments say about loss: fast retransmit and recovery with and without SACK.

RFC 6675 where the peer sends SACK blocks, RFC 6582 (NewReno) where it does not. Here only the bounds of
what is lost are moved (``lost_until``, ``rtx_nxt``); ``transmit`` sends.
"""

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.tcp.connection import Connection
from tunproxy.tcp.scoreboard import DUP_THRESH, Scoreboard
from tunproxy.tcp.seq import seq_add, seq_le, seq_lt, seq_max, seq_sub
from tunproxy.wire.tcp import Segment


def take_sack(conn: Connection, seg: Segment) -> bool:
    """Note the blocks of seg in the scoreboard; return whether they told anything new (RFC 6675 §2)."""
    board = conn.scoreboard
    told = False
    for index in range(seg.sack_count):
        left, right = seg.sack_left(index), seg.sack_right(index)
        if not 0 < seq_sub(left, conn.snd_una) < seq_sub(right, conn.snd_una) <= conn.flight_size:
            continue  # nonsense, or a D-SACK, which tells of a duplicate and not of a gap
        if board is None:
            board = conn.scoreboard = Scoreboard()
        if board.add(left, right):
            told = True
    return told


def on_new_ack(conn: Connection, ack: i64, acked: i64, now: Micros) -> None:
    """Process a cumulative acknowledgment that moves snd_una to ack (RFC 6298 §5, RFC 6675 §5).

    acked octets of it count for the congestion window; 0 where it acknowledges our SYN.
    """
    if conn.rtt_seq >= 0 and seq_le(conn.rtt_seq, ack):
        conn.rtt.sample(now - conn.rtt_at)
        conn.rtt_seq = -1
    conn.snd_una = ack
    conn.timeouts = 0
    conn.buffer.acknowledge(min(acked, conn.buffer.length))  # a FIN is acknowledged but not in the buffer
    if conn.scoreboard is not None:
        conn.scoreboard.advance(ack)
    conn.rto_at = -1 if ack == conn.snd_nxt else now + conn.rtt.rto
    conn.rtx_nxt = seq_max(conn.rtx_nxt, ack)
    conn.lost_until = seq_max(conn.lost_until, ack)
    conn.dupacks = 0
    if not conn.in_recovery:
        conn.congestion.on_ack(acked)
    elif seq_le(conn.recovery_point, ack):
        conn.in_recovery = False
        conn.rtx_nxt = conn.snd_nxt
        conn.lost_until = conn.snd_nxt
    elif conn.sack_on:
        _mark_lost(conn)
    elif conn.lost_until == ack:  # a partial acknowledgment: the next is missing too (RFC 6582 §3.2)
        conn.rtx_nxt = ack
        conn.lost_until = _one_segment(conn)
    if conn.in_recovery:
        if conn.congestion.cwnd < conn.congestion.ssthresh:
            conn.congestion.on_ack(acked)  # slow start after a time-out goes on inside recovery
    elif _has_proven_gap(conn):  # the duplicate that told of it was lost, or this acknowledges some more
        _enter_recovery(conn, now)


def on_duplicate_ack(conn: Connection, now: Micros) -> None:
    """Process an acknowledgment that tells of a gap (RFC 6675 §5, RFC 5681 §3.2)."""
    conn.dupacks += 1
    if conn.in_recovery:
        _mark_lost(conn)
    elif conn.dupacks >= DUP_THRESH or _has_proven_gap(conn):
        _enter_recovery(conn, now)


def _has_proven_gap(conn: Connection) -> bool:
    board = conn.scoreboard
    if board is None or board.is_empty:
        return False
    return board.lost_until(conn.snd_una, conn.snd_mss) != conn.snd_una


def _enter_recovery(conn: Connection, now: Micros) -> None:
    conn.in_recovery = True
    conn.recovery_point = conn.snd_nxt
    conn.congestion.on_loss(conn.flight_size)
    conn.rtx_nxt = conn.snd_una
    conn.lost_until = _one_segment(conn)
    conn.rto_at = now + conn.rtt.rto
    _mark_lost(conn)


def on_timeout(conn: Connection, now: Micros) -> None:
    """Take everything under way as lost (RFC 6298 §5.4-5.6, RFC 6675 §5.1)."""
    conn.congestion.on_timeout(conn.flight_size, conn.timeouts == 0)
    conn.timeouts += 1
    conn.rtt.back_off()
    conn.rtt_seq = -1
    conn.rto_at = now + conn.rtt.rto
    board = conn.scoreboard
    if board is not None:
        missing, _ = board.next_hole(conn.snd_una, conn.snd_nxt)
        if conn.timeouts > 1 or missing != conn.snd_una:  # it said it has what it waits for
            board.clear()  # the peer may have reneged, or has (RFC 2018 §8)
    conn.dupacks = 0
    conn.in_recovery = True
    conn.recovery_point = conn.snd_nxt
    conn.rtx_nxt = conn.snd_una
    conn.lost_until = conn.snd_nxt


def _mark_lost(conn: Connection) -> None:
    """Move lost_until as far as the scoreboard proves loss."""
    if conn.scoreboard is not None:
        conn.lost_until = seq_max(conn.lost_until, conn.scoreboard.lost_until(conn.snd_una, conn.snd_mss))


def _one_segment(conn: Connection) -> i64:
    end = seq_add(conn.snd_una, conn.snd_mss)
    return end if seq_lt(end, conn.snd_nxt) else conn.snd_nxt
