"""The sending half: what goes out now (RFC 9293 §3.8, §3.10.7, RFC 6675 §5).

``transmit`` is the one entry: first what was lost, then new octets, then an acknowledgment if one is
still due. Super-packets of up to ``snd_burst`` octets leave in one piece for the device to cut.
"""

from typing import Final

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.tcp.connection import Connection, free_space
from tunproxy.tcp.seq import seq_add, seq_lt, seq_max, seq_sub
from tunproxy.tcp.state import (
    CLOSE_WAIT,
    CLOSING,
    ESTABLISHED,
    FIN_WAIT_1,
    LAST_ACK,
    SYN_RECEIVED,
    SYN_SENT,
)
from tunproxy.wire.sink import FrameSink
from tunproxy.wire.tcp import ACK, FIN, PSH, RST, SYN, emit_tcp
from tunproxy.wire.tcp_options import (
    MAX_SACK_BLOCKS,
    TIMESTAMPS_LEN,
    put_sack,
    put_syn_options,
    put_timestamps,
)

CHALLENGE_LIMIT: Final[i64] = 10  # RFC 5961 §7: a second

# our choices
JOIN_BELOW: Final[i64] = 16384  # below this joining header and payload costs less than handing over pieces
OVERDRAFT: Final[i64] = 1 << 16  # what may be promised beyond rcv_buf because an edge never moves left


