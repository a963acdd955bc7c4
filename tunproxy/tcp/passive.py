"""Opening from a SYN that somebody else sent: kept unanswered until the target is known to answer.

SYN arrives ── open_passive ──▶ SYN-RECEIVED, silent ── accept ──▶ SYN, ACK sent
                                                      └ refuse ──▶ RST sent, CLOSED
"""

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.tcp.congestion import initial_window
from tunproxy.tcp.connection import (
    DEFAULT_MSS,
    RCV_SHIFT,
    RESET_BY_US,
    Connection,
    Settings,
    close_down,
    set_send_mss,
)
from tunproxy.tcp.seq import seq_add
from tunproxy.tcp.state import SYN_RECEIVED
from tunproxy.tcp.transmit import send_rst, send_syn
from tunproxy.wire.ip import Endpoints
from tunproxy.wire.sink import FrameSink
from tunproxy.wire.tcp import Segment
from tunproxy.wire.tcp_options import TIMESTAMPS_LEN


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
    set_send_mss(conn, seg.mss if seg.mss > 0 else DEFAULT_MSS)
    if conn.settings.cwnd == 0:
        conn.congestion.cwnd = initial_window(conn.snd_mss)


def accept(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Answer the SYN: the target has answered ours."""
    conn.is_answered = True
    conn.ts_recent_at = now
    conn.snd_nxt = seq_add(conn.iss, 1)
    conn.rtx_nxt = conn.snd_nxt
    conn.lost_until = conn.snd_nxt
    conn.rtt_seq = conn.snd_nxt
    conn.rtt_at = now
    conn.rto_at = now + conn.rtt.rto
    send_syn(conn, now, out)


def refuse(conn: Connection, out: FrameSink) -> None:
    """Answer the SYN with a reset: the target refused (RFC 9293 §3.5.2)."""
    send_rst(conn, out)
    close_down(conn, RESET_BY_US)
