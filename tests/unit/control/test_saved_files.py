"""Files that are saved while somebody wants to know, and before; test_reload.py has what comes of it."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.unit.control.policies import sources_of, written
from tunproxy.control import saved_files
from tunproxy.control.saved_files import SavedFiles

CHANGED = "tunproxy.toml has changed"


class Told:
    """What was told, and when there is something."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.happened = asyncio.Event()

    async def take(self, why: str) -> None:
        self.words.append(why)
        self.happened.set()

    async def one(self) -> str:
        async with asyncio.timeout(10):
            await self.happened.wait()
        self.happened.clear()
        return self.words[-1]


def play(path: Path, talk: Callable[[SavedFiles, Told], Awaitable[None]]) -> None:
    async def both() -> None:
        await talk(SavedFiles(sources_of(path)), Told())

    asyncio.run(both())


def test_file_saved_before_it_was_watched_is_told_once(tmp_path: Path) -> None:
    async def talk(files: SavedFiles, told: Told) -> None:
        written(tmp_path, "# another one")
        async with files.watching(told.take):
            assert await told.one() == CHANGED
        files.take_as_read()
        async with files.watching(told.take):
            await asyncio.sleep(0.3)
        assert told.words == [CHANGED]

    play(written(tmp_path, ""), talk)


def test_files_of_other_sources_are_watched_where_they_are(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    rules = elsewhere / "home.rules"
    rules.write_text("MATCH,DIRECT\n")

    async def talk(files: SavedFiles, told: Told) -> None:
        async with files.watching(told.take):
            files.follow(sources_of(written(tmp_path, f'rules-file = "{rules}"\n')))
            # Whether it is watched by then or not: what is saved after it was read is news.
            rules.write_text("MATCH,REJECT\n")
            assert await told.one() == "home.rules has changed"

    play(written(tmp_path, ""), talk)


def test_folder_of_plugins_that_comes_with_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_files, "FOLDER_SECONDS", 0.01)
    folder = tmp_path / "plugins"

    async def talk(files: SavedFiles, told: Told) -> None:
        async with files.watching(told.take):
            made = tmp_path / "made"
            made.mkdir()
            (made / "picky.py").write_text("")
            made.rename(folder)
            assert await told.one() == f"{folder} is there"

    play(written(tmp_path, f'[plugins]\nfolder = "{folder}"\n'), talk)
