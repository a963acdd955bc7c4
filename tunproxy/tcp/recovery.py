"""What acknowledgments say about loss: how recovery begins, goes on and ends, and what it does to the window.

With SACK, ``rack`` finds what is lost (RFC 8985, and IsLost of RFC 6675 as long as nothing was reordered)
and ``prr`` says how much is sent; without, this is RFC 6582 (NewReno), and only the bounds of what is lost
are moved (``lost_until``, ``rtx_nxt``). ``retransmit`` sends.
"""

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.tcp.congestion import UNTHROTTLED
from tunproxy.tcp.connection import Connection, pipe, recovery_of
from tunproxy.tcp.ecn import forget_reduction, note_reduction, reduce_for_loss
from tunproxy.tcp.recovery_state import Recovery
from tunproxy.tcp.round_trip import measure
from tunproxy.tcp.scoreboard import DUP_THRESH
from tunproxy.tcp.seq import seq_add, seq_le, seq_lt, seq_max, seq_sub
from tunproxy.tcp.tlp import arm_probe, drop_probe, take_probe_ack
from tunproxy.wire.tcp import Segment


def take_sack(conn: Connection, seg: Segment, now: Micros) -> bool:
    """Note the blocks of seg in the scoreboard; return whether they told anything new (RFC 6675 §2)."""
    told = False
    for index in range(seg.sack_count):
        left, right = seg.sack_left(index), seg.sack_right(index)
        if index == 0 and _is_dsack(conn, seg, left, right):
            _on_dsack(conn, recovery_of(conn), seg.ack, left, right)
            continue
        if not 0 < seq_sub(left, conn.snd_una) < seq_sub(right, conn.snd_una) <= conn.flight_size:
            continue  # nonsense: it tells of no gap
        recovery = recovery_of(conn)
        board = recovery.scoreboard
        before = board.sacked
        if board.add(left, right):
            recovery.rack.sacked(left, right, board.sacked - before, now)
            recovery.delivered += board.sacked - before
            told = True
    return told


def _is_dsack(conn: Connection, seg: Segment, left: i64, right: i64) -> bool:
    """Tell whether the first block names what arrived twice (RFC 2883 §4).

    It is acknowledged already, or part of the second block.
    """
    if not seq_lt(left, right):
        return False
    if seq_le(right, seg.ack):
        return seq_sub(seg.ack, left) <= conn.max_snd_wnd
    return seg.sack_count > 1 and seq_le(seg.sack_left(1), left) and seq_le(right, seg.sack_right(1))


def _on_dsack(conn: Connection, recovery: Recovery, ack: i64, left: i64, right: i64) -> None:
    """Learn from what was sent again in vain; where all of it was, take the reduction back (RFC 3708 §3)."""
    recovery.dsacks += 1
    recovery.rack.on_dsack(conn.snd_una, conn.snd_nxt)
    drop_probe(recovery, right, ack)
    if recovery.undo_from < 0 or seq_lt(left, recovery.undo_from):
        return
    recovery.undo_octets -= seq_sub(right, left)
    if recovery.undo_octets == 0:
        conn.congestion.undo(recovery.undo_cwnd, recovery.undo_ssthresh)
        recovery.prr.stop()
        forget_reduction(conn)
    if recovery.undo_octets <= 0:
        recovery.undo_from = -1


def on_new_ack(conn: Connection, ack: i64, acked: i64, ts_ecr: i64, now: Micros) -> None:
    """Process a cumulative acknowledgment that moves snd_una to ack (RFC 6298 §5, RFC 6675 §5).

    acked octets of it count for the congestion window; 0 where it acknowledges our SYN. ts_ecr is the
    timestamp it echoes, -1 where there is none.
    """
    under_way = conn.flight_size
    conn.snd_una = ack
    conn.buffer.acknowledge(min(acked, conn.buffer.length))  # a FIN is acknowledged but not in the buffer
    recovery = conn.recovery
    if recovery is None:
        exact = now - conn.sent_at if acked > 0 and conn.sack_on else -1  # without SACK sent_at is the last
        measure(conn, ack, acked, under_way, ts_ecr, exact, now)
    else:
        _advance(conn, recovery, ack, acked, now)
        measure(conn, ack, acked, under_way, ts_ecr, recovery.rack.fresh_rtt, now)
    conn.timeouts = 0
    conn.rto_at = -1 if ack == conn.snd_nxt else now + conn.rtt.rto
    if recovery is not None:
        _on_progress(conn, recovery, ack, acked, now)
        return
    _grow(conn, ack, acked, now)
    if conn.sack_on:
        arm_probe(conn, now)


