"""Reload: the supervisor reads the files again and has the workers build a new policy of them.

It happens on command (POST /reload, SIGHUP), and when one of the files is saved (``saved_files``). Whatever
is wrong, with the files or in a worker, the old policy stays in force, and ``status`` says so until a reload
succeeds. That holds for several workers, too: all of them build it before the first one uses it.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Final, Protocol

from tunproxy.control.config.sources import Sources, into_memory, read_sources
from tunproxy.control.naming import fake_files
from tunproxy.control.questions import GoneError, Questions
from tunproxy.control.rollout import ReloadError as ReloadError
from tunproxy.control.rollout import build_in, roll_out
from tunproxy.control.saved_files import SavedFiles
from tunproxy.control.serving import tell, warn
from tunproxy.control.settings import PolicyOptions
from tunproxy.errors import TunproxyError

# our choices
PUT_BACK_SECONDS: Final = 20.0  # for a worker to be there, when one was just replaced
PUT_BACK_PAUSE: Final = 0.2

SAVE: Final = "save"  # who asks for a reload, where nobody but a file does

Meanwhile = Callable[[], AbstractContextManager[None]]
Wanted = Callable[[], Awaitable[str]]  # says why something is to be done, "" where it is not


class Trial(Protocol):
    """What a new policy has to pass before it may stay."""

    async def before(self, sources: Sources) -> None:
        """Look how things are, before the policy of sources is in force."""

    async def after(self, sources: Sources, old: Sources, by: str, restores: int) -> None:
        """Look how they are now. Raises TunproxyError where the policy of old is to be put back."""


async def told(work: Awaitable[dict[str, object]]) -> dict[str, object]:
    """Return how a reload went, for the API."""
    try:
        return {"is_reloaded": True, "error": "", "policy": await work}
    except ReloadError as error:
        return {"is_reloaded": False, "error": str(error), "policy": None}


class Reloader:
    """Reads what options name, on behalf of the workers. sources are those that they began with."""

    def __init__(
        self,
        options: PolicyOptions,
        sources: Sources,
        workers: Sequence[Questions],
        meanwhile: Meanwhile = contextlib.nullcontext,
    ) -> None:
        """meanwhile makes a context in which each reload happens; ``error`` is settled when it is left."""
        self._options: Final = options
        self._workers: Final = workers
        self._meanwhile: Final = meanwhile
        self._turn: Final = asyncio.Lock()
        self._files: Final = SavedFiles(sources)
        self.sources = sources  # those in force
        self.adopted: Callable[[Sources, int], None] | None = None  # told of others, and of their generation
        self.trial: Trial | None = None  # what policies of files have to pass
        self._generation = 1
        self.error = ""  # why the last reload failed, "" after one that did not

    @property
    def is_busy(self) -> bool:
        """Whether workers are building a policy now, or are about to."""
        return self._turn.locked()

    async def reload(self, by: str = "reload") -> dict[str, object]:
        """Have a new policy built and put in force; return its summary. Raises ReloadError.

        by says who has asked for it, in words.
        """
        async with self._turn:
            with self._meanwhile():
                return await self._try(self._reload(by))

    async def use(self, sources: Sources, by: str, restores: int) -> dict[str, object]:
        """Do as reload does, with sources in place of what the files say.

        restores is the number of the generation that these are from.
        """
        async with self._turn:
            with self._meanwhile():
                return await self._try(self._apply(sources, by, restores))

    async def again(self) -> None:
        """Have the policy in force built anew: something around it is other. Raises TunproxyError."""
        async with self._turn:
            with self._meanwhile():
                await self._use(self.sources)

    @contextlib.asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """Have nothing else put in force within the context."""
        async with self._turn:
            yield

    def follow(self, sources: Sources) -> None:
        """Watch the files of sources from now on, as they are now."""
        self._files.follow(sources)
        self._files.take_as_read()

    async def _try(self, work: Awaitable[dict[str, object]]) -> dict[str, object]:
        try:
            found = await work
        except TunproxyError as error:
            self.error = str(error)
            raise ReloadError(self.error) from error
        except OSError as error:  # no descriptor or no memory is left
            reason = (error.strerror or str(error)).lower()
            self.error = f"cannot read the configuration again: {reason} (try again)"
            raise ReloadError(self.error) from error
        self.error = ""
        return found

    async def answer(self) -> dict[str, object]:
        """Do as reload does, and say how it went, for the API."""
        return await told(self.reload())

    async def reload_and_tell(self, why: str, by: str = "") -> None:
        """Do as reload does, and tell the user."""
        try:
            found = await self.reload(by or why)
        except ReloadError as error:
            warn(f"{why} (the old policy stays): {error}")
        else:
            tell(f"{why}: policy {found.get('generation')} is in force, {found.get('rules')} rules")

    async def _reload(self, by: str) -> dict[str, object]:
        self._files.take_as_read()  # whatever is wrong with them is told once
        sources = await asyncio.to_thread(read_sources, self._options)
        self._files.follow(sources)
        return await self._apply(sources, by)

    async def _apply(self, sources: Sources, by: str, restores: int = 0) -> dict[str, object]:
        """Have the policy of sources in force, unless it fails its trial."""
        if self.trial is None:
            return await self._use(sources)
        old = self.sources
        await self.trial.before(sources)
        found = await self._use(sources)
        self.error = ""  # as far as we know yet
        try:
            await self.trial.after(sources, old, by, restores)
        except TunproxyError as error:
            await self._put_back(old, str(error))
            raise
        return found

    async def _use(self, sources: Sources) -> dict[str, object]:
        fd = await asyncio.to_thread(into_memory, sources)
        opened = None
        try:
            opened = await asyncio.to_thread(fake_files, sources.config.dns)
            found = await roll_out(self._workers, fd, opened)
            self.sources = sources
            generation = found.get("generation")
            if isinstance(generation, int):
                self._generation = generation
                if self.adopted is not None:
                    self.adopted(sources, generation)
            return found
        finally:
            os.close(fd)
            if opened is not None:
                opened.close()

    # going back

    def fall_back(self, sources: Sources) -> None:
        """Have workers that begin from now on use these sources, which were in force before."""
        self.sources = sources
        if self.adopted is not None:
            self.adopted(sources, self._generation)

    async def take_back(self, sources: Sources, is_wanted: Wanted) -> str:
        """Put sources in force, which were before; return why, "" where nobody wants that any more.

        is_wanted says why, when our turn has come. Raises ReloadError.
        """
        async with self._turn:
            why = await is_wanted()
            if why:
                with self._meanwhile():
                    self.error = why
                    await self._put_back(sources, why)
            return why

    async def _put_back(self, sources: Sources, why: str) -> None:
        """Put sources in force, which were before, for the reason why; wait for a worker that is replaced."""
        until = time.monotonic() + PUT_BACK_SECONDS
        while True:
            try:
                await self._use(sources)
                return
            except (TunproxyError, OSError) as error:
                if not isinstance(error, GoneError) or time.monotonic() > until:
                    self.error = f"{why}; what was before cannot be put back: {error} (restart tunproxy)"
                    raise ReloadError(self.error) from error
            await asyncio.sleep(PUT_BACK_PAUSE)

    async def catch_up(self, number: int, sources: Sources) -> None:
        """Have a worker that has begun with sources use those in force, if they are others. Never raises."""
        async with self._turn:
            if sources is self.sources:
                return
            try:
                fd = await asyncio.to_thread(into_memory, self.sources)
                try:
                    await build_in(self._workers[number], fd, "reload")
                finally:
                    os.close(fd)
            except (TunproxyError, OSError) as error:
                self.error = f"worker {number} has an older policy: {error}"

    # on save

    def watching(self) -> AbstractAsyncContextManager[None]:
        """Reload within the context whenever one of the files is saved."""
        return self._files.watching(lambda why: self.reload_and_tell(why, SAVE))
