"""What was logged last, for those who look on. Nobody pays for it before somebody does.

The first question has a handler look at the log, and lowers the level if it must; when nobody has asked for
a while, all is as before.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final  # Any: a document, as JSON has it

from tunproxy.errors import ConfigError

# our choices
KEPT: Final = 512  # lines
LONGEST: Final = 500  # letters of one
PATIENCE: Final = 15.0  # seconds without a question after which nobody looks any more

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class LogRing(logging.Handler):
    """The last lines of a logger. clock is in seconds; later calls a function after so many of them."""

    def __init__(
        self,
        later: Callable[[float, Callable[[], None]], object],
        logger: logging.Logger | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._later: Final = later
        self._logger: Final = logger or logging.getLogger("tunproxy")
        self._clock: Final = clock
        self._lines: Final[deque[tuple[int, float, str, str]]] = deque(maxlen=KEPT)
        self._number = 0
        self._asked_at = 0.0
        self._is_on = False
        self._before = logging.NOTSET

    def lines(self, about: dict[str, Any]) -> dict[str, Any]:
        """Return the lines after about's number since, of its level and above, and the number of the last.

        A line is [seconds since 1970, level, text]. Raises ConfigError for a level that is none.
        """
        level, since = about.get("level", "info"), about.get("since")
        if level not in LEVELS:
            raise ConfigError(f"there is no level {level!r}")
        self._asked_at = self._clock()
        self._look(LEVELS[level])
        least = LEVELS[level]
        assert self.lock is not None
        with self.lock:  # others log meanwhile
            kept, last = list(self._lines), self._number
        found = []
        if type(since) is int:
            since = since if since <= last else 0  # of somebody who had our place before
            found = [
                [at, name, text]
                for number, at, name, text in kept
                if number > since and LEVELS[name] >= least
            ]
        return {"number": last, "lines": found}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record, which may come from any thread."""
        try:
            text = record.getMessage()
        except Exception:  # a mistake of who logs must not become ours
            text = str(record.msg)
        name = "debug"
        for each, least in LEVELS.items():  # the highest that it reaches: what lies between two is the lower
            name = each if record.levelno >= least else name
        self._number += 1
        self._lines.append((self._number, record.created, name, text[:LONGEST]))

    def stop(self) -> None:
        """Look no more, and put the level back."""
        if self._is_on:
            self._is_on = False
            self._logger.removeHandler(self)
            self._logger.setLevel(self._before)

    def _look(self, level: int) -> None:
        if not self._is_on:
            self._is_on = True
            self._before = self._logger.level
            self._logger.addHandler(self)
            self._later(PATIENCE, self._perhaps_stop)
        if self._logger.getEffectiveLevel() > level:
            self._logger.setLevel(level)

    def _perhaps_stop(self) -> None:
        left = self._asked_at + PATIENCE - self._clock()
        if left <= 0:
            self.stop()
        else:
            self._later(left, self._perhaps_stop)