def _grow(conn: Connection, ack: i64, acked: i64, now: Micros) -> None:
    """Let the congestion window grow where it was what kept data back (RFC 9438 §5.8)."""
    if conn.congestion.cwnd < UNTHROTTLED:
        is_used = seq_le(ack, conn.used_until)
        conn.congestion.on_ack(acked, is_used, conn.rtt.srtt, now)
        if not is_used:
            conn.used_until = ack  # so that it never lies so far behind that it seems ahead


def _advance(conn: Connection, recovery: Recovery, ack: i64, acked: i64, now: Micros) -> None:
    """Forget what ack covers."""
    recovery.delivered += acked
    board = recovery.scoreboard
    before = board.sacked
    if before > 0:
        board.advance(ack)
        recovery.delivered -= before - board.sacked
    if conn.sack_on:
        recovery.rack.advance(ack, now)


def _on_progress(conn: Connection, recovery: Recovery, ack: i64, acked: i64, now: Micros) -> None:
    """Go on with recovery, or end it; what ack covers is forgotten already."""
    recovery.rtx_nxt = seq_max(recovery.rtx_nxt, ack)
    recovery.lost_until = seq_max(recovery.lost_until, ack)
    recovery.dupacks = 0
    recovery.limited = 0
    if not recovery.is_on:
        _grow(conn, ack, acked, now)
    elif seq_le(recovery.point, ack):
        _leave_recovery(conn, recovery)
    elif not conn.sack_on and recovery.lost_until == ack:
        # a partial acknowledgment: the next is missing too (RFC 6582 §3.2)
        recovery.rtx_nxt = ack
        recovery.lost_until = _one_segment(conn)
    if recovery.is_on and conn.congestion.cwnd < conn.congestion.ssthresh:
        _grow(conn, ack, acked, now)  # slow start after a time-out goes on inside recovery
    if conn.sack_on:
        if take_probe_ack(recovery, ack):
            reduce_for_loss(conn, (ack - 1) & 0xFFFF_FFFF, acked + conn.flight_size)
            recovery.undo_from = -1
        recovery.tlp_count = 0
        _after_ack(conn, recovery, now)


def on_duplicate_ack(conn: Connection, now: Micros) -> None:
    """Process an acknowledgment that tells of a gap (RFC 6675 §5, RFC 5681 §3.2)."""
    recovery = recovery_of(conn)
    if conn.sack_on:
        recovery.tlp_count = 0
        _after_ack(conn, recovery, now)
        return
    recovery.dupacks += 1
    if not recovery.is_on and recovery.dupacks >= DUP_THRESH:
        _enter_recovery(conn, recovery, now)
        recovery.rtx_nxt = conn.snd_una
        recovery.lost_until = _one_segment(conn)


def on_reordering_timer(conn: Connection, now: Micros) -> None:
    """Take as lost what has had time enough to arrive (RFC 8985 §6.3)."""
    _after_ack(conn, recovery_of(conn), now)


