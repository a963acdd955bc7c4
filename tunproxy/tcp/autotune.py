"""How large a connection's receive buffer is: it grows with use, and shrinks where memory is short.

``grow`` is dynamic right-sizing: where the peer has used up the whole buffer within one round trip, and
the owner has taken it all, the window is what holds the stream back, and is doubled. The round trip is the
shortest that was seen: of what we sent, or of a whole buffer, which cannot come faster. Shrinking takes no
window back: ``transmit.take_window`` leaves the right edge where it is until the buffer allows more.
"""

from typing import Final

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.tcp.connection import Connection
from tunproxy.tcp.seq import seq_add, seq_lt

# our choices
RCV_BUF_START: Final[i64] = 1 << 18  # 256 KiB: 20 Gbit/s over the 50 µs of a local device need 125 KB
RCV_BUF_MOST: Final[i64] = 1 << 22  # 4 MiB: 330 Mbit/s over 100 ms
FLOOR: Final[i64] = 1 << 14  # 16 KiB: eleven segments keep acknowledgments coming


def grow(conn: Connection, now: Micros) -> None:
    """Take note that the owner has taken octets; double the buffer where it holds the peer back."""
    rcv_buf = conn.rcv_buf
    most = conn.settings.rcv_buf_most
    if rcv_buf >= most or (conn.tune_at >= 0 and seq_lt(conn.rcv_nxt, conn.tune_edge)):
        return
    if conn.tune_at >= 0:
        took = now - conn.tune_at
        trip = took if conn.rcv_rtt == 0 else min(took, conn.rcv_rtt)
        if conn.rtt.srtt > 0:
            trip = min(trip, conn.rtt.srtt)
        conn.rcv_rtt = max(trip, 1)
        if took <= 2 * conn.rcv_rtt and conn.rcv_queued <= rcv_buf // 8:
            rcv_buf = conn.rcv_buf = min(2 * rcv_buf, most)
    conn.tune_at = now
    conn.tune_edge = seq_add(conn.rcv_nxt, rcv_buf - min(conn.rcv_queued, rcv_buf // 2))


def shrink(conn: Connection) -> None:
    """Promise no more than the least from now on; what was promised holds."""
    if conn.rcv_buf > FLOOR:
        conn.rcv_buf = FLOOR
        conn.tune_at = -1


def restore(conn: Connection) -> None:
    """Begin again with what a new connection has: the shortage is over."""
    conn.rcv_buf = max(conn.rcv_buf, conn.settings.rcv_buf)
    conn.tune_at = -1


def give_up_ahead(conn: Connection) -> i64:
    """Forget what lies ahead of a gap, acknowledged selectively or not (RFC 2018 §8); return its octets.

    The peer keeps it until it is acknowledged in order, and sends it again. Where a FIN lies stays known.
    """
    assembler = conn.assembler
    conn.assembler = None
    return 0 if assembler is None else assembler.held


def scant_room(conn: Connection) -> i64:
    """Return how many octets the owner may queue where memory is short: one segment at a time."""
    return conn.snd_mss - conn.buffer.length


def footprint(conn: Connection) -> i64:
    """Return the octets of memory that the stream's data takes, both ways."""
    held = conn.rcv_queued + conn.buffer.held
    return held if conn.assembler is None else held + conn.assembler.footprint
