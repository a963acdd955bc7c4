"""The receiving half: a segment arrives (RFC 9293 §3.10.7.3, §3.10.7.4; RFC 5961; RFC 7323 §5).

``receive`` is the RFC's list of steps, one function each. A step that ends the segment's processing
returns False. Nothing is sent from here but answers to unacceptable segments; acknowledgments are noted
in ``ack_now`` and ``ack_at`` and leave with the next ``transmit``.
"""

from typing import Final

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.tcp.assembler import Assembler
from tunproxy.tcp.connection import (
    DELAYED_ACK,
    FINISHED,
    RESET_BY_PEER,
    TIME_WAIT_LENGTH,
    Connection,
    close_down,
    enter,
)
from tunproxy.tcp.dsack import is_old, note_duplicate
from tunproxy.tcp.ecn import is_answer_to_ecn, on_syn_again, take_echo, take_marks
from tunproxy.tcp.keepalive import start_keepalive
from tunproxy.tcp.passive import take_syn_options
from tunproxy.tcp.recovery import on_duplicate_ack, on_new_ack, take_sack
from tunproxy.tcp.segments import send_ack, send_challenge, send_syn
from tunproxy.tcp.seq import seq_add, seq_le, seq_lt, seq_max, seq_sub
from tunproxy.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    LAST_ACK,
    SYN_RECEIVED,
    SYN_SENT,
    TIME_WAIT,
)
from tunproxy.wire.sink import FrameSink
from tunproxy.wire.tcp import ACK, ECE, FIN, RST, SYN, Segment, emit_rst_for

PAWS_IDLE: Final[i64] = 24 * 24 * 3600 * 1_000_000  # RFC 7323 §5.5: 24 days

# our choices
COPY_BELOW: Final[i64] = 4096  # a slice costs less than a view and does not pin the packet
JOIN_BELOW: Final[i64] = 512  # octet-by-octet senders to a stalled target cost octets, not objects


def receive(conn: Connection, seg: Segment, now: Micros, out: FrameSink) -> None:
    """Process a segment that belongs to conn."""
    if conn.state <= SYN_SENT:
        if conn.state == SYN_SENT:
            _on_syn_sent(conn, seg, now, out)
        elif not seg.flags & RST:  # closed by an earlier segment of the same batch (RFC 9293 §3.10.7.1)
            out.write(emit_rst_for(conn.settings.scratch, conn.ends, seg))
        return
    if conn.state == SYN_RECEIVED and not conn.is_answered:
        if seg.flags & RST and seg.seq == conn.rcv_nxt:
            close_down(conn, RESET_BY_PEER)
        elif seg.flags & SYN and seg.seq == conn.irs:
            on_syn_again(conn, seg)
        return  # everything else waits for the target's answer
    is_recent = _is_recent(conn, seg, now)
    if not is_recent or not is_acceptable(conn, seg):  # first: sequence number
        _answer_unacceptable(conn, seg, is_recent, now, out)
        return
    conn.heard_at = now
    if seg.flags & RST:  # second, with the window rule of RFC 5961 §3
        _on_rst(conn, seg, now, out)
        return
    if seg.flags & SYN:  # fourth, RFC 5961 §4
        _on_syn(conn, seg, now, out)
        return
    if not seg.flags & ACK:
        return
    _take_timestamp(conn, seg, now)
    if _take_ack(conn, seg, now, out):  # fifth
        if seg.length > 0:  # seventh; the sixth, URG, changes nothing for a relay
            _take_text(conn, seg, now, out)
        if seg.flags & FIN or conn.fin_seq >= 0:  # eighth
            _take_fin(conn, seg, now)


