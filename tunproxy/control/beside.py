"""Work that goes on beside something else, and no longer than that."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any  # what coroutines take


@contextlib.asynccontextmanager
async def beside(*works: Coroutine[Any, Any, None], name: str | None = None) -> AsyncIterator[None]:
    """Have works go on within the context; when it has been left, they are cancelled and have ended.

    What ends by itself, or with an error, ends nothing else. name is that of the tasks.
    """
    tasks = [asyncio.create_task(work, name=name) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
