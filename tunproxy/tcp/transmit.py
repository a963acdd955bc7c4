"""The sending half: what goes out now (RFC 9293 §3.8, §3.10.7, RFC 6675 §5).

``transmit`` is the one entry: first what was lost, then new octets, then an acknowledgment if one is
still due. Super-packets of up to ``snd_burst`` octets leave in one piece for the device to cut.
"""

from typing import Final

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.tcp.connection import Connection, free_space, pipe
from tunproxy.tcp.dsack import sack_blocks
from tunproxy.tcp.seq import seq_add, seq_le, seq_lt, seq_max, seq_sub
from tunproxy.tcp.state import SYN_RECEIVED, SYN_SENT, sends_data
from tunproxy.tcp.tlp import arm_probe
from tunproxy.wire.sink import FrameSink
from tunproxy.wire.tcp import ACK, FIN, PSH, RST, SYN, emit_tcp
from tunproxy.wire.tcp_options import (
    TIMESTAMPS_LEN,
    put_sack,
    put_syn_options,
    put_timestamps,
    syn_options_len,
)

CHALLENGE_LIMIT: Final[i64] = 10  # RFC 5961 §7: a second

# our choices
JOIN_BELOW: Final[i64] = 16384  # below this joining header and payload costs less than handing over pieces
OVERDRAFT: Final[i64] = 1 << 16  # what may be promised beyond rcv_buf because an edge never moves left


