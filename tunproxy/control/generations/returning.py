"""Puts back what ran before, and tells that it was: what trials and confirmations end in where they fail.

The files on disk stay as they are: they are their author's, who is told. What is put back is what ran, not
what could be read again, so that it needs neither files nor the store.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final  # Any: what coroutines take

from tunproxy.control.config.sources import Sources
from tunproxy.control.generations.book import Book
from tunproxy.control.generations.record import Generation
from tunproxy.control.reload import Reloader, Wanted
from tunproxy.control.serving import tell
from tunproxy.errors import TunproxyError

MAX_TEXT: Final = 400  # our choice: letters of what is told


class Returning:
    """Goes back to what reloader applied before, and keeps the tasks that may come to do so."""

    def __init__(self, reloader: Reloader, book: Book) -> None:
        self._reloader: Final = reloader
        self._book: Final = book
        self._tasks: Final[set[asyncio.Task[None]]] = set()

    def begin(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Do work aside, until ``close``."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Give up everything that was begun."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def go_back(self, old: Sources, is_wanted: Wanted) -> None:
        """Put old back, where that is still wanted when it is our turn, and tell why, or why it failed."""
        try:
            why = await self._reloader.take_back(old, is_wanted)
        except TunproxyError as error:
            why = str(error)
        if why:
            tell(why)

    async def note(self, why: str, before: Generation | None) -> str:
        """Write down that what runs was taken back; return what to tell."""
        number = self._book.number
        why = why[:MAX_TEXT]
        await self._book.went_back(before, why)
        if not number or before is None or before.number == number:
            return f"the new policy was taken back, and the one before is in force again: {why}"
        hint = f"tunproxy diff {before.number} {number} shows the change, tunproxy undo puts the files back"
        return f"generation {number} was taken back, and {before.number} is in force again: {why} ({hint})"
