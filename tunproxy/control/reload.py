"""Reload: the supervisor reads the files again and has the workers build a new policy of them.

It happens on command (POST /reload, SIGHUP), when one of the files is saved, those of plugins too, and when
a plugin comes into its folder. Whatever is wrong, with the
files or in a worker, the old policy stays in force, and ``status`` says so until a reload succeeds.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final  # Any as the workers' JSON has it

from tunproxy.control.config.sources import Sources, into_memory, read_sources, stamp_of
from tunproxy.control.naming import fake_files
from tunproxy.control.questions import NoAnswerError, Questions
from tunproxy.control.serving import tell
from tunproxy.control.settings import PolicyOptions
from tunproxy.errors import TunproxyError
from tunproxy.plugin.discovery import folder_files, is_plugin_file

# our choices
PATIENCE: Final = 120.0  # seconds for a worker to build; a million rules take two or three
ACCEPT_SECONDS: Final = 10.0  # for it to begin; it has to take what may be many megabytes
LOOK_SECONDS: Final = 0.05  # between two looks at whether it has
DEBOUNCE_MS: Final = 200  # editors save in several steps
WATCH_RETRY_SECONDS: Final = 30.0  # after which we try again where watching is refused
FOLDER_SECONDS: Final = 2.0  # between two looks at whether there is a folder of plugins

Meanwhile = Callable[[], AbstractContextManager[None]]

_log: Final = logging.getLogger(__name__)


class ReloadError(TunproxyError):
    """The new policy cannot be used; the old one is in force."""


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
        self._changed: Final = asyncio.Event()  # other folders are to be watched
        self._paths = sources.paths
        self._meant = _behind_links(sources.paths)
        self._stamps = sources.stamps
        self._plugins = sources.config.plugins
        self._has_folder = _is_folder(self._plugins.folder)
        self.error = ""  # why the last reload failed, "" after one that did not

    async def reload(self) -> dict[str, object]:
        """Have a new policy built and put in force; return its summary. Raises ReloadError."""
        async with self._turn:
            with self._meanwhile():
                return await self._try()

    async def _try(self) -> dict[str, object]:
        try:
            found = await self._reload()
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
        try:
            return {"is_reloaded": True, "error": "", "policy": await self.reload()}
        except ReloadError as error:
            return {"is_reloaded": False, "error": str(error), "policy": None}

    async def reload_and_tell(self, why: str) -> None:
        """Do as reload does, and tell the user."""
        try:
            found = await self.reload()
        except ReloadError as error:
            tell(f"{why} (the old policy stays): {error}")
        else:
            tell(f"{why}: policy {found.get('generation')} is in force, {found.get('rules')} rules")

    async def _reload(self) -> dict[str, object]:
        self._stamps = {path: stamp_of(path) for path in self._paths}
        before = self._places()
        self._meant = _behind_links(self._paths)
        if self._places() != before:
            self._changed.set()
        sources = await asyncio.to_thread(read_sources, self._options)
        before = self._places()
        self._paths, self._plugins = sources.paths, sources.config.plugins
        self._meant = _behind_links(sources.paths)
        self._stamps = sources.stamps
        if self._places() != before:
            self._changed.set()
        fd = await asyncio.to_thread(into_memory, sources)
        opened = None
        try:
            opened = await asyncio.to_thread(fake_files, sources.config.dns)
            found: dict[str, object] = {}
            for worker in self._workers:
                if opened is not None:
                    await worker.ask("fake-file", opened.fd, opened.lock_fd)
                os.lseek(fd, 0, os.SEEK_SET)
                found = await self._build_in(worker, fd)
            return found
        finally:
            os.close(fd)
            if opened is not None:
                opened.close()

    async def _build_in(self, worker: Questions, fd: int) -> dict[str, object]:
        asked = await worker.ask("reload", fd, patience=ACCEPT_SECONDS)
        if asked.get("is_accepted") is not True:
            raise NoAnswerError("the worker is building a policy already (try again)")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while True:
                    # Busy as it is, it may be long in answering; that it has not answered yet says nothing.
                    state: dict[str, Any] = await worker.ask("policy", patience=PATIENCE)
                    if not state.get("is_building"):
                        break
                    await asyncio.sleep(LOOK_SECONDS)
                if state.get("error"):
                    raise ReloadError(str(state["error"]))
                return state
        raise NoAnswerError(f"the worker has not built the policy within {PATIENCE:g} s")

    # on save

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Reload within the context whenever one of the files is saved."""
        tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._look_for_folder())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _watch(self) -> None:
        while True:
            self._changed.clear()
            places = self._places()
            if not places:
                await self._changed.wait()
                continue
            try:
                await self._watch_in(places)
            except Exception as error:  # of a library that is not ours: no more than a file unwatched
                _log.warning("cannot watch the configuration: %s (tunproxy reload works)", error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), WATCH_RETRY_SECONDS)

    async def _look_for_folder(self) -> None:
        """Have the folder of plugins watched from when there is one: most never make it."""
        while True:
            has_folder = _is_folder(self._plugins.folder)
            if has_folder != self._has_folder:
                self._has_folder = has_folder
                self._changed.set()
                await asyncio.sleep(DEBOUNCE_MS / 1000)
                if has_folder and folder_files(self._plugins):
                    await self.reload_and_tell(f"{self._plugins.folder} is there")
            await asyncio.sleep(FOLDER_SECONDS)

    async def _watch_in(self, places: Collection[Path]) -> None:
        """Reload when one of our files changes, or a plugin comes or goes, until other folders count.

        Folders are watched, as editors put a new file in the old one's place. Which files in them are ours
        may change meanwhile: to watch anew would be to miss what is saved in between.
        """
        from watchfiles import awatch  # loaded only where there is something to watch

        changes = awatch(
            *places,
            watch_filter=lambda _, path: self._is_ours(Path(path)),
            stop_event=self._changed,
            debounce=DEBOUNCE_MS,
            recursive=False,
        )
        catching_up = asyncio.create_task(
            self._catch_up()
        )  # begins when awatch, which watches by then, waits
        try:
            async for found in changes:
                names = sorted(
                    {self._named(Path(path)).name for _, path in found if self._is_news(Path(path))}
                )
                if names:
                    await self.reload_and_tell(f"{', '.join(names)} has changed")
        finally:
            catching_up.cancel()

    async def _catch_up(self) -> None:
        """Reload if a file has been saved after it was read and before it was watched."""
        names = sorted(path.name for path in self._paths if self._is_news(path))
        if names:
            await self.reload_and_tell(f"{', '.join(names)} has changed")

    def _is_news(self, path: Path) -> bool:
        """Return whether a file is not the one that was read last."""
        path = self._named(path)
        return path not in self._stamps or stamp_of(path) != self._stamps[path]

    def _places(self) -> set[Path]:
        """Return the folders to watch."""
        found = {path.parent for path in (*self._paths, *self._meant)}
        if self._plugins.folder is not None and self._has_folder:
            found.add(self._plugins.folder)
        return {path for path in found if path.is_dir()}

    def _named(self, path: Path) -> Path:
        """Return the name that we know a file by, where a symbolic link of that name leads to path."""
        return path if path in self._paths else self._meant.get(path, path)

    def _is_ours(self, path: Path) -> bool:
        return (
            path in self._paths
            or path in self._meant
            or (path.parent == self._plugins.folder and is_plugin_file(path))
        )


def _behind_links(paths: Sequence[Path]) -> dict[Path, Path]:
    """Return the files that symbolic links among paths lead to, with the names that we know them by."""
    found = {path: Path(os.path.realpath(path)) for path in paths}
    return {real: path for path, real in found.items() if real != path}


def _is_folder(path: Path | None) -> bool:
    return path is not None and path.is_dir()
