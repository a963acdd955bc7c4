"""Has a new configuration tried when it is applied, and the old one put back where it fails.

checks fail          that worked before
a worker dies        within CRASH_SECONDS; who was killed from outside may die once
nobody confirms      where somebody has asked for that (``confirming``)
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tunproxy.control.config.sources import Sources
from tunproxy.control.generations.book import Book
from tunproxy.control.generations.checks import failures
from tunproxy.control.generations.confirming import Confirming
from tunproxy.control.generations.record import HEALTHY, Generation
from tunproxy.control.generations.returning import Returning
from tunproxy.control.reload import SAVE, Reloader
from tunproxy.control.serving import tell
from tunproxy.errors import TunproxyError

# our choice
CRASH_SECONDS: Final = 20.0  # in which a worker's death is its fault: more than it takes to find one hung


class FailedError(TunproxyError):
    """A configuration was applied, and does not do."""


@dataclass
class _Trial:
    """One configuration on trial: after old, what ran, and before, what is kept of that."""

    old: Sources
    before: Generation | None
    crashed: asyncio.Event = field(default_factory=asyncio.Event)
    how: str = ""
    is_checked: bool = False
    killed: set[int] = field(default_factory=set)  # places of workers that somebody has killed
    until: float = 0.0  # of time.monotonic


class Applying:
    """Looks after what reloader applies, as its trial."""

    def __init__(self, reloader: Reloader, book: Book) -> None:
        self.book: Final = book
        self._reloader: Final = reloader
        self._failed_before: Mapping[str, str] = {}
        self._trial: _Trial | None = None
        self._returning: Final = Returning(reloader, book)
        self.confirming: Final = Confirming(reloader, book, self._returning, self._forget_trial)
        self.is_apart = False  # what runs is not what the files say, as somebody wanted it

    @contextlib.asynccontextmanager
    async def looking_after(self) -> AsyncIterator[None]:
        """Keep what we have started with, and look after what is applied, within the context."""
        self._returning.begin(self._keep_first())
        try:
            yield
        finally:
            await self._returning.close()

    async def _keep_first(self) -> None:
        async with self._reloader.quiet():
            if not self.book.number:
                warning = await self.book.begin(self._reloader.sources)
                if warning:
                    tell(warning)

    # a trial, for the reloader, which does one thing at a time

    async def before(self, sources: Sources) -> None:
        """Find out which of the new checks work with the old policy."""
        apply = sources.config.apply
        self._failed_before = await failures(apply.check, apply.check_seconds) if apply.check else {}
        if not self.book.number and sources.config.apply.keep:
            await self.book.begin(self._reloader.sources)

    async def after(self, sources: Sources, old: Sources, by: str, restores: int) -> None:
        """Try what is in force since now; raises FailedError where old is to be put back."""
        trial = self._trial = _Trial(old, self.book.running)
        self.is_apart = False
        if by == SAVE:
            self.confirming.note_save(old, trial.before)
        await self.book.applied(sources, by, restores)
        why = await self._checked(sources, trial)
        trial.is_checked = True
        if not why:
            self._returning.begin(self._prove(trial))
            return
        self._trial = None
        self.confirming.forget_save_after(old)
        raise FailedError(await self._returning.note(why, trial.before))

    def _forget_trial(self) -> None:
        self._trial = None

    async def _checked(self, sources: Sources, trial: _Trial) -> str:
        """Return why a configuration fails, "" where it does not."""
        apply = sources.config.apply
        checks = [each for each in apply.check if each not in self._failed_before]
        if not checks:
            return _died(trial)
        checking = asyncio.ensure_future(failures(checks, apply.check_seconds, patient=True))
        dying = asyncio.ensure_future(trial.crashed.wait())
        try:
            await asyncio.wait((checking, dying), return_when=asyncio.FIRST_COMPLETED)
            if trial.crashed.is_set():
                return _died(trial)
            failed = checking.result()
        finally:
            for each in (checking, dying):
                each.cancel()
            await asyncio.wait((checking, dying))
        return "; ".join(
            f"check {check!r} worked before and fails now: {why}" for check, why in failed.items()
        )

    async def _prove(self, trial: _Trial) -> None:
        """Call what runs healthy when its time is over."""
        trial.until = time.monotonic() + CRASH_SECONDS
        while (left := trial.until - time.monotonic()) > 0:
            await asyncio.sleep(left)
        if self._trial is trial and not trial.how:
            self._trial = None
            await self.book.mark(self.book.number, HEALTHY)

    # workers that die

    def worker_died(self, place: int, how: str, was_killed: bool) -> None:
        """Have whoever takes its place begin with the old policy, where the new one may be at fault.

        It is not where a worker was killed, once: by somebody, or by a kernel that then kills the next, too.
        """
        trial = self._trial
        if trial is None or trial.how:
            return
        if was_killed and place not in trial.killed:
            trial.killed.add(place)
            trial.until = time.monotonic() + CRASH_SECONDS
            return
        trial.how = how
        self._reloader.fall_back(trial.old)
        trial.crashed.set()
        if trial.is_checked:
            self._trial = None
            self._returning.begin(self._after_death(trial))

    async def _after_death(self, trial: _Trial) -> None:
        async def is_wanted() -> str:
            if self._reloader.sources is not trial.old:
                return ""
            return await self._returning.note(_died(trial), trial.before)

        await self._returning.go_back(trial.old, is_wanted)

    # for status

    def document(self) -> Mapping[str, object]:
        """Return which generation runs, and for how long it has to be confirmed."""
        left = self.confirming.seconds_left
        return {"generation": {"running": self.book.number, "confirm_seconds": left}}

    def problems(self) -> Sequence[str]:
        """Return what somebody should do."""
        found = [self.confirming.problem] if self.confirming.problem else []
        if self.is_apart:
            found.append("what runs is not what the files say (tunproxy diff; tunproxy reload reads them)")
        if self.book.problem:
            found.append(f"generations are not kept: {self.book.problem}")
        return found


def _died(trial: _Trial) -> str:
    return f"a worker died right after it was applied ({trial.how})" if trial.how else ""
