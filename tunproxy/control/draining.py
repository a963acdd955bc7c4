"""The end of fake addresses: programs that have one in their cache are not left with what leads nowhere.

From the signal that ends us on, names get real addresses, and resolved forgets the fake ones. Those that
are out are still translated, for new flows as well, until no flow is open to one and what was told last has
outlived its TTL; for a few seconds at most. Routes and workers stay as they are. A second signal ends it.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final  # Any as the workers' JSON has it

from tunproxy.control.questions import NoAnswerError, Questions

# our choices
LOOK_SECONDS: Final = 0.05
ASK_SECONDS: Final = 1.0  # one that does not answer is about to be killed
GRACE: Final = 0.2  # seconds beyond the TTL, for who has just been told


class Draining:
    """Drains when ``draining`` is left: for seconds at most, 0 for not at all.

    flush has resolved forget what it knows; fake_ttl is the TTL of fake addresses, in seconds.
    """

    def __init__(
        self,
        workers: Sequence[Questions],
        seconds: float,
        flush: Callable[[], Awaitable[None]],
        fake_ttl: float = 1.0,
    ) -> None:
        self._workers: Final = workers
        self._seconds: Final = seconds
        self._flush: Final = flush
        self._quiet: Final = fake_ttl + GRACE
        self._is_hurried: Final = asyncio.Event()

    def hurry(self) -> None:
        """Wait no longer."""
        self._is_hurried.set()

    @contextlib.asynccontextmanager
    async def draining(self) -> AsyncIterator[None]:
        """Drain after the context."""
        try:
            yield
        finally:
            with contextlib.suppress(NoAnswerError):
                await self._drain()

    async def _drain(self) -> None:
        told = await self._ask("drain")
        if not any(answer.get("has_fakes") for answer in told):
            return
        await self._flush()
        ends_at = time.monotonic() + self._seconds
        while time.monotonic() < ends_at and not self._is_hurried.is_set():
            if not any(self._is_busy(answer) for answer in await self._ask("names")):
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._is_hurried.wait()

    def _is_busy(self, answer: dict[str, Any]) -> bool:
        """Tell whether a flow is open to a fake address, or somebody may still remember one."""
        since = answer.get("fake_seconds")
        return bool(answer.get("fake_flows")) or (isinstance(since, (int, float)) and since < self._quiet)

    async def _ask(self, what: str) -> list[dict[str, Any]]:
        asking = (worker.ask(what, patience=ASK_SECONDS) for worker in self._workers)
        return list(await asyncio.gather(*asking))
