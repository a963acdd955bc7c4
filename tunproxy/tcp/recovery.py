"""What acknowledgments say about loss: how recovery begins, goes on and ends, and what it does to the window.

With SACK, ``rack`` finds what is lost (RFC 8985, and IsLost of RFC 6675 as long as nothing was reordered)
and ``prr`` says how much is sent; without, this is RFC 6582 (NewReno), and only the bounds of what is lost
are moved (``lost_until``, ``rtx_nxt``). ``transmit`` sends.
"""

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.tcp.connection import Connection, pipe
from tunproxy.tcp.scoreboard import DUP_THRESH, Scoreboard
from tunproxy.tcp.seq import seq_add, seq_le, seq_lt, seq_max, seq_sub
from tunproxy.tcp.tlp import arm_probe, drop_probe, take_probe_ack
from tunproxy.wire.tcp import Segment


def take_sack(conn: Connection, seg: Segment, now: Micros) -> bool:
    """Note the blocks of seg in the scoreboard; return whether they told anything new (RFC 6675 §2)."""
    board = conn.scoreboard
    told = False
    for index in range(seg.sack_count):
        left, right = seg.sack_left(index), seg.sack_right(index)
        if index == 0 and _is_dsack(conn, seg, left, right):
            _on_dsack(conn, seg.ack, left, right)
            continue
        if not 0 < seq_sub(left, conn.snd_una) < seq_sub(right, conn.snd_una) <= conn.flight_size:
            continue  # nonsense: it tells of no gap
        if board is None:
            board = conn.scoreboard = Scoreboard()
        before = board.sacked
        if board.add(left, right):
            conn.rack.sacked(left, right, board.sacked - before, now)
            conn.delivered += board.sacked - before
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


def _on_dsack(conn: Connection, ack: i64, left: i64, right: i64) -> None:
    """Learn from what was sent again in vain; where all of it was, take the reduction back (RFC 3708 §3)."""
    conn.dsacks += 1
    conn.rack.on_dsack(conn.snd_una, conn.snd_nxt)
    drop_probe(conn, right, ack)
    if conn.undo_from < 0 or seq_lt(left, conn.undo_from):
        return
    conn.undo_octets -= seq_sub(right, left)
    if conn.undo_octets == 0:
        conn.congestion.undo(conn.undo_cwnd, conn.undo_ssthresh)
        conn.prr.stop()
    if conn.undo_octets <= 0:
        conn.undo_from = -1


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
    conn.delivered += acked
    board = conn.scoreboard
    if board is not None:
        before = board.sacked
        board.advance(ack)
        conn.delivered -= before - board.sacked
    conn.rto_at = -1 if ack == conn.snd_nxt else now + conn.rtt.rto
    conn.rtx_nxt = seq_max(conn.rtx_nxt, ack)
    conn.lost_until = seq_max(conn.lost_until, ack)
    conn.dupacks = 0
    conn.limited = 0
    if not conn.in_recovery:
        conn.congestion.on_ack(acked)
    elif seq_le(conn.recovery_point, ack):
        _leave_recovery(conn)
    elif not conn.sack_on and conn.lost_until == ack:
        # a partial acknowledgment: the next is missing too (RFC 6582 §3.2)
        conn.rtx_nxt = ack
        conn.lost_until = _one_segment(conn)
    if conn.in_recovery and conn.congestion.cwnd < conn.congestion.ssthresh:
        conn.congestion.on_ack(acked)  # slow start after a time-out goes on inside recovery
    if conn.sack_on:
        conn.rack.advance(ack, now)
        if take_probe_ack(conn, ack):
            conn.congestion.on_loss(acked + conn.flight_size)
        conn.tlp_count = 0
        _after_ack(conn, now)