def transmit(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Send everything that may be sent now, with or as the acknowledgment that is due."""
    state = conn.state
    if (
        state == ESTABLISHED
        or state == CLOSE_WAIT
        or state == FIN_WAIT_1
        or state == CLOSING
        or state == LAST_ACK
    ):
        if conn.rtx_nxt != conn.lost_until:
            _send_lost(conn, now, out)
        if conn.rtx_nxt == conn.lost_until and (
            conn.buffer.length != conn.flight_size or (conn.fin_queued and not conn.fin_sent)
        ):
            _send_new(conn, now, out)
        if conn.in_recovery and conn.rtx_nxt == conn.lost_until:
            _send_doubtful(conn, now, out)
    if conn.ack_now:
        send_ack(conn, now, out)


def _pipe(conn: Connection) -> i64:
    """Return the octets believed to be in the network (RFC 6675 §4 SetPipe)."""
    pipe = conn.flight_size
    board = conn.scoreboard
    if board is not None and not board.is_empty:
        pipe -= board.sacked
    elif conn.in_recovery:
        pipe -= min(conn.dupacks * conn.snd_mss, pipe)
    if conn.rtx_nxt != conn.lost_until:
        pipe -= seq_sub(conn.lost_until, conn.rtx_nxt)
        if board is not None:
            pipe += board.sacked_between(conn.rtx_nxt, conn.lost_until)
    return pipe


def _send_lost(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Send again what lies in [rtx_nxt, lost_until) and has not arrived, as far as cwnd allows.

    The first segment goes whatever cwnd says (RFC 6675 §5 step 4.3).
    """
    if seq_lt(conn.rtx_nxt, conn.snd_una):
        conn.rtx_nxt = conn.snd_una
    data_end = seq_add(conn.snd_una, conn.buffer.length)
    while seq_lt(conn.rtx_nxt, conn.lost_until):
        left, right = conn.rtx_nxt, conn.lost_until
        if conn.scoreboard is not None:
            left, right = conn.scoreboard.next_hole(left, right)
        if left == right:
            conn.rtx_nxt = conn.lost_until
            return
        size = min(seq_sub(right, left), conn.snd_burst)
        room = conn.congestion.cwnd - _pipe(conn)
        if size > room:
            size = max(room - room % conn.snd_mss, 0)
            if size == 0:
                if left != conn.snd_una:
                    return
                size = min(seq_sub(right, left), conn.snd_mss)
        has_fin = conn.fin_sent and seq_add(left, size) == seq_add(data_end, 1)
        conn.rtt_seq = -1  # Karn: an acknowledgment would be ambiguous
        conn.retransmits += 1
        _emit_data(conn, left, size - 1 if has_fin else size, FIN if has_fin else 0, now, out)
        conn.rtx_nxt = seq_add(left, size)
    if conn.rto_at < 0:
        conn.rto_at = now + conn.rtt.rto


def _send_doubtful(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Send a segment again that may be lost, where nothing else can use the room (RFC 6675 §4 NextSeg 3).

    At the end of a transfer too few segments follow to prove a loss; it would take a time-out.
    """
    board = conn.scoreboard
    mss = conn.snd_mss
    if board is None or board.is_empty or conn.congestion.cwnd - _pipe(conn) < mss:
        return
    left, right = board.next_hole(conn.lost_until, board.highest)
    if left != right:
        conn.rtx_nxt = left
        conn.lost_until = seq_add(left, min(seq_sub(right, left), mss))
        _send_lost(conn, now, out)


def _send_new(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Send octets and the FIN that were not sent before, as windows allow."""
    mss = conn.snd_mss
    while not conn.fin_sent:
        flight_size = conn.flight_size
        available = conn.buffer.length - flight_size
        room = min(conn.snd_wnd - flight_size, conn.congestion.cwnd - _pipe(conn))
        size = min(min(available, room), conn.snd_burst)
        if size < available and size > mss:
            size -= size % mss
        elif 0 < size < mss and size < available and flight_size > 0 and size * 2 < conn.max_snd_wnd:
            size = 0  # silly window avoidance (RFC 9293 §3.8.6.2.1)
        has_fin = conn.fin_queued and size == available and room > size
        if size <= 0 and not has_fin:
            break
        size = max(size, 0)
        flags = PSH if size == available else 0
        _emit_data(conn, conn.snd_nxt, size, flags | FIN if has_fin else flags, now, out)
        conn.snd_nxt = seq_add(conn.snd_nxt, size + 1 if has_fin else size)
        if conn.rtt_seq < 0:
            conn.rtt_seq = conn.snd_nxt
            conn.rtt_at = now
        if not conn.in_recovery:
            conn.rtx_nxt = conn.snd_nxt
            conn.lost_until = conn.snd_nxt
        conn.fin_sent = has_fin
        if conn.rto_at < 0:
            conn.rto_at = now + conn.rtt.rto
        conn.persist_at = -1
    is_blocked = conn.buffer.length > 0 or (conn.fin_queued and not conn.fin_sent)
    if is_blocked and conn.snd_nxt == conn.snd_una and conn.persist_at < 0:
        conn.persist_at = now + conn.rtt.rto


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
    if conn.sack_on and conn.assembler is not None and conn.assembler.held > 0:
        blocks = conn.assembler.blocks(MAX_SACK_BLOCKS)
        options_len += 4 + 8 * i64(len(blocks))
    emit_tcp(scratch, conn.ends, seq, conn.rcv_nxt, ACK, wnd, options_len, 0, 0)
    if conn.ts_on:
        put_timestamps(scratch, ts_now(conn, now), conn.ts_recent)
    if blocks is not None:
        put_sack(scratch, blocks)
    out.write(scratch.getvalue())


def send_syn(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Send our SYN, with the options that we offer or that the peer offered (RFC 9293 §3.10.7.2)."""
    scratch = conn.settings.scratch
    is_answer = conn.state == SYN_RECEIVED
    wnd = min(free_space(conn), 0xFFFF)
    conn.rcv_adv = seq_max(conn.rcv_adv, seq_add(conn.rcv_nxt, wnd))
    conn.last_ack_sent = conn.rcv_nxt
    options_len: i64 = 4
    if conn.sack_on:
        options_len += 4
    if conn.ts_on:
        options_len += TIMESTAMPS_LEN
    if conn.rcv_shift > 0:
        options_len += 4
    emit_tcp(
        scratch, conn.ends, conn.iss, conn.rcv_nxt if is_answer else 0, SYN | ACK if is_answer else SYN, wnd,
        options_len, 0, 0,
    )  # fmt: skip
    put_syn_options(
        scratch,
        conn.rcv_mss,
        conn.rcv_shift if conn.rcv_shift > 0 else -1,
        conn.sack_on,
        ts_now(conn, now) if conn.ts_on else -1,
        conn.ts_recent,
    )
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
