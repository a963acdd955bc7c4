"""What one user may have: so many connections at once, and so many octets a second.

Both hold for all workers together. The number of connections is added up over the workers; the rate is
divided between them as the user's connections are.
"""

from collections.abc import Callable
from typing import Final, final

from tunproxy.relay.metrics import Tally

# our choice
BURST: Final = 0.25  # seconds' worth of octets that may pass at once: reads are large, waits not


@final
class Account:
    """What one user has here, in this worker. connections and rate (octets a second) of 0 are no limit.

    now returns seconds.
    """

    def __init__(
        self, number: int, name: str, connections: int, rate: int, tally: Tally, now: Callable[[], float]
    ) -> None:
        self.name: Final = name
        self.number: Final = number
        self.open = 0
        self._connections: Final = connections
        self._rate: Final = rate
        self._tally: Final = tally
        self._now: Final = now
        self._free_at = 0.0  # when what has passed is paid for
        self._datagram_at = 0.0  # when the next datagram may pass

    def begin(self) -> bool:
        """Take a connection; False where the user has all it may have."""
        if self._connections and self._tally.flows_of(self.number) >= self._connections:
            return False
        self.open += 1
        self._tally.on_begin(self.number)
        return True

    def end(self) -> None:
        """Give a connection back."""
        self.open -= 1
        self._tally.on_end(self.number)

    def admits(self, count: int) -> bool:
        """Tell whether a datagram of so many octets may pass, which cannot wait: else it is to be dropped.

        Streams, which can, have what datagrams leave them, and never take theirs.
        """
        if not self._rate:
            return True
        now = self._now()
        if self._datagram_at > now:
            return False
        self._datagram_at = max(self._datagram_at, now - BURST) + count / self._share()
        return True

    def on_up(self, count: int) -> float:
        """Count octets from the client; return for how many seconds no more may be taken from it."""
        self._tally.on_up(self.number, count)
        return self._pay(count) if self._rate else 0.0

    def on_down(self, count: int) -> float:
        """The same for octets from the target."""
        self._tally.on_down(self.number, count)
        return self._pay(count) if self._rate else 0.0

    def _pay(self, count: int) -> float:
        now = self._now()
        self._free_at = max(self._free_at, now - BURST) + count / self._share()
        return max(0.0, self._free_at - now)

    def _share(self) -> float:
        """Return how many octets a second are this worker's."""
        return max(self._rate * self.open / max(self._tally.flows_of(self.number), self.open, 1), 1.0)
