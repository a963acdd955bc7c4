"""Sessions that were seen before: a server's memory of salts, and a session's of packets."""

from typing import Final

# our choices
MOST_SALTS: Final = 100_000  # in each of the two halves, of the edition of 2017: 20 MB at most
KEPT: Final = 60.0  # seconds (SIP022 §3.1.4)
MOST_PER_MINUTE: Final = 1_000_000  # salts of the edition of 2022, which must not be forgotten earlier
WINDOW: Final = 2048  # packets that may overtake each other


class SaltMemory:
    """The salts of all streams of a server; only those that have proved to know the key belong here.

    In the edition of 2022 a salt is kept for 60 seconds, as long as its time stamp could be believed
    (SIP022 §3.1.4); in that of 2017, which has no time, until most others have come. Nothing is
    mistaken for something seen before.
    """

    def __init__(self, is_2022: bool, most: int = MOST_SALTS) -> None:
        self._is_2022: Final = is_2022
        self._room: Final = most
        self._new: set[bytes] = set()
        self._old: set[bytes] = set()
        self._since = 0.0

    def is_new(self, salt: bytes, now: float) -> bool:
        """Remember salt; tell whether it has not been seen. now is in seconds, of any clock that goes on."""
        if self._is_2022:
            age = now - self._since
            if age < 0:  # the clock was set back: what is known stays known
                self._since = now
            elif age >= KEPT:
                self._old = self._new if age < 2 * KEPT else set()
                self._new = set()
                self._since = now
            elif len(self._new) >= MOST_PER_MINUTE:
                return False
        elif len(self._new) >= self._room:
            self._old = self._new
            self._new = set()
        if salt in self._new or salt in self._old:
            return False
        self._new.add(salt)
        return True


class PacketWindow:
    """The numbers of a session's packets that have been seen, among the last 2048 (SIP022 §3.2.4)."""

    __slots__ = ("_highest", "_seen")

    def __init__(self) -> None:
        self._highest = -1
        self._seen = 0  # bit n: the packet n below the highest

    @property
    def highest(self) -> int:
        """The highest number so far; -1 where there is none."""
        return self._highest

    def begin_behind(self, number: int) -> None:
        """Take nothing up to number, of which it is not known what has been seen; -1: everything is new."""
        self._highest = number
        self._seen = _ALL if number >= 0 else 0

    def is_new(self, number: int) -> bool:
        """Tell whether a packet has not been seen, and is not too old to say."""
        below = self._highest - number
        return below < 0 or (below < WINDOW and not self._seen >> below & 1)

    def add(self, number: int) -> None:
        """Remember a packet, which has proved to be the session's and is new."""
        ahead = number - self._highest
        if ahead <= 0:
            self._seen |= 1 << -ahead
        else:
            self._seen = (self._seen << ahead | 1) & _ALL if ahead < WINDOW else 1
            self._highest = number


_ALL: Final = (1 << WINDOW) - 1
