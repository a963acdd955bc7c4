"""How much may be under way: slow start, reduction on loss, and ``cubic`` between them (RFC 5681, RFC 9438).

Settings.cwnd says what lies behind the device. A local TUN device loses nothing by itself, so a connection to
a client on it starts with a window that never throttles (UNTHROTTLED) and learns of congestion only if
something is lost after all. Where other machines may be behind it, a TAP device, the initial window is RFC
6928's, and what an idle connection has learnt fades (RFC 5681 §4.1).

The window grows only while it is what keeps data back (RFC 9438 §5.8): ``is_used`` says so.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.tcp.cubic import BETA_TENTHS, Cubic

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
        self._cubic: Cubic | None = None  # made by the first reduction

    def on_ack(self, acked: i64, is_used: bool, srtt: Micros, now: Micros) -> None:
        """Grow by what a cumulative ACK outside recovery acknowledged (RFC 5681 §3.1, RFC 3465, RFC 9438).

        is_used where the window was used up when what it acknowledges was under way.
        """
        if self.cwnd >= UNTHROTTLED:
            return
        if self.cwnd < self.ssthresh:
            if is_used:
                self.cwnd += min(acked, 2 * self.mss)
            return
        cubic = self._cubic
        if cubic is None:
            return  # no loss yet: what is not throttled needs no avoidance
        if is_used:
            self.cwnd = min(cubic.grown(self.cwnd, self.mss, acked, max(srtt, 0), now), UNTHROTTLED)
        else:
            cubic.pause(now)

    def on_loss(self, flight_size: i64) -> None:
        """Reduce at the start of fast recovery (RFC 9438 §4.6, RFC 6675 §5 step 4.2)."""
        self._reduce(flight_size, False)
        self.cwnd = self.ssthresh

    def on_echo(self, flight_size: i64) -> None:
        """Reduce because a packet was marked (RFC 9438 §4.6): as for a loss, but down to one segment.

        Never to more than cwnd is.
        """
        self._reduce(flight_size, False)
        self.cwnd = min(self.cwnd, max(flight_size * BETA_TENTHS // 10, self.mss))

    def on_lost_again(self) -> None:
        """Reduce once more: a lost retransmission is a second sign of congestion (RFC 5681 §4.3)."""
        self.ssthresh = max(self.ssthresh * BETA_TENTHS // 10, 2 * self.mss)
        self.cwnd = min(self.cwnd, self.ssthresh)

    def undo(self, cwnd: i64, ssthresh: i64) -> None:
        """Take the last reduction back, which turned out to be needless; what has grown since stays.

        cwnd and ssthresh are those before it (RFC 9438 §4.9.2).
        """
        self.cwnd = max(self.cwnd, cwnd)
        self.ssthresh = max(self.ssthresh, ssthresh)
        if self._cubic is not None:
            self._cubic.undo()

    def on_timeout(self, flight_size: i64, is_first: bool) -> None:
        """Fall back to one segment; lower ssthresh only at the first of several time-outs (RFC 5681 §3.1)."""
        if is_first:
            self._reduce(flight_size, True)
        self.cwnd = self.mss

    def on_idle_end(self, idle: Micros, rto: Micros, initial: i64, now: Micros) -> None:
        """Say that data follows where nothing has been under way, idle µs after the last.

        Idle time does not count for growth (RFC 9438 §5.8); more of it than the retransmission time-out makes
        the window initial again, where it had grown beyond (RFC 5681 §4.1).
        """
        if idle > rto:
            self.cwnd = min(self.cwnd, initial)
        if self._cubic is not None:
            self._cubic.pause(now)

    def _reduce(self, flight_size: i64, is_timeout: bool) -> None:
        cubic = self._cubic
        if cubic is None:
            cubic = self._cubic = Cubic()
        # What was allowed but not used says nothing about the path.
        cubic.reduce(min(self.cwnd, max(flight_size, self.mss)), is_timeout)
        self.ssthresh = max(flight_size * BETA_TENTHS // 10, 2 * self.mss)
