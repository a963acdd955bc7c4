"""How much may be under way: slow start, congestion avoidance, halving on loss (RFC 5681).

A local device loses nothing, so a connection to a client on it starts with a window that never throttles
(UNTHROTTLED) and learns of congestion only if something is lost after all; towards other machines the
initial window is RFC 6928's.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

UNTHROTTLED: Final[i64] = 1 << 30


def initial_window(mss: i64) -> i64:
    """Return the initial congestion window in octets (RFC 6928 §2)."""
    return min(10 * mss, max(2 * mss, 14600))


@final
@mypyc_attr(native_class=True, acyclic=True)
class Congestion:
    """cwnd and ssthresh of one connection, in octets."""

    def __init__(self, mss: i64, cwnd: i64) -> None:
        self.mss: i64 = mss
        self.cwnd: i64 = cwnd
        self.ssthresh: i64 = UNTHROTTLED

    def on_ack(self, acked: i64) -> None:
        """Grow by what a cumulative ACK outside recovery acknowledged (RFC 5681 §3.1, RFC 3465)."""
        if self.cwnd >= UNTHROTTLED:
            return
        if self.cwnd < self.ssthresh:
            self.cwnd += min(acked, 2 * self.mss)
        else:
            self.cwnd += max(self.mss * min(acked, self.cwnd) // self.cwnd, 1)

    def on_loss(self, flight_size: i64) -> None:
        """Halve at the start of fast recovery (RFC 5681 §3.2, RFC 6675 §5 step 4.2)."""
        self.ssthresh = max(flight_size // 2, 2 * self.mss)
        self.cwnd = self.ssthresh

    def on_lost_again(self) -> None:
        """Halve once more: a lost retransmission is a second sign of congestion (RFC 5681 §4.3)."""
        self.ssthresh = max(self.ssthresh // 2, 2 * self.mss)
        self.cwnd = min(self.cwnd, self.ssthresh)

    def undo(self, cwnd: i64, ssthresh: i64) -> None:
        """Take a reduction back that turned out to be needless; what has grown since stays."""
        self.cwnd = max(self.cwnd, cwnd)
        self.ssthresh = max(self.ssthresh, ssthresh)

    def on_timeout(self, flight_size: i64, is_first: bool) -> None:
        """Fall back to one segment; halve ssthresh only at the first of several time-outs (RFC 5681 §3.1)."""
        if is_first:
            self.ssthresh = max(flight_size // 2, 2 * self.mss)
        self.cwnd = self.mss
