"""The tail loss probe: asking after a lost end of a burst without waiting for a time-out (RFC 8985 §7).

Nothing follows the end of a burst that could prove its loss. After two round trips of silence one segment
more is sent, new data or the last one again; its acknowledgment either ends the matter or carries a SACK
block, and recovery goes its usual way.

Deviates from RFC 8985 §7.2 and §7.3 in two points, because our time-out is 200 ms and the round trip to a
local client less than one: where probes are lost too, up to MAX_PROBES follow each other, ever more slowly;
and recovery is probed as well, where what was sent again last got lost and nothing follows that could prove
it. Without an answer to any of them the time-out decides as ever.
"""

from typing import Final

from mypy_extensions import i64

from tunproxy.clock import Micros
from tunproxy.tcp.connection import Connection
from tunproxy.tcp.recovery_state import Recovery
from tunproxy.tcp.seq import seq_le, seq_lt

PTO_INITIAL: Final[i64] = 1_000_000  # RFC 8985 §7.2: without a measurement

# our choices
PTO_MIN: Final[i64] = 5_000  # a few ticks of the timers, ours and the peer's
# Deviates from RFC 8985 §7.2 (200 ms), which would never come before a time-out of 200 ms: kernels
# acknowledge within 40 ms, and to be wrong costs one segment.
ACK_DELAY: Final[i64] = 50_000
MAX_PROBES: Final[i64] = 3


def arm_probe(conn: Connection, now: Micros) -> None:
    """Set the probe timer anew after sending or progress, or stop it where a probe has no place."""
    conn.probe_at = -1
    if conn.snd_nxt == conn.snd_una or conn.snd_wnd == 0:
        return
    count: i64 = 0
    recovery = conn.recovery
    if recovery is not None:
        count = recovery.tlp_count
        if count >= MAX_PROBES:
            return
        if recovery.scoreboard.sacked > 0 and not recovery.is_on:
            return  # the reordering timer runs
    pto = PTO_INITIAL
    if conn.rtt.srtt >= 0:
        pto = max(2 * conn.rtt.srtt, PTO_MIN)
        if conn.flight_size <= conn.snd_mss:
            pto += ACK_DELAY
    pto <<= count
    if now + pto < conn.rto_at:
        conn.probe_at = now + pto


def take_probe_ack(recovery: Recovery, ack: i64) -> bool:
    """Tell whether ack shows that the probe made up for a loss, which is a sign of congestion (§7.4.2).

    Where a D-SACK told that the probe was not needed, ``drop_probe`` has come before.
    """
    if recovery.tlp_end < 0 or seq_lt(ack, recovery.tlp_end):
        return False
    if recovery.tlp_is_again and ack == recovery.tlp_end:
        return False  # a D-SACK may follow; without one, the next acknowledgment decides
    is_repair = recovery.tlp_is_again
    recovery.tlp_end = -1
    return is_repair


def drop_probe(recovery: Recovery, right: i64, ack: i64) -> None:
    """End the episode where a D-SACK up to right names the end of the probe: it came twice (§7.4.2)."""
    end = recovery.tlp_end
    if end >= 0 and recovery.tlp_is_again and right == end and seq_le(end, ack):
        recovery.tlp_end = -1