def is_acceptable(conn: Connection, seg: Segment) -> bool:
    """Tell whether any part of seg lies in the receive window (RFC 9293 §3.10.7.4, table 6).

    Deviates from the table, as the kernel does, where it would lose what a correct peer sends: a bare
    segment at the right edge comes from a peer that has filled the window, and a segment that begins before
    the window and ends behind it has new data in the middle.
    """
    start = seq_sub(seg.seq, conn.rcv_nxt)
    wnd = seq_sub(conn.rcv_adv, conn.rcv_nxt)
    end = seg.end
    if end == seg.seq:
        return 0 <= start <= wnd
    return start < wnd and seq_lt(conn.rcv_nxt, end)


def _is_recent(conn: Connection, seg: Segment, now: Micros) -> bool:
    """Protect against wrapped sequence numbers (RFC 7323 §5.3 R1); a reset is exempt."""
    if not conn.ts_on or seg.flags & RST or seg.ts_val < 0:
        return True
    return not seq_lt(seg.ts_val, conn.ts_recent) or now - conn.ts_recent_at > PAWS_IDLE


def _answer_unacceptable(
    conn: Connection, seg: Segment, is_recent: bool, now: Micros, out: FrameSink
) -> None:
    if seg.flags & RST:
        return
    if seg.flags & SYN:
        _on_syn(conn, seg, now, out)
    else:
        if conn.state == TIME_WAIT and seg.flags & FIN:
            conn.time_wait_at = now + TIME_WAIT_LENGTH
        if is_recent and is_old(conn, seg):
            note_duplicate(conn, seg)
        send_ack(conn, now, out)
        # A full window hides the acknowledgment in a segment from us no longer than until we answer it.
        # In an old duplicate (RFC 7323 §5.3 R1) it counts for nothing: the number may be from before a wrap.
        if is_recent and seg.flags & ACK and seg.seq == conn.rcv_nxt:
            _take_ack(conn, seg, now, out)


def _on_syn(conn: Connection, seg: Segment, now: Micros, out: FrameSink) -> None:
    if seg.seq == conn.irs:
        on_syn_again(conn, seg)
    if conn.state == SYN_RECEIVED and seg.seq == conn.irs:
        send_syn(conn, now, out)  # our answer was lost
    else:
        send_challenge(conn, now, out)


def _on_rst(conn: Connection, seg: Segment, now: Micros, out: FrameSink) -> None:
    if seg.seq != conn.rcv_nxt:
        send_challenge(conn, now, out)
        return
    state = conn.state
    # Both ends have said everything; the peer no longer knows of it, and the last acknowledgment was lost.
    is_over = state == CLOSING or state == LAST_ACK or state == TIME_WAIT
    close_down(conn, FINISHED if is_over and conn.buffer.length == 0 else RESET_BY_PEER)


def _take_timestamp(conn: Connection, seg: Segment, now: Micros) -> None:
    """Remember the timestamp to echo (RFC 7323 §4.3)."""
    if conn.ts_on and seg.ts_val >= 0 and seq_le(seg.seq, conn.last_ack_sent):
        conn.ts_recent = seg.ts_val
        conn.ts_recent_at = now


def _take_ack(conn: Connection, seg: Segment, now: Micros, out: FrameSink) -> bool:
    """Process the acknowledgment number; return whether the rest of the segment is to be processed."""
    if conn.state == SYN_RECEIVED:
        if seg.ack != conn.snd_nxt:
            out.write(emit_rst_for(conn.settings.scratch, conn.ends, seg))
            return False
        _establish(conn, seg, now)
    if seq_lt(conn.snd_nxt, seg.ack):
        send_ack(conn, now, out)  # something not yet sent
        return False
    acked = seq_sub(seg.ack, conn.snd_una)
    if acked < 0:
        if -acked > conn.max_snd_wnd:
            send_challenge(conn, now, out)  # RFC 5961 §5
            return False
        return True
    told = conn.sack_on and seg.sack_count > 0 and take_sack(conn, seg, now)
    if conn.ecn_sends and seg.flags & ECE:
        take_echo(conn, seg.ack, now)
    if acked > 0:
        on_new_ack(conn, seg.ack, acked, seg.ts_ecr, now)
        _take_fin_ack(conn, now)
    elif told or _is_duplicate_ack(conn, seg):
        on_duplicate_ack(conn, now)
    _take_send_window(conn, seg, acked)
    return conn.state != CLOSED


