"""Queries of ours that are under way, so that one that comes back to us is known, and refused.

Policy rules keep them out of the device. Where somebody has removed these, or a resolver on this host passes
queries on into the device, we would ask ourselves until our patience is over.

A query is known by its octets; or by its name, where that has capitals by chance (``capitals``): who passes a
query on gives it another id, and leaves the name.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tunproxy.dns.message import HEADER_LEN

# our choice: programs ask all the time, and one line says it
TELL_SECONDS: Final = 60.0

_log: Final = logging.getLogger(__name__)


class OwnQueries:
    """Those of one worker."""

    def __init__(self) -> None:
        self.returned = 0  # how many came back
        self._open: Final[Counter[bytes]] = Counter()  # queries, and questions that have capitals
        self._tells_at = 0.0

    @contextmanager
    def sent(self, query: bytes, *, has_chance: bool = False) -> Iterator[None]:
        """Know query within the context; has_chance says that the capitals in its name are by chance."""
        keys = [query, *(_telling(query) if has_chance else ())]
        self._open.update(keys)
        try:
            yield
        finally:
            for key in keys:
                self._open[key] -= 1
                if self._open[key] <= 0:
                    del self._open[key]

    def is_ours(self, query: bytes) -> bool:
        """Tell whether a query that came to us is one of ours; count it then, and tell people."""
        if not self._open:
            return False
        if query not in self._open and not any(key in self._open for key in _telling(query)):
            return False
        self.returned += 1
        now = time.monotonic()
        if now >= self._tells_at:
            self._tells_at = now + TELL_SECONDS
            _log.warning(
                "a query of ours came back to us, and was refused: a resolver on this host passes it on, or "
                "the policy rules are gone (name other resolvers in [dns] servers; see ip rule)"
            )
        return True


def _telling(query: bytes) -> list[bytes]:
    """Return the question of a query whose name has capitals."""
    end = query.find(0, HEADER_LEN)  # of the name: labels have no such octet, as a rule
    name = query[HEADER_LEN : end + 1]
    return [query[HEADER_LEN : end + 5]] if end > 0 and name != name.lower() else []
