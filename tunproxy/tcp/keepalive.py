"""Finding out that an idle peer is gone (RFC 9293 §3.8.4).

A client that vanished without a word (its namespace is gone, its program was killed while the device was
down) would leave a flow that holds a descriptor for ever. So a peer that has been silent for a while is
asked: a probe is an acknowledgment with an old sequence number, which every TCP answers. A peer that
answers stays, however long it is idle; there is no other idle timer.

Deviates from RFC 9293 §3.8.4, which has keepalives off by default and two hours apart: those spare networks,
and links that come back after an hour. Here lies only a local device, and what waits behind each flow is
somebody else's server. Settings.keepalive sets the time, 0 switches it off.

  last segment ── keepalive + spread ──▶ probe ─ EVERY ─▶ probe … PROBES of them ─ EVERY ─▶ reset, CLOSED
"""

from typing import Final

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.tcp.connection import TIMED_OUT, Connection, close_down
from tunproxy.tcp.segments import send_probe, send_rst
from tunproxy.tcp.state import has_all_data
from tunproxy.wire.sink import FrameSink

# our choices
# Seven probes in 210 s: a silent peer is not given up sooner than one that owes us an acknowledgment (R2).
EVERY: Final[i64] = 30_000_000
PROBES: Final[i64] = 7
SPREAD_SHIFT: Final[i64] = 2  # flows that began together are asked within a quarter of the time, not at once


def start_keepalive(conn: Connection, now: Micros) -> None:
    """Begin to watch over a connection whose handshake has just ended."""
    conn.heard_at = now
    if conn.settings.keepalive > 0:
        conn.keepalive_at = now + idle_time(conn)


def idle_time(conn: Connection) -> Micros:
    """Return how long the peer may be silent before we ask, in microseconds.

    The low bits of our first sequence number, which nobody can guess, spread the flows.
    """
    time = conn.settings.keepalive
    return time + ((time >> SPREAD_SHIFT) * (conn.iss & 0xFF) >> 8)


def on_keepalive(conn: Connection, now: Micros, out: FrameSink) -> None:
    """Ask a silent peer whether it is there, or give it up when PROBES were not answered.

    The deadline does not move with each segment; when it comes we look at when we last heard something.
    """
    after = idle_time(conn)
    if now - conn.heard_at < after:
        conn.keepalives = 0
        conn.keepalive_at = conn.heard_at + after
    elif _is_asked_already(conn):
        conn.keepalives = 0
        conn.keepalive_at = now + after
    elif conn.keepalives >= PROBES:
        send_rst(conn, out)
        close_down(conn, TIMED_OUT)
    else:
        conn.keepalives += 1
        conn.keepalive_at = now + EVERY
        send_probe(conn, now, out)


def _is_asked_already(conn: Connection) -> bool:
    """Tell whether something else finds out, or whether it does not matter yet.

    Retransmissions and window probes have their own limits. And a client that has sent everything may
    forget the connection while the target still takes what it sent; its reset would cut that short.
    """
    if conn.snd_nxt != conn.snd_una or conn.persist_at >= 0:
        return True
    return conn.rcv_queued > 0 and has_all_data(conn.state)
