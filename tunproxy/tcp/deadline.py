"""Timers as numbers: when something is due, and what is done then."""

from typing import Final

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.tcp.connection import FINISHED, TIMED_OUT, Connection, close_down
from tunproxy.tcp.keepalive import on_keepalive
from tunproxy.tcp.recovery import on_reordering_timer, on_timeout
from tunproxy.tcp.rtt import RTO_MAX
from tunproxy.tcp.segments import send_probe, send_rst, send_syn
from tunproxy.tcp.state import CLOSED, SYN_RECEIVED, SYN_SENT
from tunproxy.tcp.transmit import send_loss_probe, transmit
from tunproxy.wire.sink import FrameSink

# our choices
R2_SYN: Final[i64] = 7  # from 1 s doubling, 60 s at most: 183 s, where RFC 9293 §3.8.3 asks for 3 minutes
R2: Final[i64] = 10  # from 200 ms doubling: 204 s, where RFC 9293 §3.8.3 asks for at least 100 s
R2_PROBES: Final[i64] = 15


def next_deadline(conn: Connection) -> Micros:
    """Return when on_deadline is to be called, -1 for never."""
    due: Micros = conn.rto_at
    if conn.probe_at >= 0 and (due < 0 or conn.probe_at < due):
        due = conn.probe_at
    if conn.reorder_at >= 0 and (due < 0 or conn.reorder_at < due):
        due = conn.reorder_at
    if conn.ack_at >= 0 and (due < 0 or conn.ack_at < due):
        due = conn.ack_at
    if conn.persist_at >= 0 and (due < 0 or conn.persist_at < due):
        due = conn.persist_at
    if conn.resume_at >= 0 and (due < 0 or conn.resume_at < due):
        due = conn.resume_at
    if conn.time_wait_at >= 0 and (due < 0 or conn.time_wait_at < due):
        due = conn.time_wait_at
    if conn.keepalive_at >= 0 and (due < 0 or conn.keepalive_at < due):
        due = conn.keepalive_at
    return due


def on_deadline(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Do everything that is due at now; nothing when nothing is."""
    if 0 <= conn.time_wait_at <= now:
        close_down(conn, FINISHED)
        return
    if 0 <= conn.rto_at <= now:
        _on_rto(conn, now, out)
    if 0 <= conn.reorder_at <= now:
        on_reordering_timer(conn, now)
    if 0 <= conn.probe_at <= now:
        send_loss_probe(conn, now, out)
    if 0 <= conn.persist_at <= now and conn.state != CLOSED:
        _on_persist(conn, now, out)
    if 0 <= conn.resume_at <= now:
        conn.resume_at = -1
    if 0 <= conn.keepalive_at <= now:  # never in CLOSED
        on_keepalive(conn, now, out)
    if 0 <= conn.ack_at <= now:
        conn.ack_now = True
    if conn.state != CLOSED:
        transmit(conn, now, out)


def _on_rto(conn: Connection, now: Micros, out: FrameSink) -> None:
    is_opening = conn.state == SYN_RECEIVED or conn.state == SYN_SENT
    if conn.snd_wnd == 0 and not is_opening:  # the peer took its window back: these are probes now
        is_over = conn.probes_lost >= R2_PROBES
        conn.probes_lost += 1
    else:
        is_over = conn.timeouts >= (R2_SYN if is_opening else R2)
    if is_over:
        send_rst(conn, out)
        close_down(conn, TIMED_OUT)
        return
    if is_opening:
        conn.timeouts += 1
        conn.rtt.back_off()
        conn.rtt_seq = -1
        conn.rto_at = now + conn.rtt.rto
        if conn.state == SYN_SENT:
            conn.ecn_sends = False  # somebody on the way may drop SYNs with these bits (RFC 3168 §6.1.1.1)
        send_syn(conn, now, out)
    else:
        on_timeout(conn, now)


def _on_persist(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Probe a closed window, ever more slowly (RFC 9293 §3.8.6.1).

    As long as probes are answered the connection stays, however long.
    """
    if conn.probes_lost >= R2_PROBES:
        send_rst(conn, out)
        close_down(conn, TIMED_OUT)
        return
    conn.probes_lost += 1
    send_probe(conn, now, out)
    conn.persist_at = now + min(conn.rtt.rto << min(conn.probes, 10), RTO_MAX)
    conn.probes += 1
