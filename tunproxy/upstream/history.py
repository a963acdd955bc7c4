"""What tests through an upstream have shown so far, and what follows from it."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from tunproxy.upstream.base import Upstream

# how an upstream is doing; the lower, the better
WELL: Final = 0  # or not known to be otherwise
SUSPECT: Final = 1  # a flow could not reach it; a test is under way
DEAD: Final = 2  # the last test failed

# our choices
KEPT: Final = 10  # as many results as Clash's API shows
RETRY_AFTER: Final = 5.0  # seconds until a dead upstream is tested again; doubles with each failure
LONGEST_WAIT: Final = 600.0  # … up to this, or to the interval where that is longer


@dataclass(frozen=True, slots=True)
class Delay:
    """One test: when, in seconds since 1970, and how long it took, in milliseconds, 0 where it failed."""

    at: float
    ms: int


class Record:
    """The tests of one upstream with one URL."""

    def __init__(self, upstream: Upstream, url: str) -> None:
        self.upstream = upstream
        self.url: Final = url
        self.state = WELL
        self.failures = 0  # in a row
        self.problem = ""  # why the last test failed, for people
        self._delays: Final[deque[Delay]] = deque(maxlen=KEPT)

    @property
    def history(self) -> list[Delay]:
        """The last tests, the oldest first."""
        return list(self._delays)

    @property
    def delay(self) -> int | None:
        """What the last test took, in ms; None where there was none, or it failed."""
        return self._delays[-1].ms or None if self._delays else None

    def succeeded(self, ms: int, at: float) -> None:
        """Note a test that took ms milliseconds."""
        self._delays.append(Delay(at, max(ms, 1)))
        self.state, self.failures, self.problem = WELL, 0, ""

    def failed(self, why: str, at: float) -> None:
        """Note a test that failed."""
        self._delays.append(Delay(at, 0))
        self.state, self.problem = DEAD, why
        self.failures += 1

    def suspect(self) -> None:
        """Note that a flow could not reach the upstream."""
        if self.state == WELL:
            self.state = SUSPECT

    def wait(self, interval: float) -> float:
        """Return after how many seconds the next test is due; longer and longer for the dead."""
        if not self.failures:
            return interval
        longest = max(interval, LONGEST_WAIT)
        return min(RETRY_AFTER * 2.0 ** min(self.failures - 1, 16), longest)
