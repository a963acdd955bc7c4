"""Ends workers that do not answer, so that another one takes their place; without systemd, too.

    supervisor ── "knock" ──▶ worker, every PAUSE          a step of STEP seconds without an answer counts,
               ◀── {} ──      from its loop's own turn     unless somebody kept us, or it, from running

A worker hangs in a hook of a plugin's that does not return, or is stopped. What only looks like that costs
nobody his connections: time that this machine has slept is none (CLOCK_MONOTONIC does not count it), a step
that took us much longer than a step says that we were starved or stopped ourselves, and what the worker has
waited for a processor, for a disk or for a debugger is not its fault.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from tunproxy.control.beside import beside
from tunproxy.control.crew import Crew
from tunproxy.control.process import WorkerProcess
from tunproxy.control.questions import GoneError
from tunproxy.host.activity import STOPPED, TRACED, WAITS_FOR_DISK, Activity, activity_of

# our choices, in seconds
PAUSE: Final = 4.0  # between two knocks, while all is well
STEP: Final = 1.0
HANGS: Final = 10.0  # of silence: no hook may take a hundredth of that
HANGS_BUSY: Final = 60.0  # while policies are built, whose lists may keep a worker from its loop for seconds
LATE: Final = 2.0  # times STEP that a step may have taken, for it to count


class HangWatch:
    """Looks after the workers of crew within ``watching``; is_busy says that they build policies."""

    def __init__(
        self,
        crew: Crew,
        is_busy: Callable[[], bool],
        *,
        pause: float = PAUSE,
        step: float = STEP,
        limits: tuple[float, float] = (HANGS, HANGS_BUSY),
        look: Callable[[int], Activity | None] = activity_of,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """limits are for a worker that is not busy, and for one that is."""
        self._crew: Final = crew
        self._is_busy: Final = is_busy
        self._pause: Final = pause
        self._step: Final = step
        self._limits: Final = limits
        self._look: Final = look
        self._clock: Final = clock

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Do it within the context."""
        async with beside(*(self._keep(place) for place in range(len(self._crew))), name="hung?"):
            yield

    async def _keep(self, place: int) -> None:
        while True:
            await asyncio.sleep(self._pause)
            process = self._crew.serving(place)
            if process is None:
                continue
            with contextlib.suppress(GoneError):
                silent = await self._silence(place, process.pid)
                if silent and self._crew.serving(place) is process:
                    why = f"did not answer for {silent:.0f} s: {await self._why(process)}"
                    process.kill(f"killed because it {why}")

    async def _silence(self, place: int, pid: int) -> float:
        """Return for how long a worker has said nothing, once that is too long, and 0 where it answers."""
        silent = 0.0
        while True:
            before, began = self._look(pid), self._clock()
            if await self._crew.questions[place].is_listening(self._step):
                return 0.0
            after, took = self._look(pid), self._clock() - began
            if before is None or after is None:
                return 0.0  # it has ended, which others see
            if took <= self._step * LATE and after.state not in (TRACED, WAITS_FOR_DISK):
                silent += max(min(took, self._step) - (after.waited - before.waited), 0.0)
            if silent >= self._limits[self._is_busy()]:
                return silent

    async def _why(self, process: WorkerProcess) -> str:
        """Return in words why a worker hangs."""
        found = self._look(process.pid)
        if found is not None and found.state == STOPPED:
            return "somebody had stopped it"
        place = await process.where()
        return f"it hung in {place}" if place else "nobody knows why"
