"""Opening from a SYN that somebody else sent: kept unanswered until the target is known to answer.

SYN arrives ── open_passive ──▶ SYN-RECEIVED, silent ── accept ──▶ SYN, ACK sent
                                                      └ refuse ──▶ RST sent, CLOSED

Where too many wait, the SYN is answered and forgotten (``cookie``):

SYN arrives ── answer_with_cookie ──▶ SYN, ACK sent, nothing kept
ACK arrives ── Cookies.recall ── reopen ──▶ SYN-RECEIVED, for ``receive`` to take the ACK
"""

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.tcp.congestion import initial_window
from tunproxy.tcp.connection import (
    DEFAULT_MSS,
    DEFAULT_MSS_V6,
    RCV_SHIFT,
    RESET_BY_US,
    Connection,
    Settings,
    close_down,
    free_space,
    set_send_mss,
)
from tunproxy.tcp.cookie import marked, options_of
from tunproxy.tcp.ecn import is_agreed
from tunproxy.tcp.segments import send_rst, send_syn
from tunproxy.tcp.seq import seq_add
from tunproxy.tcp.state import SYN_RECEIVED
from tunproxy.wire.ip import Endpoints
from tunproxy.wire.sink import FrameSink
from tunproxy.wire.tcp import ACK, ECE, SYN, Segment, emit_tcp
from tunproxy.wire.tcp_options import TIMESTAMPS_LEN, put_syn_options, syn_options_len


def open_passive(ends: Endpoints, settings: Settings, seg: Segment, iss: i64, ts_offset: i64) -> Connection:
    """Return a connection in SYN-RECEIVED for this SYN, not answered yet (RFC 9293 §3.10.7.2).

    iss and ts_offset are 32-bit numbers that an outsider cannot guess (RFC 6528, RFC 7323 §5.4). Data on
    the SYN is left to be sent again (RFC 7413 §3).
    """
    conn = Connection(ends, settings, iss, SYN_RECEIVED)
    conn.ts_offset = ts_offset
    conn.irs = seg.seq
    conn.rcv_nxt = seq_add(seg.seq, 1)
    conn.rcv_adv = conn.rcv_nxt
    conn.ecn_on = conn.ecn_sends = is_agreed(settings, seg)
    take_syn_options(conn, seg)
    return conn


def take_syn_options(conn: Connection, seg: Segment) -> None:
    """Settle options, window and sizes from the peer's SYN."""
    conn.sack_on = seg.sack_permitted
    conn.ts_on = seg.ts_val >= 0
    if conn.ts_on:
        conn.ts_recent = seg.ts_val
        conn.ack_every = 2 * (conn.rcv_mss - TIMESTAMPS_LEN)
    if seg.wnd_shift >= 0:
        conn.snd_shift = seg.wnd_shift
        conn.rcv_shift = RCV_SHIFT
    else:
        conn.snd_shift = 0
        conn.rcv_shift = 0
    conn.snd_wnd = seg.wnd  # never scaled in a SYN (RFC 7323 §2.2)
    conn.max_snd_wnd = seg.wnd
    conn.snd_wl1 = seg.seq
    conn.snd_wl2 = conn.iss
    default = DEFAULT_MSS_V6 if conn.ends.is_ipv6 else DEFAULT_MSS
    set_send_mss(conn, seg.mss if seg.mss > 0 else default)
    if conn.settings.cwnd == 0:
        conn.congestion.cwnd = initial_window(conn.snd_mss)


def accept(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Answer the SYN: the target has answered ours."""
    conn.is_answered = True
    conn.ts_recent_at = now
    conn.snd_nxt = seq_add(conn.iss, 1)
    conn.rtt_seq = conn.snd_nxt
    conn.rtt_at = now
    conn.rto_at = now + conn.rtt.rto
    send_syn(conn, now, out)


def refuse(conn: Connection, out: FrameSink) -> None:
    """Answer the SYN with a reset: the target refused (RFC 9293 §3.5.2)."""
    send_rst(conn, out)
    close_down(conn, RESET_BY_US)


def answer_with_cookie(
    ends: Endpoints,
    settings: Settings,
    syn: Segment,
    cookie: i64,
    ts_offset: i64,
    now: Micros,
    out: FrameSink,
) -> None:
    """Answer a SYN whose connection is not kept: cookie is our initial number (RFC 4987 §3.6).

    The options are those that the ACK will bring back; ts_offset must be the same then.
    """
    has_ts = syn.ts_val >= 0
    has_sack = has_ts and syn.sack_permitted
    shift: i64 = RCV_SHIFT if has_ts and syn.wnd_shift >= 0 else -1
    ts_val: i64 = marked(now // 1000 + ts_offset, options_of(syn)) if has_ts else -1
    options_len = syn_options_len(shift, has_sack, ts_val)
    scratch = settings.scratch
    wnd = min(settings.rcv_buf, 0xFFFF)
    flags = SYN | ACK | ECE if has_ts and is_agreed(settings, syn) else SYN | ACK
    emit_tcp(scratch, ends, cookie, seq_add(syn.seq, 1), flags, wnd, options_len, 0, 0)
    put_syn_options(scratch, settings.mtu - ends.header_len - 20, shift, has_sack, ts_val, syn.ts_val)
    out.write(scratch.getvalue())


def reopen(
    ends: Endpoints, settings: Settings, syn: Segment, cookie: i64, ts_offset: i64, now: Micros
) -> Connection:
    """Return the connection of a SYN that was answered with this cookie: in SYN-RECEIVED, as after accept.

    The caller has ``receive`` take the segment that brought the cookie back, which establishes it.
    """
    conn = open_passive(ends, settings, syn, cookie, ts_offset)
    conn.is_answered = True
    conn.ts_recent_at = now
    conn.snd_nxt = seq_add(cookie, 1)
    conn.rcv_adv = seq_add(conn.rcv_nxt, min(free_space(conn), 0xFFFF))
    conn.last_ack_sent = conn.rcv_nxt
    return conn
