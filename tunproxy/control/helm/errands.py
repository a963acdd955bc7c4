"""Coroutines that the supervisor has begun, and whose results it fetches when they are there.

Questions are asked one after the other and answered at once (``questions``), so nothing that takes its time
may be an answer: a ticket is, and the result of a ticket is asked for until it is there.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final  # Any: a document, as JSON has it

from tunproxy.errors import ConfigError, TunproxyError

# our choices
MOST: Final = 64  # that run, or whose results wait
KEPT: Final = 60.0  # seconds that a result waits

Document = dict[str, Any]


class Errands:
    """Runs coroutines on the loop that it is called on. clock is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock: Final = clock
        self._number = 0
        self._tasks: Final[dict[int, tuple[asyncio.Task[Document], float]]] = {}

    def begin(self, work: Coroutine[Any, Any, Document]) -> Document:
        """Run work; return its ticket. Raises ConfigError where there are too many."""
        self._forget()
        if len(self._tasks) >= MOST:
            work.close()
            raise ConfigError(f"{MOST} tests and look-ups are under way (try again)")
        self._number += 1
        task = asyncio.get_running_loop().create_task(work, name=f"errand {self._number}")
        self._tasks[self._number] = task, self._clock() + KEPT
        return {"ticket": self._number}

    def fetch(self, about: dict[str, Any]) -> Document:
        """Return whether the errand of about's ticket is done, and if so its result, once.

        Raises ConfigError where there is none.
        """
        ticket = about.get("ticket")
        if type(ticket) is not int or ticket not in self._tasks:
            raise ConfigError(f"there is no errand {ticket!r}")
        task, _ = self._tasks[ticket]
        if not task.done():
            return {"is_done": False}
        del self._tasks[ticket]
        if task.cancelled():
            raise ConfigError("it was given up")
        error = task.exception()
        if isinstance(error, TunproxyError):
            raise error
        if error is not None:
            raise ConfigError(f"{type(error).__name__}: {error}") from error
        return {"is_done": True, "result": task.result()}

    def close(self) -> None:
        """Give everything up."""
        for task, _ in self._tasks.values():
            task.cancel()
        self._tasks.clear()

    def _forget(self) -> None:
        """Let go of what nobody has come back for."""
        now = self._clock()
        for number, (task, until) in list(self._tasks.items()):
            if now > until:
                task.cancel()
                del self._tasks[number]