def _establish(conn: Connection, seg: Segment, now: Micros) -> None:
    enter(conn, ESTABLISHED)
    on_new_ack(conn, conn.snd_nxt, 0, seg.ts_ecr, now)
    conn.snd_wl1 = seq_sub(seg.seq, 1) & 0xFFFF_FFFF  # so that this segment updates the window
    start_keepalive(conn, now)
    if conn.fin_queued:
        enter(conn, FIN_WAIT_1)


def _is_duplicate_ack(conn: Connection, seg: Segment) -> bool:
    """Tell whether this is a duplicate as RFC 5681 §2 defines it; acked is known to be 0.

    Where SACK was agreed on, only a block that is new makes a duplicate (RFC 6675 §2): others answer
    duplicates of ours, probes and forgeries, and tell of no gap.
    """
    return (
        not conn.sack_on
        and conn.snd_nxt != conn.snd_una
        and seg.length == 0
        and not seg.flags & FIN
        and seg.wnd << conn.snd_shift == conn.snd_wnd
    )


def _take_fin_ack(conn: Connection, now: Micros) -> None:
    if not conn.fin_sent or conn.snd_una != conn.snd_nxt:
        return
    if conn.state == FIN_WAIT_1:
        enter(conn, FIN_WAIT_2)
    elif conn.state == CLOSING:
        _enter_time_wait(conn, now)
    elif conn.state == LAST_ACK:
        close_down(conn, FINISHED)


def _take_send_window(conn: Connection, seg: Segment, acked: i64) -> None:
    """Follow the peer's window, newest segment first (RFC 9293 §3.10.7.4, fifth).

    A segment that acknowledges something new is the newest, also where it is an old one sent again; the RFC
    would go on with a window that belongs to a lower acknowledgment.
    """
    if (
        acked > 0
        or seq_lt(conn.snd_wl1, seg.seq)
        or (conn.snd_wl1 == seg.seq and seq_le(conn.snd_wl2, seg.ack))
    ):
        conn.snd_wnd = seg.wnd << conn.snd_shift
        conn.snd_wl1 = seg.seq
        conn.snd_wl2 = seg.ack
        conn.max_snd_wnd = max(conn.max_snd_wnd, conn.snd_wnd)
        conn.probes_lost = 0
        if conn.snd_wnd > 0:
            conn.persist_at = -1
            conn.probes = 0


def _take_text(conn: Connection, seg: Segment, now: Micros, out: FrameSink) -> None:
    """Deliver what is in order, keep what is ahead of a gap, and decide when to acknowledge."""
    if conn.state != ESTABLISHED and conn.state != FIN_WAIT_1 and conn.state != FIN_WAIT_2:
        return
    start = seq_sub(conn.rcv_nxt, seg.seq)  # octets of the payload that we have
    stop = min(seg.length, seq_sub(conn.rcv_adv, seg.seq))
    if stop <= start:
        conn.ack_now = True
        return
    if conn.ecn_on:
        take_marks(conn, seg)
    assembler = conn.assembler
    if start < 0:
        if assembler is None:
            assembler = conn.assembler = Assembler()
        is_new = assembler.insert(seg.seq, seg.frame[seg.data_off : seg.data_off + stop])
        if not is_new and stop == seg.length:
            note_duplicate(conn, seg)
        # RFC 5681 §4.2: at once, one for each, and bare: with data it would not count as a duplicate
        send_ack(conn, now, out)
        return
    # a view of a small part would pin much more than is counted
    if start == 0 and stop > COPY_BELOW and 2 * stop >= i64(len(seg.frame)):
        _deliver(conn, memoryview(seg.frame)[seg.data_off : seg.data_off + stop], stop)
    else:
        _deliver(conn, seg.frame[seg.data_off + start : seg.data_off + stop], stop - start)
    if assembler is not None and assembler.held > 0:
        piece = assembler.take(conn.rcv_nxt)
        while piece is not None:
            _deliver(conn, piece, len(piece))
            piece = assembler.take(conn.rcv_nxt)
        conn.ack_now = True
    if conn.unacked >= conn.ack_every:  # RFC 9293 §3.8.6.3
        conn.ack_now = True
    elif conn.ack_at < 0:
        conn.ack_at = now + DELAYED_ACK


