"""Round-trip time and retransmission time-out (RFC 6298), times in microseconds."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros

RTO_INITIAL: Final[i64] = 1_000_000  # RFC 6298 §2.1
RTO_AFTER_SYN: Final[i64] = 3_000_000  # RFC 6298 §5.7: a SYN was sent again, nothing was measured
RTO_MAX: Final[i64] = 60_000_000  # RFC 6298 §2.5

# our choices
# Deviates from RFC 6298 §2.4 (1 s): as the kernel does; its delayed ACKs come within 40 ms.
RTO_MIN: Final[i64] = 200_000
FINE: Final[i64] = 10  # binary places behind a microsecond: what many samples a round trip add one by one


@final
@mypyc_attr(native_class=True, acyclic=True)
class RttEstimator:
    """Smoothed round-trip time of one connection and the time-out that follows from it."""

    def __init__(self) -> None:
        self.srtt: Micros = -1
        self.rto: Micros = RTO_INITIAL
        self._fine_srtt: i64 = 0
        self._fine_rttvar: i64 = 0

    @property
    def rttvar(self) -> Micros:
        """The mean deviation."""
        return self._fine_rttvar >> FINE

    def sample(self, rtt: Micros, per_round_trip: i64 = 1) -> None:
        """Take one of so many measurements in a round trip (RFC 6298 §2.2, §2.3, RFC 7323 appendix G)."""
        fine = rtt << FINE
        if self.srtt < 0:
            self._fine_srtt = fine
            self._fine_rttvar = fine >> 1
        else:
            error = self._fine_srtt - fine
            if error < 0:
                error = -error
            per_round_trip = max(per_round_trip, 1)
            self._fine_rttvar += (error - self._fine_rttvar) // (4 * per_round_trip)
            self._fine_srtt += (fine - self._fine_srtt) // (8 * per_round_trip)
        self.srtt = self._fine_srtt >> FINE
        self.rto = min(max(self.srtt + 4 * self.rttvar, RTO_MIN), RTO_MAX)

    def back_off(self) -> None:
        """Double the time-out after it has expired (RFC 6298 §5.5)."""
        self.rto = min(self.rto * 2, RTO_MAX)
