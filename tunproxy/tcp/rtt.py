"""Round-trip time and retransmission time-out (RFC 6298), times in microseconds."""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros

RTO_INITIAL: Final[i64] = 1_000_000  # RFC 6298 §2.1
RTO_MAX: Final[i64] = 60_000_000  # RFC 6298 §2.5

# our choices
# Deviates from RFC 6298 §2.4 (1 s): as the kernel does; its delayed ACKs come within 40 ms.
RTO_MIN: Final[i64] = 200_000


@final
@mypyc_attr(native_class=True, acyclic=True)
class RttEstimator:
    """Smoothed round-trip time of one connection and the time-out that follows from it."""

    def __init__(self) -> None:
        self.srtt: Micros = -1
        self.rttvar: Micros = 0
        self.rto: Micros = RTO_INITIAL

    def sample(self, rtt: Micros) -> None:
        """Take one measurement of an unretransmitted segment (RFC 6298 §2.2, §2.3; Karn's rule)."""
        if self.srtt < 0:
            self.srtt = rtt
            self.rttvar = rtt // 2
        else:
            error = self.srtt - rtt
            if error < 0:
                error = -error
            self.rttvar += (error - self.rttvar) // 4
            self.srtt += (rtt - self.srtt) // 8
        self.rto = min(max(self.srtt + 4 * self.rttvar, RTO_MIN), RTO_MAX)

    def back_off(self) -> None:
        """Double the time-out after it has expired (RFC 6298 §5.5)."""
        self.rto = min(self.rto * 2, RTO_MAX)
