"""Datagrams that wait until it is known where they go, or until the way there is open.

A client that sends before it hears anything sends little: a question, a handshake, one burst. That much is
kept, in order; who sends more loses the rest, as on a line that is too slow.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.datagram.carrier import count_datagrams
from tunproxy.datagram.path import Path

# our choices
MOST_DATAGRAMS: Final[i64] = 64  # of one queue: what one super-packet holds
MOST_OCTETS: Final[i64] = 65_536
MOST_OF_ALL: Final[i64] = 4 << 20  # octets of all queues of one table


@final
@mypyc_attr(native_class=True)
class KeptTotal:
    """How many octets all queues of one table hold."""

    def __init__(self) -> None:
        self.octets: i64 = 0


@final
@mypyc_attr(native_class=True)
class KeptSend:
    """What ``Carrier.send`` was asked to send."""

    def __init__(self, path: Path, payload: bytes, unit: i64, traits: i64) -> None:
        self.path: Final = path
        self.payload: Final = payload
        self.unit: Final = unit
        self.traits: Final = traits


@final
@mypyc_attr(native_class=True)
class Kept:
    """One queue; total is that of its table."""

    def __init__(self, total: KeptTotal) -> None:
        self._total: Final = total
        self._sends: list[KeptSend] = []
        self._octets: i64 = 0
        self._count: i64 = 0

    def __len__(self) -> int:
        """How many datagrams wait."""
        return int(self._count)

    def add(self, path: Path, payload: bytes | memoryview, size: i64, unit: i64, traits: i64) -> i64:
        """Keep what there is room for, from the front; return how many datagrams found none."""
        count = count_datagrams(size, unit)
        room = min(MOST_OCTETS - self._octets, MOST_OF_ALL - self._total.octets)
        step = unit if unit > 0 else size
        fitting = min(count, MOST_DATAGRAMS - self._count)
        if size > room:
            fitting = min(fitting, room // step)
        if fitting <= 0:
            return count
        if fitting < count:
            size = fitting * step
        self._sends.append(KeptSend(path, bytes(payload[:size]), unit, traits))
        self._octets += size
        self._total.octets += size
        self._count += fitting
        return count - fitting

    def take(self) -> list[KeptSend]:
        """Return everything, the oldest first, and keep nothing."""
        sends = self._sends
        self._sends = []
        self._total.octets -= self._octets
        self._octets = 0
        self._count = 0
        return sends
