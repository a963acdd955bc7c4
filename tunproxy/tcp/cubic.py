"""How the window grows in congestion avoidance: CUBIC (RFC 9438).

After a reduction the window comes back to where it was, W_max, fast at first, slowly near it, and then tries
for more, ever faster. How fast depends on the time since the reduction, not on the round trip:

  W_cubic(t) = C (t - K)³ + W_max               │
                                              ╭─╯
         W_max ┈┈┈┈┈┈┈┈┈┈┈╭───────────────────╯
                       ╭──╯     concave before K, convex behind it
  cwnd_epoch ──────────╯
                       0            K              t

On short paths Reno would be faster; there the window is what Reno's would be (W_est, §4.3).

Everything is integers, so that compiled and interpreted code agree: octets for windows, milliseconds within
the cube, microseconds elsewhere.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros

# RFC 9438 §4.6, §5: beta 0.7, C 0.4
BETA_TENTHS: Final[i64] = 7
C_TENTHS: Final[i64] = 4
# RFC 9438 §4.3: alpha 3 (1 - beta) / (1 + beta), in 17ths
ALPHA_17THS: Final[i64] = 9

# our choices, both to keep products below 2**63
MAX_MILLIS: Final[i64] = 1_000_000  # of |t - K|: in a quarter of an hour any window has grown without bound
ROOT_BITS: Final[i64] = 21


def cube_root(value: i64) -> i64:
    """Return the largest whole number whose cube is not above value, 0 … 2**63 - 1."""
    root: i64 = 0
    bit: i64 = 1 << (ROOT_BITS - 1)
    while bit > 0:
        tried = root | bit
        if tried * tried * tried <= value:
            root = tried
        bit >>= 1
    return root


@final
@mypyc_attr(native_class=True, acyclic=True)
class Cubic:
    """The state variables of RFC 9438 §4.1.2 of one connection, windows in octets."""

    def __init__(self) -> None:
        self._w_max: i64 = 0
        self._cwnd_prior: i64 = 0  # when ssthresh was reduced last
        self._k: i64 = 0  # milliseconds
        self._is_flat: bool = False  # the next epoch begins on the plateau (§4.8)
        self._epoch_at: Micros = -1  # when congestion avoidance began; -1: the next acknowledgment begins it
        self._seen_at: Micros = -1  # of the last acknowledgment
        self._w_est: i64 = 0
        self._est_rest: i64 = 0  # what division has left, for the next time
        self._rest: i64 = 0
        # all that counts as it was before the last reduction (§4.9)
        self._old_w_max: i64 = 0
        self._old_cwnd_prior: i64 = 0
        self._old_k: i64 = 0
        self._old_epoch_at: Micros = -1
        self._old_w_est: i64 = 0

    def reduce(self, cwnd: i64, is_timeout: bool) -> None:
        """Learn where congestion was met: at cwnd, of which as much was used (§4.6 to §4.8)."""
        self._old_w_max = self._w_max
        self._old_cwnd_prior = self._cwnd_prior
        self._old_k = self._k
        self._old_epoch_at = self._epoch_at
        self._old_w_est = self._w_est
        # fast convergence (§4.7): below the last time somebody else wants a share, so leave some
        self._w_max = cwnd * (10 + BETA_TENTHS) // 20 if cwnd < self._w_max else cwnd
        self._cwnd_prior = cwnd
        self._epoch_at = -1
        self._is_flat = is_timeout

    def undo(self) -> None:
        """Take the last reduction back (§4.9)."""
        self._w_max = self._old_w_max
        self._cwnd_prior = self._old_cwnd_prior
        self._k = self._old_k
        self._epoch_at = self._old_epoch_at
        self._w_est = self._old_w_est
        self._is_flat = False

    def pause(self, now: Micros) -> None:
        """Say that the window was not used up since the last acknowledgment: no time went by (§5.8)."""
        if self._epoch_at >= 0:
            self._epoch_at += now - self._seen_at
        self._seen_at = now

    def grown(self, cwnd: i64, mss: i64, acked: i64, srtt: Micros, now: Micros) -> i64:
        """Return the window after an acknowledgment of acked octets, at least cwnd (§4.2 to §4.5)."""
        if self._epoch_at < 0:
            self._begin(cwnd, mss, now)
        self._seen_at = now
        acked = min(acked, cwnd)
        part = (17 if self._w_est >= self._cwnd_prior else ALPHA_17THS) * acked * mss + self._est_rest
        self._w_est += part // (17 * cwnd)
        self._est_rest = part % (17 * cwnd)
        elapsed = now - self._epoch_at
        if self._w_cubic(elapsed, mss) < self._w_est:
            return max(cwnd, self._w_est)
        target = min(max(self._w_cubic(elapsed + srtt, mss), cwnd), cwnd + cwnd // 2)
        part = (target - cwnd) * acked + self._rest
        self._rest = part % cwnd
        return cwnd + part // cwnd

    def _begin(self, cwnd: i64, mss: i64, now: Micros) -> None:
        """Begin a stage of congestion avoidance (§4.2)."""
        self._epoch_at = now
        self._w_est = cwnd
        self._est_rest = 0
        self._rest = 0
        if self._is_flat or self._w_max <= cwnd:
            self._w_max = cwnd
            self._k = 0
            self._is_flat = False
        else:
            # cubic root of segments / 0.4, in thousandths: the segments times 10**9 * 10 / 4
            self._k = cube_root((self._w_max - cwnd) * 1_000_000_000 // mss // C_TENTHS * 10)

    def _w_cubic(self, elapsed: Micros, mss: i64) -> i64:
        """Return W_cubic in octets, elapsed µs after the stage began (§4.2, figure 1)."""
        millis = min(max(elapsed // 1000 - self._k, -MAX_MILLIS), MAX_MILLIS)
        octets = millis * millis * millis // 1_000_000 * mss * C_TENTHS // 10_000
        return self._w_max + octets
