"""Waiting for what others bring about: tasks of the loop, the kernel, other processes."""

import asyncio
import time
from collections.abc import Callable


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Return when condition is true; TimeoutError where it is not in time."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def turns(seconds: float = 0.0) -> None:
    """Let seconds pass, in which everybody on the loop has many turns.

    After a single sleep, and a machine that has stood still for as long, others have had one.
    """
    for _ in range(30):
        await asyncio.sleep(seconds / 30)


def eventually(condition: Callable[[], object], seconds: float = 20) -> bool:
    """Return whether condition is true in time; what runs meanwhile is not of this thread."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True
