"""Takes back what nobody confirms, where somebody has asked for that, as with network gear.

A saved file is in force before anybody can say ``reload --confirm``: what was saved within SAVED_SECONDS
before that is therefore taken back with it.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tunproxy.control.config.sources import Sources
from tunproxy.control.generations.book import Book
from tunproxy.control.generations.record import Generation
from tunproxy.control.generations.returning import Returning
from tunproxy.control.reload import Reloader

SAVED_SECONDS: Final = 60.0  # our choice: in which whoever has saved a file asks that the change be confirmed


@dataclass
class _Saved:
    """What ran before files were saved, the first of them no longer than SAVED_SECONDS before the last."""

    old: Sources
    before: Generation | None
    first: float  # of time.monotonic
    last: float


@dataclass
class _Pending:
    """What is taken back unless somebody confirms what runs until then, in the loop's time."""

    old: Sources
    before: Generation | None
    until: float
    task: "asyncio.Task[None] | None" = None


class Confirming:
    """Reloads on condition. gave_up is called before what runs is taken back: whatever tries it may stop."""

    def __init__(
        self, reloader: Reloader, book: Book, returning: Returning, gave_up: Callable[[], None]
    ) -> None:
        self._reloader: Final = reloader
        self._book: Final = book
        self._returning: Final = returning
        self._gave_up: Final = gave_up
        self._pending: _Pending | None = None
        self._saved: _Saved | None = None

    def note_save(self, old: Sources, before: Generation | None) -> None:
        """Remember for a minute what ran before a file was saved."""
        now = time.monotonic()
        if self._saved is None or now - self._saved.first > SAVED_SECONDS:
            self._saved = _Saved(old, before, now, now)
        self._saved.last = now
        self._returning.begin(self._forget_save(now))

    def forget_save_after(self, old: Sources) -> None:
        """Forget the save that old ran before, if it is the one that is remembered: it was taken back."""
        if self._saved is not None and self._saved.old is old:
            self._saved = None

    async def reload(self, by: str, confirm: float = 0.0) -> dict[str, object]:
        """Have the files read again; what ran is put back after confirm seconds unless somebody confirms.

        What is applied meanwhile is put back as well, and so is what was saved just before. With 0 nothing
        is. Raises ReloadError.
        """
        old, before = self._reloader.sources, self._book.running
        if self._saved is not None:
            old, before = self._saved.old, self._saved.before
        found = await self._reloader.reload(by)
        if confirm:
            if self._pending is not None:
                old, before = self._pending.old, self._pending.before
            self.confirm()
            until = asyncio.get_running_loop().time() + confirm
            pending = self._pending = _Pending(old, before, until)
            pending.task = self._returning.begin(self._expire(pending, confirm))
        return found

    def confirm(self) -> bool:
        """Let what runs stay; return whether somebody had to say so."""
        pending, self._pending, self._saved = self._pending, None, None
        if pending is not None and pending.task is not None:
            pending.task.cancel()
        return pending is not None

    @property
    def goes_back_to(self) -> int:
        """The number of what runs again unless somebody confirms, 0 where it is not kept."""
        before = self._pending.before if self._pending is not None else None
        return before.number if before is not None else 0

    @property
    def seconds_left(self) -> float:
        """For how long what runs may still be confirmed, 0 where nobody has to."""
        if self._pending is None:
            return 0.0
        return round(max(0.0, self._pending.until - asyncio.get_running_loop().time()), 1)

    @property
    def problem(self) -> str:
        """What somebody should do, "" for nothing."""
        if self._pending is None:
            return ""
        what = "what is saved now" if self._is_before(self._pending) else "what runs"
        return f"{what} is taken back in {self.seconds_left:.0f} s (tunproxy confirm lets it stay)"

    async def _forget_save(self, last: float) -> None:
        """Let go of what ran before the save at that time, which may be large, unless another one came."""
        await asyncio.sleep(SAVED_SECONDS)
        if self._saved is not None and self._saved.last == last:
            self._saved = None

    async def _expire(self, pending: _Pending, seconds: float) -> None:
        await asyncio.sleep(seconds)

        async def is_wanted() -> str:
            if self._pending is not pending:
                return ""
            self._pending = None
            if self._is_before(pending):
                return ""  # nothing else was applied
            self._gave_up()
            return await self._returning.note(f"nobody has confirmed it within {seconds:g} s", pending.before)

        # not in this task, which confirm() ends
        self._returning.begin(self._returning.go_back(pending.old, is_wanted))

    def _is_before(self, pending: _Pending) -> bool:
        """Tell whether what runs is what would be put back, as far as it is kept."""
        return pending.before is not None and pending.before.number == self._book.number