def _deliver(conn: Connection, data: bytes | memoryview, size: i64) -> None:
    conn.rcv_nxt = seq_add(conn.rcv_nxt, size)
    conn.rcv_queued += size
    conn.unacked += size
    queue = conn.rcv_queue
    if size < JOIN_BELOW and len(queue) > 0:
        last = queue[-1]
        if isinstance(last, bytes) and isinstance(data, bytes) and len(last) < COPY_BELOW:
            queue[-1] = last + data
            return
    queue.append(data)


def _take_fin(conn: Connection, seg: Segment, now: Micros) -> None:
    """Process a FIN once everything before it has arrived (RFC 9293 §3.10.7.4, eighth)."""
    if seg.flags & FIN:
        fin_seq = seq_add(seg.seq, seg.length)
        if seq_lt(conn.rcv_nxt, fin_seq):
            if seq_le(fin_seq, conn.rcv_adv):
                conn.fin_seq = fin_seq
                if seg.length == 0:
                    conn.ack_now = True  # at once, as for data ahead of a gap
            return
    else:
        fin_seq = conn.fin_seq
    if fin_seq != conn.rcv_nxt:
        return
    state = conn.state
    if state == ESTABLISHED:
        enter(conn, CLOSE_WAIT)
        if conn.ack_at < 0:
            conn.ack_at = now + DELAYED_ACK  # our own FIN often follows and carries it
    elif state == FIN_WAIT_1:
        enter(conn, CLOSING)
        conn.ack_now = True
    elif state == FIN_WAIT_2:
        _enter_time_wait(conn, now)
        conn.ack_now = True
    else:
        return
    conn.rcv_nxt = seq_add(conn.rcv_nxt, 1)
    conn.rcv_adv = seq_max(conn.rcv_adv, conn.rcv_nxt)  # the FIN may lie right behind the window
    conn.fin_seq = -1
    conn.assembler = None


def _enter_time_wait(conn: Connection, now: Micros) -> None:
    enter(conn, TIME_WAIT)
    conn.time_wait_at = now + TIME_WAIT_LENGTH
    conn.rto_at = -1
    conn.persist_at = -1
    conn.resume_at = -1
    conn.keepalive_at = -1
    conn.recovery = None


def _on_syn_sent(conn: Connection, seg: Segment, now: Micros, out: FrameSink) -> None:
    """Process a segment in SYN-SENT (RFC 9293 §3.10.7.3)."""
    if seg.flags & ACK and seg.ack != conn.snd_nxt:
        if not seg.flags & RST:
            out.write(emit_rst_for(conn.settings.scratch, conn.ends, seg))
        return
    if seg.flags & RST:
        if seg.flags & ACK:
            close_down(conn, RESET_BY_PEER)
        return
    if not seg.flags & SYN or not seg.flags & ACK:
        return  # a simultaneous open cannot happen to a connection of ours: nobody knows our port
    conn.irs = seg.seq
    conn.rcv_nxt = seq_add(seg.seq, 1)
    conn.rcv_adv = seq_add(conn.rcv_nxt, conn.rcv_adv)  # our SYN offered it from 0
    if not is_answer_to_ecn(seg):
        conn.ecn_on = conn.ecn_sends = False
    take_syn_options(conn, seg)
    conn.ts_recent_at = now
    enter(conn, ESTABLISHED)
    on_new_ack(conn, seg.ack, 0, seg.ts_ecr, now)
    start_keepalive(conn, now)
    conn.ack_now = True
    if conn.fin_queued:
        enter(conn, FIN_WAIT_1)
