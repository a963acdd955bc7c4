"""What an acknowledgment tells of the round trip (RFC 6298 §3, RFC 7323 §4).

Where timestamps were agreed on, every acknowledgment of new data measures, also of what was sent again: the
timestamp it echoes says which copy it answers. Our timestamps tick once a millisecond, and the way to a local
client and back takes less; so where we know the time in microseconds, and it agrees with the echo as well
as a tick can say, ours is taken. Without timestamps one segment is timed at a time, and none that was sent
again (Karn's rule).
"""

from typing import Final

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.tcp.connection import Connection
from tunproxy.tcp.rtt import RTO_AFTER_SYN, RTO_MAX
from tunproxy.tcp.segments import ts_now
from tunproxy.tcp.seq import seq_le, seq_sub

TICK: Final[i64] = 1000  # of our timestamps, in microseconds


def measure(
    conn: Connection, ack: i64, acked: i64, under_way: i64, ts_ecr: i64, exact: Micros, now: Micros
) -> None:
    """Take what there is to measure in an acknowledgment that moves snd_una to ack.

    acked octets of under_way are acknowledged, 0 for our SYN. exact is how long ago the oldest of them that
    was sent once was sent, -1 where that is not known. conn.timeouts still counts what came before.
    """
    timed: Micros = -1
    if conn.rtt_seq >= 0 and seq_le(conn.rtt_seq, ack):
        timed = now - conn.rtt_at
        conn.rtt_seq = -1
    # Not for a SYN: sent again, it may be answered with the echo of the first; and in a cookie the timestamp
    # is not the time (cookie.py).
    if conn.ts_on and ts_ecr > 0 and acked > 0:
        echoed = seq_sub(ts_now(conn, now), ts_ecr) * TICK
        if 0 <= echoed <= RTO_MAX:  # or else it is no timestamp of ours
            is_exact = exact >= 0 and echoed - TICK < exact < echoed + TICK
            # RFC 7323 appendix G: as many acknowledgments as this one measure a round trip
            share = max(acked, 2 * conn.snd_mss)
            conn.rtt.sample(exact if is_exact else echoed, (under_way + share - 1) // share)
            return
    if timed >= 0:
        conn.rtt.sample(timed)
    elif acked == 0 and conn.timeouts > 0:
        conn.rtt.rto = max(conn.rtt.rto, RTO_AFTER_SYN)
