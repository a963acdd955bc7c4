"""Answers that are still good: by question, for as long as their TTL says, within bounds.

What does not exist is kept as well, for as long as its zone's SOA record says (RFC 2308 §5), and so is,
for a moment, that nobody could be asked (RFC 9520 §3.2). Of what is too old the last use may be when no
resolver answers (RFC 8767), where the user wants that.
"""

from typing import Final

from tunproxy.clock import Micros
from tunproxy.dns.message import NOERROR, NXDOMAIN, Answer
from tunproxy.dns.settings import MAX_ENTRIES

# our choices
MAX_OCTETS: Final = 16 << 20
MOST: Final = 86_400  # seconds that an answer is kept at most (RFC 8767 §4 recommends a week at most)
_SECOND: Final = 1_000_000


class Entry:
    """An answer, when it came, and until when it is good; host is the name that it is about.

    Before retry_at nobody is asked again, as somebody was, and did not answer.
    """

    __slots__ = ("answer", "at", "host", "retry_at", "until")

    def __init__(self, answer: Answer, at: Micros, until: Micros, host: str) -> None:
        self.answer: Final = answer
        self.host: Final = host
        self.at: Final = at
        self.until: Final = until
        self.retry_at: Micros = 0


class AnswerCache:
    """Answers by ``Question.key``; the least recently used gives way. stale_for: seconds, 0 for never."""

    def __init__(
        self, max_entries: int = MAX_ENTRIES, max_octets: int = MAX_OCTETS, *, stale_for: int = 0
    ) -> None:
        self._entries: Final[dict[bytes, Entry]] = {}
        self._max_entries: Final = max_entries
        self._max_octets: Final = max_octets
        self._stale_for: Final = stale_for * _SECOND
        self._octets = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def octets(self) -> int:
        """About what it holds."""
        return self._octets

    def get(self, key: bytes, now: Micros) -> Entry | None:
        """Return what is known and still good."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if now < entry.until:
            del self._entries[key]  # to the end: the latest used
            self._entries[key] = entry
            return entry
        if now >= entry.until + self._stale_for:
            self._drop(key)
        return None

    def stale(self, key: bytes, now: Micros) -> Entry | None:
        """Return what was known, not longer ago than it may be used when nobody answers; never a failure."""
        entry = self._entries.get(key)
        if entry is None or now >= entry.until + self._stale_for:
            return None
        return entry if entry.answer.rcode in (NOERROR, NXDOMAIN) else None

    def put(self, key: bytes, answer: Answer, now: Micros, host: str = "") -> None:
        """Keep answer for as long as it may be kept, which may be not at all."""
        lifetime = min(answer.lifetime, MOST)
        if lifetime <= 0 or self._max_entries <= 0:
            return
        if key in self._entries:
            self._drop(key)
        size = len(key) + answer.size
        if size > self._max_octets:
            return
        while len(self._entries) >= self._max_entries or self._octets + size > self._max_octets:
            self._drop(next(iter(self._entries)))
        self._entries[key] = Entry(answer, now, now + lifetime * _SECOND, host)
        self._octets += size

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
        self._octets = 0

    def _drop(self, key: bytes) -> None:
        self._octets -= len(key) + self._entries.pop(key).answer.size
