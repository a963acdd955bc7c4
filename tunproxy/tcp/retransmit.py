"""What is sent again: what is lost, and what asks whether something is (RFC 6675 §5, RFC 8985 §7).

``transmit`` calls this before it sends anything new. How much may go is ``room``'s to say, what is lost
``recovery``'s.
"""

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.tcp.connection import Connection, pipe
from tunproxy.tcp.ecn import note_reduction
from tunproxy.tcp.recovery_state import Recovery
from tunproxy.tcp.segments import send_data
from tunproxy.tcp.seq import seq_add, seq_lt, seq_sub
from tunproxy.wire.sink import FrameSink
from tunproxy.wire.tcp import FIN


def room(conn: Connection) -> i64:
    """Return how many octets congestion control lets out now."""
    recovery = conn.recovery
    if recovery is not None and recovery.prr.is_on:
        return recovery.prr.room
    if conn.resume_at >= 0:
        return 0  # one segment a round trip is too much for the path (RFC 3168 §6.1.2)
    return conn.congestion.cwnd - pipe(conn)


def is_repaired(recovery: Recovery) -> bool:
    """Tell whether nothing is left to be sent again."""
    return recovery.rack.lost_octets == 0 and recovery.rtx_nxt == recovery.lost_until


def send_lost(conn: Connection, recovery: Recovery, now: Micros, out: FrameSink) -> None:
    """Send again what is lost, as far as congestion control allows.

    The first segment goes whatever that says (RFC 6675 §5 step 4.3).
    """
    if not conn.sack_on:
        _send_lost_without_sack(conn, recovery, now, out)
        return
    rack = recovery.rack
    while rack.lost_octets > 0:
        first = rack.lost[0]
        left = first.seq
        size = _size_again(conn, left, first.end, room(conn))
        if size == 0:
            return
        send_again(conn, recovery, left, size, now, out)
        rack.sent_lost(size, now)


def _send_lost_without_sack(conn: Connection, recovery: Recovery, now: Micros, out: FrameSink) -> None:
    """Send again what lies in [rtx_nxt, lost_until), in the same way."""
    if seq_lt(recovery.rtx_nxt, conn.snd_una):
        recovery.rtx_nxt = conn.snd_una
    while seq_lt(recovery.rtx_nxt, recovery.lost_until):
        left = recovery.rtx_nxt
        size = _size_again(conn, left, recovery.lost_until, room(conn))
        if size == 0:
            return
        send_again(conn, recovery, left, size, now, out)
        recovery.rtx_nxt = seq_add(left, size)


def _size_again(conn: Connection, left: i64, right: i64, most: i64) -> i64:
    size = min(seq_sub(right, left), conn.snd_burst)
    if size > most:
        size = max(most - most % conn.snd_mss, 0)
        if size == 0 and left == conn.snd_una:
            size = min(seq_sub(right, left), conn.snd_mss)
    return size


def send_again(
    conn: Connection, recovery: Recovery, left: i64, size: i64, now: Micros, out: FrameSink
) -> None:
    """Send size octets again from left on; the caller notes them in rack, or moves rtx_nxt."""
    data_end = seq_add(conn.snd_una, conn.buffer.length)
    has_fin = conn.fin_sent and seq_add(left, size) == seq_add(data_end, 1)
    conn.rtt_seq = -1  # Karn: an acknowledgment would be ambiguous
    conn.sent_at = now
    conn.retransmits += 1
    recovery.undo_octets += size
    send_data(conn, left, size - 1 if has_fin else size, FIN if has_fin else 0, now, out)
    if recovery.prr.is_on:
        recovery.prr.on_sent(size)
    if conn.rto_at < 0 or left == conn.snd_una:
        conn.rto_at = now + conn.rtt.rto  # what it waits for has just been sent


def send_doubtful(conn: Connection, recovery: Recovery, now: Micros, out: FrameSink) -> None:
    """Send a segment again that may be lost, where nothing else can use the room (RFC 6675 §4 NextSeg 3).

    At the end of a transfer too few segments follow to prove a loss; it would take a time-out.
    """
    board = recovery.scoreboard
    mss = conn.snd_mss
    if board.is_empty or room(conn) < mss:
        return
    left = recovery.rack.first_doubtful(board.highest)
    if left >= 0:
        right = recovery.rack.doubtful_end(left, mss)
        send_again(conn, recovery, left, seq_sub(right, left), now, out)
        recovery.rack.sent_again(left, right, now)


def send_tail_again(conn: Connection, recovery: Recovery, now: Micros, out: FrameSink) -> None:
    """Send the last segment again, to hear what of it and before it has arrived (RFC 8985 §7.3)."""
    size = min(conn.flight_size, conn.snd_mss)
    left = (conn.snd_nxt - size) & 0xFFFF_FFFF
    send_again(conn, recovery, left, size, now, out)
    recovery.rack.sent_again(left, conn.snd_nxt, now)


def probe_in_recovery(conn: Connection, recovery: Recovery, now: Micros, out: FrameSink) -> None:
    """Send again what has waited longest: nothing that could prove its loss is under way."""
    rack = recovery.rack
    if rack.lost_octets > 0:
        first = rack.lost[0]
        size = min(seq_sub(first.end, first.seq), conn.snd_mss)
        send_again(conn, recovery, first.seq, size, now, out)
        rack.sent_lost(size, now)
        return
    oldest = rack.oldest()
    if oldest is not None:
        left = oldest.seq
        right = seq_add(left, min(seq_sub(oldest.end, left), conn.snd_mss))
        conn.congestion.on_lost_again()
        note_reduction(conn)
        send_again(conn, recovery, left, seq_sub(right, left), now, out)
        rack.sent_again(left, right, now)
        recovery.reduced_order = rack.sent_order
