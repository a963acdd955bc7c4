"""What many ask for at the same time is asked for once."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

# our choice: an answer this young is as good as a new one
FRESH_SECONDS: Final = 0.09
_EARLY: Final = 0.001  # seconds that a loop may wake us too early


class Shared(Generic[T]):
    """Calls fetch when somebody asks, for all who ask meanwhile and right after."""

    def __init__(self, fetch: Callable[[], Awaitable[T]]) -> None:
        self._fetch: Final = fetch
        self._task: asyncio.Task[T] | None = None
        self._done_at = float("-inf")

    async def get(self) -> T:
        """Return what fetch returned last, or raise what it raised."""
        loop = asyncio.get_running_loop()
        task = self._task
        if task is None or (task.done() and loop.time() - self._done_at > FRESH_SECONDS):
            task = self._task = loop.create_task(self._run(), name="shared")
            task.add_done_callback(_look_at)
        return await asyncio.shield(task)

    def forget(self) -> None:
        """Ask anew the next time: something has just been changed."""
        self._task = None

    async def close(self) -> None:
        """Give up what is under way."""
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> T:
        try:
            return await self._fetch()
        finally:
            self._done_at = asyncio.get_running_loop().time()


def _look_at(task: "asyncio.Task[T]") -> None:
    """Have asyncio not complain of an error that all who waited for have gone away from."""
    if not task.cancelled():
        task.exception()


async def ticks(seconds: float) -> AsyncGenerator[float, None]:
    """Yield the loop's time now, and at every multiple of seconds, so that all who wait wake together."""
    loop = asyncio.get_running_loop()
    while True:
        now = loop.time()
        yield now
        now = loop.time()
        await asyncio.sleep(((now + _EARLY) // seconds + 1) * seconds - now)
