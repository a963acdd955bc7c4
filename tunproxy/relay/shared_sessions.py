"""Which worker has which session of Shadowsocks datagrams, in one piece of memory.

    bucket    │ session │ reached │ heard at │ owner │  16 times: a session is in the bucket of its hash

Who looks for a session, or takes a place, holds the memory's lock, which a worker that dies lets go of. The
owner writes how far its session has got without it: nobody else takes the place of a session that was heard
of a moment ago. A worker that dies leaves its sessions to the next one with its number, which takes nothing
that the former may have taken.
"""

from typing import Final, final

from tunproxy.codecs.shadowsocks_keys import ShadowsocksError
from tunproxy.codecs.shadowsocks_packet_server import MOST_SESSIONS
from tunproxy.codecs.shadowsocks_replay import KEPT
from tunproxy.codecs.shadowsocks_sessions import Claim, ElsewhereError, SessionMemory
from tunproxy.relay.shared_memory import SharedMemory

# words of a place
_SESSION: Final = 0
_REACHED: Final = 1  # the highest number, and 1
_HEARD_AT: Final = 2  # in microseconds
_OWNER: Final = 3  # a worker's number, and 1; 0: the place is free
_WORDS: Final = 4

_LARGEST: Final = (1 << 64) - 2  # of the numbers that there is a word for

# our choices
PLACES: Final = 16  # of a bucket
ROOM: Final = 4  # places for each session that there may be: so that buckets are hardly ever full


@final
class SharedSessions(SessionMemory):
    """What ``SessionMemory`` promises, for all workers that are forked after it was made.

    A session is kept for so many seconds after it was noted last, and never less than its datagrams could
    be believed (``KEPT``).
    """

    def __init__(self, kept: float, most: int = MOST_SESSIONS) -> None:
        self.number: int = 0  # of the worker that this is
        self._kept: Final = int(max(kept, KEPT) * 1_000_000)
        self._mask: Final = (1 << (ROOM * max(most // PLACES, 1) - 1).bit_length()) - 1
        self._memory: Final = SharedMemory("sessions", (self._mask + 1) * PLACES * _WORDS * 8)
        self.words: Final = memoryview(self._memory.octets).cast("Q")

    def check(self, session: bytes, now: float) -> None:
        with self._memory:
            self._find(session, int(now * 1_000_000))

    def claim(self, session: bytes, now: float) -> "SharedClaim":
        return SharedClaim(self, session, self.place(session, now))

    def place(self, session: bytes, now: float) -> int:
        """Return where in words a session is, which is ours from now on. Raises as ``claim`` does."""
        with self._memory:
            return self._take(session, int(now * 1_000_000))

    def is_ours(self, at: int, session: int, now: int) -> bool:
        """Tell whether the place that a session had is ours for a good while yet; now is in microseconds."""
        words = self.words
        if words[at + _SESSION] != session or words[at + _OWNER] != self.number + 1:
            return False
        return 0 <= now - words[at + _HEARD_AT] < self._kept // 2

    def close(self) -> None:
        """Forget all, where no other process has it."""
        self.words.release()
        self._memory.close()

    def _take(self, session: bytes, now: int) -> int:
        words = self.words
        known, free = self._find(session, now)
        if known >= 0:
            words[known + _HEARD_AT] = now
            return known
        if free < 0:
            raise ShadowsocksError("there are as many sessions as may be remembered")
        words[free + _OWNER] = 0  # whatever becomes of us meanwhile, what stands there is true
        words[free + _SESSION] = int.from_bytes(session, "big")
        words[free + _REACHED] = 0
        words[free + _HEARD_AT] = now
        words[free + _OWNER] = self.number + 1
        return free

    def _find(self, session: bytes, now: int) -> tuple[int, int]:
        """Return where a session of ours is, and where there is room for a new one; -1 is nowhere.

        Raises ElsewhereError. Python's hash has a secret, which all that were forked share: nobody can
        choose sessions that come into one bucket.
        """
        words, wanted = self.words, int.from_bytes(session, "big")
        start = (hash(session) & self._mask) * PLACES * _WORDS
        free = -1
        for at in range(start, start + PLACES * _WORDS, _WORDS):
            owner = words[at + _OWNER]
            age = now - words[at + _HEARD_AT]
            if owner and age < 0:  # the clock was set back: what is known stays known
                words[at + _HEARD_AT] = now
                age = 0
            if not owner or age >= self._kept:
                free = at if free < 0 else free
            elif words[at + _SESSION] == wanted:
                if owner != self.number + 1:
                    raise ElsewhereError(owner - 1)
                return at, free
        return -1, free


@final
class SharedClaim(Claim):
    """A session of this worker's, and its place."""

    __slots__ = ("_at", "_memory", "_number", "_session")

    def __init__(self, memory: SharedSessions, session: bytes, at: int) -> None:
        self._memory: Final = memory
        self._session: Final = session
        self._number: Final = int.from_bytes(session, "big")
        self._at = at

    def reached(self) -> int:
        return self._memory.words[self._at + _REACHED] - 1

    def note(self, highest: int, now: float) -> None:
        moment = int(now * 1_000_000)
        memory = self._memory
        if not memory.is_ours(self._at, self._number, moment):
            self._at = memory.place(self._session, now)
        memory.words[self._at + _REACHED] = min(highest, _LARGEST) + 1
        memory.words[self._at + _HEARD_AT] = moment
