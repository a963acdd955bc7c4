"""The segments we make: data, acknowledgments, SYNs, resets, and the window that is in them (RFC 9293 §3.10).

Nothing is decided here: what goes out when is for ``transmit``, ``retransmit`` and those who answer.
"""

from typing import Final

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.tcp.connection import Connection, free_space
from tunproxy.tcp.dsack import sack_blocks
from tunproxy.tcp.seq import seq_add, seq_lt, seq_max, seq_sub
from tunproxy.tcp.state import SYN_RECEIVED, SYN_SENT
from tunproxy.wire.sink import FrameSink
from tunproxy.wire.tcp import ACK, CWR, ECE, RST, SYN, emit_tcp, make_ecn_capable
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


def send_data(conn: Connection, seq: i64, size: i64, flags: i64, now: Micros, out: FrameSink) -> None:
    """Send size octets from seq on, sent before or not; of conn's sending half only cwr_due changes."""
    scratch = conn.settings.scratch
    wnd = take_window(conn)
    gso_size: i64 = conn.snd_mss if size > conn.snd_mss else 0
    options_len: i64 = TIMESTAMPS_LEN if conn.ts_on else 0
    flags |= ACK | conn.ece
    emit_tcp(scratch, conn.ends, seq, conn.rcv_nxt, flags, wnd, options_len, size, gso_size)
    if conn.ecn_sends and size > 0 and seq == conn.snd_nxt:  # never what is sent again (RFC 3168 §6.1.5)
        make_ecn_capable(scratch, conn.ends, conn.cwr_due, gso_size)
        conn.cwr_due = False
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
    emit_tcp(scratch, conn.ends, seq, conn.rcv_nxt, ACK | conn.ece, wnd, options_len, 0, 0)
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
    flags = SYN | ACK if is_answer else SYN
    if conn.ecn_sends:  # RFC 3168 §6.1.1
        flags |= ECE if is_answer else ECE | CWR
    ack = conn.rcv_nxt if is_answer else 0
    emit_tcp(scratch, conn.ends, conn.iss, ack, flags, wnd, options_len, 0, 0)
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
    free = conn.rcv_buf - conn.rcv_queued
    if free >= offered + min(conn.rcv_mss, conn.rcv_buf >> 1):
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