def on_duplicate_ack(conn: Connection, now: Micros) -> None:
    """Process an acknowledgment that tells of a gap (RFC 6675 §5, RFC 5681 §3.2)."""
    if conn.sack_on:
        conn.tlp_count = 0
        _after_ack(conn, now)
        return
    conn.dupacks += 1
    if not conn.in_recovery and conn.dupacks >= DUP_THRESH:
        _enter_recovery(conn, now)
        conn.rtx_nxt = conn.snd_una
        conn.lost_until = _one_segment(conn)


def on_reordering_timer(conn: Connection, now: Micros) -> None:
    """Take as lost what has had time enough to arrive (RFC 8985 §6.3)."""
    _after_ack(conn, now)


def _after_ack(conn: Connection, now: Micros) -> None:
    """Find out what is lost now, and what may be sent (RFC 8985 §6.2 step 5, RFC 6937 §3)."""
    rack, board = conn.rack, conn.scoreboard
    rack.acknowledged()
    if rack.fresh_rtt >= 0 and (conn.rtt.srtt < 0 or (conn.in_recovery and conn.rtt_seq < 0)):
        conn.rtt.sample(rack.fresh_rtt)  # the usual measurement ended when something was sent again
    rack.fresh_rtt = -1
    conn.reorder_at = -1
    if rack.has_gap():
        is_proven = conn.in_recovery
        if board is not None and not board.is_empty:
            until = board.lost_until(conn.snd_una, conn.snd_mss)
            if until != conn.snd_una:
                is_proven = True
                if not rack.reordering_seen:
                    rack.lose_below(until)
        conn.reorder_at = rack.detect(now, rack.reo_wnd(is_proven, conn.rtt.srtt))
    if rack.lost_octets > 0:
        if not conn.in_recovery:
            _enter_recovery(conn, now)
        elif rack.lost_again > conn.reduced_order:
            conn.reduced_order = rack.sent_order
            conn.undo_from = -1
            conn.congestion.on_lost_again()
    if conn.prr.is_on:
        conn.prr.on_ack(conn.delivered, pipe(conn), conn.congestion.ssthresh, conn.snd_mss)
    conn.delivered = 0
    arm_probe(conn, now)


def _enter_recovery(conn: Connection, now: Micros) -> None:
    conn.in_recovery = True
    conn.recovery_point = conn.snd_nxt
    conn.probe_at = -1
    conn.tlp_end = -1
    conn.undo_from = conn.snd_una
    conn.undo_octets = 0
    conn.undo_cwnd = conn.congestion.cwnd
    conn.undo_ssthresh = conn.congestion.ssthresh
    conn.reduced_order = conn.rack.sent_order
    conn.congestion.on_loss(conn.flight_size - conn.limited)
    conn.limited = 0
    conn.rto_at = now + conn.rtt.rto
    if conn.sack_on:
        conn.prr.start(conn.flight_size)


def _leave_recovery(conn: Connection) -> None:
    conn.in_recovery = False
    conn.rtx_nxt = conn.snd_nxt
    conn.lost_until = conn.snd_nxt
    conn.prr.stop()
    conn.rack.on_recovery_end()


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
    send_all_again(conn)


def send_all_again(conn: Connection) -> None:
    """Have everything sent again that has not arrived, as far as the congestion window allows."""
    conn.dupacks = 0
    conn.limited = 0
    conn.reorder_at = -1
    conn.probe_at = -1
    conn.tlp_end = -1
    conn.undo_from = -1
    conn.prr.stop()
    conn.in_recovery = True
    conn.recovery_point = conn.snd_nxt
    if conn.sack_on:
        conn.rack.lose_all(conn.snd_una, conn.snd_nxt, conn.scoreboard)
        conn.reduced_order = conn.rack.sent_order
    else:
        conn.rtx_nxt = conn.snd_una
        conn.lost_until = conn.snd_nxt


def _one_segment(conn: Connection) -> i64:
    end = seq_add(conn.snd_una, conn.snd_mss)
    return end if seq_lt(end, conn.snd_nxt) else conn.snd_nxt
