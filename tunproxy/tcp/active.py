"""Opening by ourselves, and what the owner of a connection may ask for: queue, close, abort, took.

The proxy only ever answers; ``open_active`` is what makes two engines talk to each other in the simulator.
"""

from typing import Final

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.tcp.connection import (
    ECN_OFFERED,
    RCV_SHIFT,
    RESET_BY_US,
    Connection,
    Settings,
    close_down,
    enter,
    free_space,
)
from tunproxy.tcp.segments import send_rst, send_syn
from tunproxy.tcp.seq import seq_add, seq_sub
from tunproxy.tcp.state import (
    CLOSE_WAIT,
    CLOSED,
    ESTABLISHED,
    FIN_WAIT_1,
    LAST_ACK,
    SYN_SENT,
    TIME_WAIT,
    has_all_data,
)
from tunproxy.wire.ip import Endpoints
from tunproxy.wire.sink import FrameSink

# our choice: with less than half a super-packet offered, the peer is about to stall
SMALL_WINDOW: Final[i64] = 32768


def open_active(
    ends: Endpoints, settings: Settings, iss: i64, ts_offset: i64, now: Micros, out: FrameSink
) -> Connection:
    """Send a SYN that offers every option, ECN where settings say so; return the connection in SYN-SENT."""
    conn = Connection(ends, settings, iss, SYN_SENT)
    conn.ts_offset = ts_offset
    conn.ts_on = True
    conn.sack_on = True
    conn.ecn_on = conn.ecn_sends = settings.ecn == ECN_OFFERED
    conn.rcv_shift = RCV_SHIFT
    conn.snd_nxt = seq_add(iss, 1)
    conn.rto_at = now + conn.rtt.rto
    conn.rtt_seq = conn.snd_nxt
    conn.rtt_at = now
    conn.is_answered = True
    send_syn(conn, now, out)
    return conn


def queue(conn: Connection, data: bytes) -> None:
    """Add octets to be sent; must not follow close. The data is kept as it is until acknowledged."""
    conn.buffer.append(data)


def queue_view(conn: Connection, view: memoryview) -> None:
    """Add octets to be sent that are part of something larger, which is kept until they are acknowledged."""
    conn.buffer.append_view(view)


def close(conn: Connection) -> None:
    """Say that nothing follows what is queued: a FIN goes out behind it (RFC 9293 §3.10.4)."""
    if conn.fin_queued:
        return
    conn.fin_queued = True
    if conn.state == ESTABLISHED:  # before that, the FIN waits for the handshake
        enter(conn, FIN_WAIT_1)
    elif conn.state == CLOSE_WAIT:
        enter(conn, LAST_ACK)


def abort(conn: Connection, out: FrameSink) -> None:
    """Reset the connection (RFC 9293 §3.10.5); nothing is sent where nobody listens any more."""
    if conn.state == CLOSED:
        return
    if conn.state != TIME_WAIT:
        send_rst(conn, out)
    close_down(conn, RESET_BY_US)


def took(conn: Connection, count: i64) -> None:
    """Say that count octets were taken out of rcv_queue; asks for a window update when it is worth one."""
    conn.rcv_queued -= count
    offered = seq_sub(conn.rcv_adv, conn.rcv_nxt)
    worthwhile = conn.rcv_buf // 4
    low = min(worthwhile, max(conn.rcv_mss, SMALL_WINDOW))
    if offered < low and free_space(conn) - offered >= worthwhile:
        conn.ack_now = conn.state != CLOSED and not has_all_data(conn.state)
