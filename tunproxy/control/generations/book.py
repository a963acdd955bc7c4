"""The supervisor's view of the store: what runs, what is applied, and what became of it.

Nothing here stops anybody from applying anything: what cannot be kept is a ``problem``, for ``status``.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from tunproxy.control.config.sources import Sources
from tunproxy.control.generations.contents import Contents, OnDisk, config_of, contents_of
from tunproxy.control.generations.record import ASIDE, FAILED, HEALTHY, TRIAL, Generation, content_of
from tunproxy.control.generations.store import Found, Store, StoreError
from tunproxy.control.generations.succession import change_between, octets_reader, running

START: Final = "start"

_log: Final = logging.getLogger(__name__)


class Book:
    """options are those of the command line, in words; choices returns the members of groups now."""

    def __init__(
        self, store: Store, options: Mapping[str, str], choices: Callable[[], Mapping[str, str]]
    ) -> None:
        self.store: Final = store
        self.options: Final = options
        self.running: Generation | None = None  # None where it is not kept
        self.problem = ""  # why the last one was not kept
        self.choices: Final = choices

    @property
    def number(self) -> int:
        """The number of what runs, 0 where it is not kept."""
        return self.running.number if self.running is not None else 0

    async def find(self) -> Found:
        """Return all generations."""
        return await asyncio.to_thread(self.store.find)

    async def begin(self, sources: Sources) -> str:
        """Keep what we have started with; return what the user should know of it, "" for nothing."""
        found = await self.find()
        before = running(found.generations)
        newest = found.generations[-1] if found.generations else None
        contents = await asyncio.to_thread(contents_of, sources)
        content = content_of(config_of(sources), contents)
        warning = ""
        if newest is not None and newest.state == FAILED and newest.content() == content:
            warning = f"this configuration was taken back as generation {newest.number}: {newest.why}"
        self.running = before
        await self.applied(sources, START)
        if self.number:
            await self.mark(self.number, HEALTHY)
        return warning

    async def applied(self, sources: Sources, by: str, restores: int = 0) -> int:
        """Keep what is in force from now on; return its number, 0 where it cannot be kept.

        What is the same as before is not kept twice.
        """
        if not sources.config.apply.keep:
            self.running, self.problem = None, ""
            return 0
        try:
            self.running = await asyncio.to_thread(self._applied, sources, by, restores)
        except StoreError as error:
            self.running = None
            self._cannot(error)
            return 0
        self.problem = ""
        return self.number

    async def aside(self, disk: OnDisk, by: str) -> Generation:
        """Keep files that are about to be replaced; raises StoreError."""
        return await asyncio.to_thread(self._keep_aside, disk, by)

    async def mark(self, number: int, state: str, why: str = "") -> None:
        """Write down what became of a generation."""
        if not number:
            return
        try:
            await asyncio.to_thread(self.store.update, number, {"state": state, "why": why})
        except StoreError as error:
            self._cannot(error)

    async def went_back(self, before: Generation | None, why: str) -> None:
        """Write down that what runs was taken back, and that what ran before runs again."""
        if before is None or before.number != self.number:
            await self.mark(self.number, FAILED, why)
        self.running = before

    def _applied(self, sources: Sources, by: str, restores: int) -> Generation:
        contents, config = contents_of(sources), config_of(sources)
        content = content_of(config, contents)
        same_options = self.running is not None and dict(self.running.options) == dict(self.options)
        if self.running is not None and same_options and self.running.content() == content:
            if self._is_there(self.running.number):
                return self.running
            self.running = None
        generations = self.store.find().generations
        if self.running is not None:  # as they were when it ran last
            self.store.update(self.running.number, {"choices": dict(self.choices())})
        newest = generations[-1] if generations else None
        if newest is not None and newest.state == FAILED and newest.content() == content:
            changes = {"state": TRIAL, "why": "", "by": by, "at": time.time(), "restores": restores}
            self.store.update(newest.number, changes)
            return self.store.find().get(newest.number)
        return self._keep(contents, config, by=by, state=TRIAL, restores=restores)

    def _is_there(self, number: int) -> bool:
        return any(each.number == number for each in self.store.find().generations)

    def _keep_aside(self, disk: OnDisk, by: str) -> Generation:
        why = disk.error.splitlines()[0] if disk.error else ""
        return self._keep(disk.contents, disk.config, by=by, state=ASIDE, why=why)

    def _keep(
        self, contents: Contents, config: str, *, by: str, state: str, why: str = "", restores: int = 0
    ) -> Generation:
        """Keep a generation that comes after what runs; return it with its number. Raises StoreError."""
        read = octets_reader(self.store, self.running)
        made = Generation(
            number=0,
            at=time.time(),
            by=by,
            change=change_between(self.running, contents, self.options, read),
            state=state,
            why=why,
            restores=restores,
            config=config,
            options=dict(self.options),
            choices=dict(self.choices()),
        )
        return self.store.add(made, contents)

    def _cannot(self, error: StoreError) -> None:
        if self.problem != str(error):
            _log.warning("generations are not kept: %s", error)
        self.problem = str(error)
