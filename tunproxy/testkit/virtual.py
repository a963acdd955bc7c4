"""Time that passes only when everybody waits: a clock, and an asyncio loop that lives by it."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

Result = TypeVar("Result")


class Stuck(Exception):  # what it says, not what kind of thing it is
    """Everybody waits, and for nothing that will ever happen."""


class VirtualClock:
    """Seconds since the test began. It is called like ``time.monotonic``."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        return self._now

    @property
    def now(self) -> float:
        """The time, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let time pass. Raises ValueError where it would go back."""
        if seconds < 0:
            raise ValueError(f"time does not go back ({seconds} s)")
        self._now += seconds


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop on a VirtualClock: whenever nothing else is to be done, it is the next timer's time.

    Sockets must have both ends in this process, and nothing may run in a thread: what is not ready at once
    is taken for something that takes its time.
    """

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self.clock: Final = clock or VirtualClock()
        super().__init__(_VirtualSelector(self.clock))

    def time(self) -> float:
        return self.clock.now

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:  # Any: what asyncio's own says
        """Return what coroutine returns. Raises Stuck where it waits for what never happens."""
        task = self.create_task(coroutine)
        try:
            return self.run_until_complete(task)
        except Stuck:
            task.cancel()
            self.call_soon(_nothing)  # lets it clean up without waiting for what made it stuck
            self.run_until_complete(asyncio.wait([task]))
            raise

    def settle(self) -> None:
        """Run what can run without time passing, such as the other end of a conversation."""
        for _ in range(20):
            self.call_soon(self.stop)
            self.run_forever()


class _VirtualSelector(selectors.DefaultSelector):
    """Does not wait: moves the clock instead."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock: Final = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise Stuck(f"everybody waits for ever, {self._clock.now:g} s after the beginning{self._who()}")
        if not ready and timeout is not None and timeout > 0:
            self._clock.advance(timeout)
        return ready

    def _who(self) -> str:
        waiting = len(self.get_map() or ()) - 1  # but for the loop's own
        return f" ({waiting} on sockets)" if waiting > 0 else ""


def _nothing() -> None:
    """Give the loop something to do."""
