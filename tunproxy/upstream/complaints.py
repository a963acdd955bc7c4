"""What people are told of upstreams that fail: once, and then how often, however many flows it meets.

A dead proxy behind a browser is hundreds of flows in a second, of which each line would say the same.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from tunproxy.logs.about import about

# our choices
QUIET: Final = 10.0  # seconds in which the same complaint is counted only
MAX_KEPT: Final = 64  # complaints that are told apart; of those beyond, one stands for all
OTHERS: Final = "other complaints, of more kinds than are told one by one"


class Complaints:
    """Tells each complaint once, and after QUIET seconds how many more there have been, if any.

    tell is called with a line and its fields, as a logger's method is.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tell: Callable[..., object]) -> None:
        self._loop: Final = loop
        self._tell: Final = tell
        self._more: Final[dict[str, int]] = {}  # by complaint, those that nobody was told of
        self._upstreams: Final[dict[str, str]] = {}  # by complaint, for the fields of a line
        self._timers: Final[dict[str, asyncio.TimerHandle]] = {}

    def take(self, what: str, why: str, upstream: str = "", rule: str = "") -> bool:
        """Take the complaint why about what, a flow, and an upstream, which rule has sent it to.

        Return whether a timer was set, which the loop has to be given a turn for.
        """
        is_full = why not in self._more and len(self._more) - (OTHERS in self._more) >= MAX_KEPT
        kept = OTHERS if is_full else why
        if kept in self._more:
            self._more[kept] += 1
            return False
        self._tell("%s: %s", what, why, extra=about(flow=what, upstream=upstream, rule=rule))
        if self._loop.is_closed():
            return False
        self._more[kept] = 0
        self._upstreams[kept] = "" if is_full else upstream
        self._timers[kept] = self._loop.call_later(QUIET, self._on_quiet, kept)
        return True

    def close(self) -> None:
        """Tell what has not been told, and wait for nothing more."""
        for timer in self._timers.values():
            timer.cancel()
        for why in list(self._more):
            self._summarize(why)
        self._more.clear()
        self._upstreams.clear()
        self._timers.clear()

    def _on_quiet(self, why: str) -> None:
        del self._timers[why]
        if self._summarize(why):
            self._more[why] = 0
            self._timers[why] = self._loop.call_later(QUIET, self._on_quiet, why)
        else:
            del self._more[why], self._upstreams[why]

    def _summarize(self, why: str) -> bool:
        count = self._more[why]
        if count:
            fields = about(upstream=self._upstreams[why])
            self._tell("%s more %s: %s", count, "flow" if count == 1 else "flows", why, extra=fields)
        return count > 0
