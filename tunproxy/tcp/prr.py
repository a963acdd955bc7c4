"""How much may be sent during fast recovery: Proportional Rate Reduction (RFC 6937).

The window is not halved at once, which would silence the sender for half a round trip: of what arrives,
a share is sent, so that at the end as much is under way as ssthresh says. Where losses have taken more than
that, the Slow Start Reduction Bound lets one segment more out than has arrived.
"""

from typing import final

from mypy_extensions import i64, mypyc_attr


@final
@mypyc_attr(native_class=True, acyclic=True)
class Prr:
    """The state variables of RFC 6937 §3, in octets; room is what may be sent now."""

    def __init__(self) -> None:
        self.is_on: bool = False
        self.room: i64 = 0
        self._delivered: i64 = 0  # since recovery began
        self._out: i64 = 0  # sent since then
        self._recover_fs: i64 = 0  # under way when it began

    def start(self, flight_size: i64) -> None:
        """Begin a recovery."""
        self.is_on = True
        self.room = 0
        self._delivered = 0
        self._out = 0
        self._recover_fs = max(flight_size, 1)

    def stop(self) -> None:
        """End it: cwnd alone counts from now on."""
        self.is_on = False
        self.room = 0

    def on_ack(self, delivered: i64, pipe: i64, ssthresh: i64, mss: i64) -> None:
        """Settle what may be sent after an acknowledgment told of so many octets (RFC 6937 §3)."""
        self._delivered += delivered
        if pipe > ssthresh:
            share = (self._delivered * ssthresh + self._recover_fs - 1) // self._recover_fs
            self.room = max(share - self._out, 0)
        else:
            limit = max(self._delivered - self._out, delivered) + mss
            self.room = max(min(ssthresh - pipe, limit), 0)

    def on_sent(self, count: i64) -> None:
        """Take count octets off the room."""
        self._out += count
        self.room = max(self.room - count, 0)