def transmit(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Send everything that may be sent now, with or as the acknowledgment that is due."""
    if sends_data(conn.state):
        if conn.rack.lost_octets > 0:
            _send_lost(conn, now, out)
        elif conn.rtx_nxt != conn.lost_until:
            _send_lost_without_sack(conn, now, out)
        if (
            conn.rack.lost_octets == 0
            and conn.rtx_nxt == conn.lost_until
            and (conn.buffer.length != conn.flight_size or (conn.fin_queued and not conn.fin_sent))
        ):
            _send_new(conn, now, out)
        if conn.in_recovery and conn.sack_on and conn.rack.lost_octets == 0:
            _send_doubtful(conn, now, out)
    if conn.ack_now:
        send_ack(conn, now, out)


def _room(conn: Connection) -> i64:
    """Return how many octets congestion control lets out now."""
    if conn.prr.is_on:
        return conn.prr.room
    return conn.congestion.cwnd - pipe(conn)


def _send_lost(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Send again what is lost, as far as congestion control allows.

    The first segment goes whatever that says (RFC 6675 §5 step 4.3).
    """
    rack = conn.rack
    while rack.lost_octets > 0:
        first = rack.lost[0]
        left = first.seq
        size = _size_again(conn, left, first.end, _room(conn))
        if size == 0:
            return
        _emit_again(conn, left, size, now, out)
        rack.sent_lost(size, now)


def _size_again(conn: Connection, left: i64, right: i64, room: i64) -> i64:
    size = min(seq_sub(right, left), conn.snd_burst)
    if size > room:
        size = max(room - room % conn.snd_mss, 0)
        if size == 0 and left == conn.snd_una:
            size = min(seq_sub(right, left), conn.snd_mss)
    return size


def _emit_again(conn: Connection, left: i64, size: i64, now: Micros, out: FrameSink) -> None:
    data_end = seq_add(conn.snd_una, conn.buffer.length)
    has_fin = conn.fin_sent and seq_add(left, size) == seq_add(data_end, 1)
    conn.rtt_seq = -1  # Karn: an acknowledgment would be ambiguous
    conn.retransmits += 1
    conn.undo_octets += size
    _emit_data(conn, left, size - 1 if has_fin else size, FIN if has_fin else 0, now, out)
    if conn.prr.is_on:
        conn.prr.on_sent(size)
    if conn.rto_at < 0 or left == conn.snd_una:
        conn.rto_at = now + conn.rtt.rto  # what it waits for has just been sent


def _send_lost_without_sack(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Send again what lies in [rtx_nxt, lost_until), in the same way."""
    if seq_lt(conn.rtx_nxt, conn.snd_una):
        conn.rtx_nxt = conn.snd_una
    while seq_lt(conn.rtx_nxt, conn.lost_until):
        left = conn.rtx_nxt
        size = _size_again(conn, left, conn.lost_until, _room(conn))
        if size == 0:
            return
        _emit_again(conn, left, size, now, out)
        conn.rtx_nxt = seq_add(left, size)


def _send_doubtful(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Send a segment again that may be lost, where nothing else can use the room (RFC 6675 §4 NextSeg 3).

    At the end of a transfer too few segments follow to prove a loss; it would take a time-out.
    """
    board = conn.scoreboard
    mss = conn.snd_mss
    if board is None or board.is_empty or _room(conn) < mss:
        return
    left = conn.rack.first_doubtful(board.highest)
    if left >= 0:
        right = conn.rack.doubtful_end(left, mss)
        _emit_again(conn, left, seq_sub(right, left), now, out)
        conn.rack.sent_again(left, right, now)


def _send_new(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Send octets and the FIN that were not sent before, as windows allow."""
    mss = conn.snd_mss
    before = conn.snd_nxt
    while not conn.fin_sent:
        flight_size = conn.flight_size
        available = conn.buffer.length - flight_size
        room = min(conn.snd_wnd - flight_size, _room(conn))
        size = min(min(available, room), conn.snd_burst)
        if size < available and size > mss:
            size -= size % mss
        elif 0 < size < mss and size < available and flight_size > 0 and size * 2 < conn.max_snd_wnd:
            size = 0  # silly window avoidance (RFC 9293 §3.8.6.2.1)
        has_fin = conn.fin_queued and size == available and room > size
        if size <= 0 and not has_fin:
            break
        size = max(size, 0)
        _emit_new(conn, size, PSH if size == available else 0, has_fin, now, out)
    if conn.sack_on and conn.snd_nxt != before:
        arm_probe(conn, now)
    is_blocked = conn.buffer.length > 0 or (conn.fin_queued and not conn.fin_sent)
    if is_blocked and conn.snd_nxt == conn.snd_una and conn.persist_at < 0:
        conn.persist_at = now + conn.rtt.rto


def _emit_new(conn: Connection, size: i64, flags: i64, has_fin: bool, now: Micros, out: FrameSink) -> None:
    seq = conn.snd_nxt
    _emit_data(conn, seq, size, flags | FIN if has_fin else flags, now, out)
    end = seq_add(seq, size + 1 if has_fin else size)
    conn.snd_nxt = end
    if conn.sack_on:
        conn.rack.sent(seq, end, now)
        if conn.prr.is_on:
            conn.prr.on_sent(seq_sub(end, seq))
    elif conn.dupacks > 0 and not conn.in_recovery:
        conn.limited += size
    if conn.rtt_seq < 0:
        conn.rtt_seq = end
        conn.rtt_at = now
    if not conn.in_recovery:
        conn.rtx_nxt = end
        conn.lost_until = end
    conn.fin_sent = has_fin
    if conn.rto_at < 0:
        conn.rto_at = now + conn.rtt.rto
    conn.persist_at = -1


def send_loss_probe(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Send one segment after a silence, new data or the last again, whatever cwnd says (RFC 8985 §7.3)."""
    conn.tlp_count += 1
    if conn.in_recovery:
        _probe_in_recovery(conn, now, out)
    else:
        _probe_tail(conn, now, out)
    conn.rto_at = now + conn.rtt.rto
    arm_probe(conn, now)


def _probe_in_recovery(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Send again what has waited longest: nothing that could prove its loss is under way."""
    rack = conn.rack
    if rack.lost_octets > 0:
        first = rack.lost[0]
        size = min(seq_sub(first.end, first.seq), conn.snd_mss)
        _emit_again(conn, first.seq, size, now, out)
        rack.sent_lost(size, now)
        return
    oldest = rack.oldest()
    if oldest is not None:
        left = oldest.seq
        right = seq_add(left, min(seq_sub(oldest.end, left), conn.snd_mss))
        conn.congestion.on_lost_again()
        _emit_again(conn, left, seq_sub(right, left), now, out)
        rack.sent_again(left, right, now)
        conn.reduced_order = rack.sent_order


def _probe_tail(conn: Connection, now: Micros, out: FrameSink) -> None:
    flight_size = conn.flight_size
    if conn.tlp_end >= 0 and conn.tlp_is_again and seq_le(conn.tlp_end, conn.snd_una):
        conn.congestion.on_loss(flight_size)  # no D-SACK came: the probe before this made up for a loss
    available = conn.buffer.length - flight_size
    conn.tlp_is_again = available <= 0 or conn.fin_sent or conn.snd_wnd - flight_size < conn.snd_mss
    if conn.tlp_is_again:
        size = min(flight_size, conn.snd_mss)
        left = (conn.snd_nxt - size) & 0xFFFF_FFFF
        _emit_again(conn, left, size, now, out)
        conn.rack.sent_again(left, conn.snd_nxt, now)
    else:
        size = min(available, conn.snd_mss)
        has_fin = conn.fin_queued and size == available and conn.snd_wnd - flight_size > size
        _emit_new(conn, size, PSH if size == available else 0, has_fin, now, out)
    conn.tlp_end = conn.snd_nxt


def _emit_data(conn: Connection, seq: i64, size: i64, flags: i64, now: Micros, out: FrameSink) -> None:
    scratch = conn.settings.scratch
    wnd = take_window(conn)
    gso_size: i64 = conn.snd_mss if size > conn.snd_mss else 0
    options_len: i64 = TIMESTAMPS_LEN if conn.ts_on else 0
    emit_tcp(scratch, conn.ends, seq, conn.rcv_nxt, ACK | flags, wnd, options_len, size, gso_size)
    if conn.ts_on:
        put_timestamps(scratch, ts_now(conn, now), conn.ts_recent)
    if size > 0:
        pieces = conn.buffer.gather(seq_sub(seq, conn.snd_una), size)
        if size >= JOIN_BELOW:
            out.write_parts(scratch.getvalue(), pieces)
            return
        for piece in pieces:
            scratch.write(piece if isinstance(piece, bytes) else bytes(piece))
    out.write(scratch.getvalue())


def send_ack(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Send a bare acknowledgment, with SACK blocks when data waits ahead of a gap."""
    _emit_bare(conn, conn.snd_nxt, now, out)


def send_probe(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Ask for the peer's window with an old sequence number, which it must answer.

    Deviates from RFC 9293 §3.8.6.1, which sends one octet of new data: as the kernel does, so that a
    probe changes nothing.
    """
    _emit_bare(conn, seq_sub(conn.snd_una, 1) & 0xFFFF_FFFF, now, out)


def _emit_bare(conn: Connection, seq: i64, now: Micros, out: FrameSink) -> None:
    scratch = conn.settings.scratch
    wnd = take_window(conn)
    options_len: i64 = TIMESTAMPS_LEN if conn.ts_on else 0
    blocks: list[tuple[i64, i64]] | None = None
    if conn.sack_on and (conn.dsack_left >= 0 or (conn.assembler is not None and conn.assembler.held > 0)):
        blocks = sack_blocks(conn)
        options_len += 4 + 8 * i64(len(blocks)) if len(blocks) > 0 else 0
    emit_tcp(scratch, conn.ends, seq, conn.rcv_nxt, ACK, wnd, options_len, 0, 0)
    if conn.ts_on:
        put_timestamps(scratch, ts_now(conn, now), conn.ts_recent)
    if blocks is not None and len(blocks) > 0:
        put_sack(scratch, blocks)
    out.write(scratch.getvalue())


def send_syn(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Send our SYN, with the options that we offer or that the peer offered (RFC 9293 §3.10.7.2)."""
    scratch = conn.settings.scratch
    is_answer = conn.state == SYN_RECEIVED
    wnd = min(free_space(conn), 0xFFFF)
    conn.rcv_adv = seq_max(conn.rcv_adv, seq_add(conn.rcv_nxt, wnd))
    conn.last_ack_sent = conn.rcv_nxt
    shift: i64 = conn.rcv_shift if conn.rcv_shift > 0 else -1
    ts_val: i64 = ts_now(conn, now) if conn.ts_on else -1
    options_len = syn_options_len(shift, conn.sack_on, ts_val)
    emit_tcp(
        scratch, conn.ends, conn.iss, conn.rcv_nxt if is_answer else 0, SYN | ACK if is_answer else SYN, wnd,
        options_len, 0, 0,
    )  # fmt: skip
    put_syn_options(scratch, conn.rcv_mss, shift, conn.sack_on, ts_val, conn.ts_recent)
    out.write(scratch.getvalue())


def send_rst(conn: Connection, out: FrameSink) -> None:
    """Send a reset that the peer will accept, whatever it has received."""
    scratch = conn.settings.scratch
    if conn.state == SYN_SENT:
        emit_tcp(scratch, conn.ends, conn.snd_nxt, 0, RST, 0, 0, 0, 0)
    elif conn.state == SYN_RECEIVED and not conn.is_answered:
        emit_tcp(scratch, conn.ends, 0, conn.rcv_nxt, RST | ACK, 0, 0, 0, 0)
    else:
        emit_tcp(scratch, conn.ends, conn.snd_nxt, conn.rcv_nxt, RST | ACK, 0, 0, 0, 0)
    out.write(scratch.getvalue())


def send_challenge(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Answer a suspicious segment with an acknowledgment, CHALLENGE_LIMIT a second (RFC 5961 §3, §7)."""
    if conn.challenges_at < 0 or now - conn.challenges_at >= 1_000_000:
        conn.challenges_at = now
        conn.challenge_count = 0
    if conn.challenge_count < CHALLENGE_LIMIT:
        conn.challenge_count += 1
        send_ack(conn, now, out)


def take_window(conn: Connection) -> i64:
    """Return the window field to send now, and note that everything up to rcv_nxt is thereby acknowledged.

    The right edge never moves left (RFC 9293 §3.8.6); it moves right only by a segment or more, or half the
    buffer, which is silly window avoidance on our side (RFC 9293 §3.8.6.2.2). Where it stands still but the
    field cannot say so, it is rounded up, as far as OVERDRAFT goes; beyond that down, and what lies between
    is taken all the same (RFC 7323 §2.4).
    """
    conn.ack_now = False
    conn.ack_at = -1
    conn.unacked = 0
    conn.last_ack_sent = conn.rcv_nxt
    offered = max(seq_sub(conn.rcv_adv, conn.rcv_nxt), 0)
    free = conn.settings.rcv_buf - conn.rcv_queued
    if free >= offered + min(conn.rcv_mss, conn.settings.rcv_buf >> 1):
        field = free >> conn.rcv_shift
    else:
        field = (offered + (1 << conn.rcv_shift) - 1) >> conn.rcv_shift
        if field << conn.rcv_shift > free + OVERDRAFT:
            field = offered >> conn.rcv_shift
    field = min(field, 0xFFFF)
    edge = seq_add(conn.rcv_nxt, field << conn.rcv_shift)
    if seq_lt(conn.rcv_adv, edge):
        conn.rcv_adv = edge
    return field


def ts_now(conn: Connection, now: Micros) -> i64:
    """Return our timestamp clock, which ticks once a millisecond from a secret start (RFC 7323 §5.4)."""
    return (now // 1000 + conn.ts_offset) & 0xFFFF_FFFF
