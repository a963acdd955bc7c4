"""The files of a policy: whether they are still as they were read, and word of each that is saved.

Those of plugins count as well, also ones that come into their folder, or that folder itself.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from tunproxy.control.beside import beside
from tunproxy.control.config.sources import Sources, stamp_of
from tunproxy.plugin.discovery import folder_files, is_plugin_file

# our choices
DEBOUNCE_MS: Final = 200  # editors save in several steps
WATCH_RETRY_SECONDS: Final = 30.0  # after which we try again where watching is refused
FOLDER_SECONDS: Final = 2.0  # between two looks at whether there is a folder of plugins

OnSave = Callable[[str], Awaitable[None]]  # takes what has happened, in words

_log: Final = logging.getLogger(__name__)


class SavedFiles:
    """The files of sources, from when they were read on."""

    def __init__(self, sources: Sources) -> None:
        self._changed: Final = asyncio.Event()  # other folders are to be watched
        self._paths = sources.paths
        self._meant = _behind_links(sources.paths)
        self._stamps = sources.stamps
        self._plugins = sources.config.plugins
        self._has_folder = _is_folder(self._plugins.folder)

    def follow(self, sources: Sources) -> None:
        """Have the files of sources count from now on, as they were read."""
        before = self._places()
        self._paths, self._plugins = sources.paths, sources.config.plugins
        self._meant = _behind_links(sources.paths)
        self._stamps = sources.stamps
        if self._places() != before:
            self._changed.set()

    def take_as_read(self) -> None:
        """Have the files count as read as they are now."""
        self._stamps = {path: stamp_of(path) for path in self._paths}
        before = self._places()
        self._meant = _behind_links(self._paths)
        if self._places() != before:
            self._changed.set()

    @contextlib.asynccontextmanager
    async def watching(self, on_save: OnSave) -> AsyncIterator[None]:
        """Call on_save within the context whenever one of the files is saved."""
        async with beside(self._watch(on_save), self._look_for_folder(on_save)):
            yield

    async def _watch(self, on_save: OnSave) -> None:
        while True:
            self._changed.clear()
            places = self._places()
            if not places:
                await self._changed.wait()
                continue
            try:
                await self._watch_in(places, on_save)
            except Exception as error:  # of a library that is not ours: no more than a file unwatched
                _log.warning("cannot watch the configuration: %s (tunproxy reload works)", error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), WATCH_RETRY_SECONDS)

    async def _look_for_folder(self, on_save: OnSave) -> None:
        """Have the folder of plugins watched from when there is one: most never make it."""
        while True:
            has_folder = _is_folder(self._plugins.folder)
            if has_folder != self._has_folder:
                self._has_folder = has_folder
                self._changed.set()
                await asyncio.sleep(DEBOUNCE_MS / 1000)
                if has_folder and folder_files(self._plugins):
                    await on_save(f"{self._plugins.folder} is there")
            await asyncio.sleep(FOLDER_SECONDS)

    async def _watch_in(self, places: Collection[Path], on_save: OnSave) -> None:
        """Tell when one of our files changes, or a plugin comes or goes, until other folders count.

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
        # It begins when awatch, which watches by then, waits.
        catching_up = asyncio.create_task(self._catch_up(on_save))
        try:
            async for found in changes:
                await self._tell([Path(path) for _, path in found], on_save)
        finally:
            catching_up.cancel()

    async def _catch_up(self, on_save: OnSave) -> None:
        """Tell of files that were saved after they were read and before they were watched."""
        await self._tell(self._paths, on_save)

    async def _tell(self, paths: Collection[Path], on_save: OnSave) -> None:
        """Tell of those files that are not the ones that were read last."""
        names = sorted({self._named(path).name for path in paths if self._is_news(path)})
        if names:
            await on_save(f"{', '.join(names)} has changed")

    def _is_news(self, path: Path) -> bool:
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
