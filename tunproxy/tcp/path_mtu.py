"""A router between us and the peer says that our packets are too big (RFC 9293 §3.7.5, RFC 1191, RFC 8201).

On the device itself nothing is too big. Behind it there may be a bridge to a tunnel, or another machine that
routes. What it reports lowers the size of our segments for the rest of the connection; that a path grows
again we do not find out (RFC 1191 §6.3 leaves it open).
"""

from typing import Final

from mypy_extensions import i64

from tunproxy.tcp.connection import Connection, set_send_mss
from tunproxy.tcp.recovery import send_all_again
from tunproxy.tcp.seq import seq_sub
from tunproxy.tcp.state import sends_data
from tunproxy.wire.tcp import HEADER_LEN
from tunproxy.wire.tcp_options import TIMESTAMPS_LEN

MIN_MTU_V6: Final[i64] = 1280  # RFC 8201 §4: never below, whatever is reported
PLATEAUS: Final = (32000, 17914, 8166, 4352, 2002, 1492, 1006, 508)  # RFC 1191 §7, table 7-1

# our choice: RFC 1191 §3 allows 68; the least that any link is known to have limits what a lie can cost
MIN_MTU: Final[i64] = 296


def on_packet_too_big(conn: Connection, mtu: i64, seq: i64) -> bool:
    """Send smaller segments from now on, and again what is under way; return whether the report was obeyed.

    mtu is the one in the report, 0 where the router is older than RFC 1191; seq the sequence number of
    the packet that the report quotes. The next transmit sends. A report is not obeyed that quotes nothing
    under way, because then it is old or forged (RFC 5927 §4.1), or that asks for no smaller packets than ours
    are (RFC 1191 §3).
    """
    if not sends_data(conn.state) or not 0 <= seq_sub(seq, conn.snd_una) < conn.flight_size:
        return False
    headers_len = conn.ends.header_len + HEADER_LEN
    largest = headers_len + conn.snd_mss
    if conn.ts_on:
        largest += TIMESTAMPS_LEN
    if conn.ends.is_ipv6:
        mtu = max(mtu, MIN_MTU_V6)
    else:
        mtu = max(mtu if mtu > 0 else _next_plateau(largest), MIN_MTU)
    if mtu >= largest:
        return False
    set_send_mss(conn, mtu - headers_len)
    # Not congestion: nothing but the size is at fault, so cwnd stays (RFC 1191 §6.4).
    send_all_again(conn)
    return True


def _next_plateau(size: i64) -> i64:
    """Return the largest usual MTU below size, for a report that names none (RFC 1191 §7)."""
    for plateau in PLATEAUS:
        if plateau < size:
            return plateau
    return MIN_MTU