def _after_ack(conn: Connection, recovery: Recovery, now: Micros) -> None:
    """Find out what is lost now, and what may be sent (RFC 8985 §6.2 step 5, RFC 6937 §3)."""
    rack, board = recovery.rack, recovery.scoreboard
    rack.acknowledged()
    # The usual measurement ended when something was sent again.
    is_wanted = conn.rtt.srtt < 0 or (recovery.is_on and conn.rtt_seq < 0 and not conn.ts_on)
    if is_wanted and rack.fresh_rtt >= 0:
        conn.rtt.sample(rack.fresh_rtt)
    rack.fresh_rtt = -1
    conn.reorder_at = -1
    if rack.has_gap():
        is_proven = recovery.is_on
        if board.sacked > 0:
            until = board.lost_until(conn.snd_una, conn.snd_mss)
            if until != conn.snd_una:
                is_proven = True
                if not rack.reordering_seen:
                    rack.lose_below(until)
        conn.reorder_at = rack.detect(now, rack.reo_wnd(is_proven, conn.rtt.srtt))
    if rack.lost_octets > 0:
        if not recovery.is_on:
            _enter_recovery(conn, recovery, now)
        elif rack.lost_again > recovery.reduced_order:
            recovery.reduced_order = rack.sent_order
            recovery.undo_from = -1
            conn.congestion.on_lost_again()
            note_reduction(conn)
    if recovery.prr.is_on:
        recovery.prr.on_ack(recovery.delivered, pipe(conn), conn.congestion.ssthresh, conn.snd_mss)
    recovery.delivered = 0
    arm_probe(conn, now)


def _enter_recovery(conn: Connection, recovery: Recovery, now: Micros) -> None:
    recovery.is_on = True
    recovery.point = conn.snd_nxt
    conn.probe_at = -1
    recovery.tlp_end = -1
    recovery.undo_from = conn.snd_una
    recovery.undo_octets = 0
    recovery.undo_cwnd = conn.congestion.cwnd
    recovery.undo_ssthresh = conn.congestion.ssthresh
    recovery.reduced_order = recovery.rack.sent_order
    if not reduce_for_loss(conn, conn.snd_una, conn.flight_size - recovery.limited):
        recovery.undo_from = -1  # that nothing was lost takes nothing back
    recovery.limited = 0
    conn.rto_at = now + conn.rtt.rto
    if conn.sack_on:
        recovery.prr.start(conn.flight_size)


def _leave_recovery(conn: Connection, recovery: Recovery) -> None:
    recovery.is_on = False
    recovery.rtx_nxt = conn.snd_nxt
    recovery.lost_until = conn.snd_nxt
    recovery.prr.stop()
    recovery.rack.on_recovery_end()


def on_timeout(conn: Connection, now: Micros) -> None:
    """Take everything under way as lost (RFC 6298 §5.4-5.6, RFC 6675 §5.1)."""
    conn.congestion.on_timeout(conn.flight_size, conn.timeouts == 0)
    note_reduction(conn)
    conn.timeouts += 1
    conn.rtt.back_off()
    conn.rtt_seq = -1
    conn.rto_at = now + conn.rtt.rto
    board = recovery_of(conn).scoreboard
    if board.sacked > 0:
        missing, _ = board.next_hole(conn.snd_una, conn.snd_nxt)
        if conn.timeouts > 1 or missing != conn.snd_una:  # it said it has what it waits for
            board.clear()  # the peer may have reneged, or has (RFC 2018 §8)
    send_all_again(conn)


def send_all_again(conn: Connection) -> None:
    """Have everything sent again that has not arrived, as far as the congestion window allows."""
    recovery = recovery_of(conn)
    recovery.dupacks = 0
    recovery.limited = 0
    conn.reorder_at = -1
    conn.probe_at = -1
    recovery.tlp_end = -1
    recovery.undo_from = -1
    recovery.prr.stop()
    recovery.is_on = True
    recovery.point = conn.snd_nxt
    if conn.sack_on:
        recovery.rack.lose_all(conn.snd_una, conn.snd_nxt, recovery.scoreboard)
        recovery.reduced_order = recovery.rack.sent_order
    else:
        recovery.rtx_nxt = conn.snd_una
        recovery.lost_until = conn.snd_nxt


def _one_segment(conn: Connection) -> i64:
    end = seq_add(conn.snd_una, conn.snd_mss)
    return end if seq_lt(end, conn.snd_nxt) else conn.snd_nxt
