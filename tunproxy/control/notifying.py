"""What the service manager hears of a supervisor at work: that all is well, and when it reloads.

All is well as long as every worker answers. So a worker that hangs, in a plugin's hook that does not return
for example, is noticed by whoever started us, and we are started anew. During a reload, which may keep
workers busy and has a time limit of its own, nothing is asked.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Final

from tunproxy.control.beside import beside
from tunproxy.control.questions import NoAnswerError, Questions
from tunproxy.host.notify import ServiceManager

# our choice: tries within the time that the service manager gives us; a worker may be slow once
TRIES: Final = 3


@contextlib.asynccontextmanager
async def telling_alive(manager: ServiceManager, workers: Sequence[Questions]) -> AsyncIterator[None]:
    """Tell manager within the context that we are alive, where it wants to hear that."""
    if not manager.watchdog_seconds:
        yield
        return
    async with beside(_tell(manager, workers), name="watchdog"):
        yield


@contextlib.contextmanager
def telling_reload(manager: ServiceManager, line: str, error: Callable[[], str]) -> Iterator[None]:
    """Tell manager that we reload within the context, and after it that we serve: line, or why not anew."""
    manager.reloading()
    try:
        yield
    finally:
        why = error()
        manager.ready(f"the old policy stays: {why}" if why else line)


async def _tell(manager: ServiceManager, workers: Sequence[Questions]) -> None:
    pause = manager.watchdog_seconds / TRIES
    while True:
        if manager.is_reloading or await _all_answer(workers, patience=pause):
            manager.alive()
        await asyncio.sleep(pause)


async def _all_answer(workers: Sequence[Questions], patience: float) -> bool:
    try:
        await asyncio.gather(*(each.ask("policy", patience=patience) for each in workers))
    except NoAnswerError:
        return False
    return True
