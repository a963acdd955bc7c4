"""Answers for everything about generations, as documents: to the API, and without it where nothing runs."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final  # Any: documents, as JSON has them

from tunproxy.control.generations.applying import Applying
from tunproxy.control.generations.comparing import Side, compare
from tunproxy.control.generations.contents import contents_of
from tunproxy.control.generations.record import Generation
from tunproxy.control.generations.store import Found, Store, StoreError
from tunproxy.control.generations.succession import contents_in, running
from tunproxy.control.generations.undoing import Undoing, offline
from tunproxy.control.naming import SYSTEM_STATE, state_folder
from tunproxy.control.reload import Reloader, told
from tunproxy.errors import ConfigError

RUNNING: Final = "running"
DISK: Final = "disk"
LONGEST: Final = 86_400.0  # seconds to confirm within; our choice

Choose = Callable[[Mapping[str, str]], Awaitable[None]]
Document = dict[str, Any]


def folder_for(state: Path, name: str) -> Path:
    """Return the folder of the generations of the tunproxy called name, in the folder of what stays."""
    return state / "generations" / name


def listed(found: Found, running: int, problem: str = "") -> Document:
    """Return what there is, the oldest first."""
    return {
        "running": running,
        "generations": [
            {
                "number": each.number,
                "at": each.at,
                "by": each.by,
                "change": each.change,
                "state": each.state,
                "why": each.why,
                "restores": each.restores,
                "files": len(each.files),
                "is_running": each.number == running,
            }
            for each in found.generations
        ],
        "broken": list(found.broken),
        "problem": problem,
    }


class Desk:
    """The supervisor's. choose has members of groups be those that were chosen then."""

    def __init__(self, reloader: Reloader, applying: Applying, undoing: Undoing, choose: Choose) -> None:
        self._reloader: Final = reloader
        self._applying: Final = applying
        self._book: Final = applying.book
        self._undoing: Final = undoing
        self._choose: Final = choose

    async def generations(self) -> Document:
        """Return which there are."""
        return listed(await self._book.find(), self._book.number, self._book.problem)

    async def reload(self, confirm: float = 0.0) -> Document:
        """Have the files read again; what ran is put back after confirm seconds, unless somebody confirms."""
        if not 0 <= confirm <= LONGEST:
            return {"is_reloaded": False, "error": f"confirm must be 1 to {LONGEST:g} s", "policy": None}
        answer = await told(self._applying.confirming.reload("reload", confirm))
        back = self._applying.confirming.goes_back_to
        return {**answer, "generation": self._book.number, "confirm_seconds": confirm, "goes_back_to": back}

    async def confirm(self) -> Document:
        """Let what runs stay. Raises ConfigError where nobody has asked."""
        if not self._applying.confirming.confirm():
            raise ConfigError("there is nothing to confirm (tunproxy reload --confirm SECONDS)")
        return {"generation": self._book.number}

    async def undo(self, number: int, *, keep_files: bool) -> Document:
        """Go back, and return what was done. Raises TunproxyError."""
        found = await self._undoing.undo(number, self._reloader.use, keep_files=keep_files)
        self._applying.confirming.confirm()
        if found.is_new:
            await self._choose(found.target.choices)
        if not keep_files:
            self._reloader.follow(self._reloader.sources)
            if not found.done.notes:
                self._reloader.error = ""
        self._applying.is_apart = bool(keep_files or found.done.notes)
        return dict(found.document(self._book.number))

    async def diff(self, old: str, new: str, *, with_secrets: bool) -> Document:
        """Return what is other. Raises ConfigError."""
        sides = [await self._side(each) for each in (old or RUNNING, new or DISK)]
        return await asyncio.to_thread(_compared, *sides, with_secrets=with_secrets)

    async def _side(self, which: str) -> Side:
        options, choices = self._book.options, self._book.choices()
        if which == RUNNING:
            return Side("running", contents_of(self._reloader.sources), {}, options, choices)
        if which == DISK:
            return Side("files", (await self._undoing.disk()).contents, {}, options, choices)
        found = await self._book.find()
        return await asyncio.to_thread(side_of, self._book.store, found.get(number_of(which)))


class Offline:
    """The same for a tunproxy that does not run: what it has kept, and its files. Raises ConfigError."""

    def __init__(self, store: Store) -> None:
        self._store: Final = store
        self._found: Final = store.find()
        self._last: Final = _last(self._found)

    def generations(self) -> Document:
        """Return which there are; none of them runs."""
        return listed(self._found, 0)

    def undo(self, number: int) -> Document:
        """Put files back, and return what was done."""
        undoing = offline(self._store, self._last)
        found = asyncio.run(undoing.undo(number, None, keep_files=False))
        return dict(found.document(0))

    def diff(self, old: str, new: str, *, with_secrets: bool) -> Document:
        """Return what is other; what ran last stands for what runs."""
        sides = [self._side(each) for each in (old or RUNNING, new or DISK)]
        return _compared(*sides, with_secrets=with_secrets)

    def _side(self, which: str) -> Side:
        if which == DISK:
            disk = asyncio.run(offline(self._store, self._last).disk())
            return Side("files", disk.contents, {}, self._last.options, self._last.choices)
        number = self._last.number if which == RUNNING else number_of(which)
        return side_of(self._store, self._found.get(number))


def side_of(store: Store, generation: Generation) -> Side:
    """Return a generation as one side of a comparison."""
    contents, lost = contents_in(store, generation)
    digests = {each.path: each.digest for each in generation.files if each.path in lost}
    name = f"generation {generation.number}"
    return Side(name, contents, digests, generation.options, generation.choices)


def number_of(text: str) -> int:
    """Return a generation's number; raises ConfigError for what is none."""
    if not (text.isascii() and text.isdigit() and 0 < int(text[:10]) < 10**9):
        raise ConfigError(f"{text!r} is no generation (a number can be, {RUNNING}, and {DISK})")
    return int(text)


def _compared(old: Side, new: Side, *, with_secrets: bool) -> Document:
    return {"old": old.name, "new": new.name, "lines": compare(old, new, with_secrets=with_secrets)}


def _last(found: Found) -> Generation:
    last = running(found.generations)
    if last is None:
        raise StoreError("nothing is kept that could be used (tunproxy up keeps what it applies)")
    return last


def folders_kept(name: str = "") -> list[Path]:
    """Return the folders with generations that we may read, of the tunproxy called name, or of all.

    Those of this user come first, and those of the service then; of one name there is one.
    """
    found: dict[str, Path] = {}
    for state in dict.fromkeys((state_folder(), SYSTEM_STATE)):
        with contextlib.suppress(OSError):
            for path in sorted((state / "generations").iterdir()):
                if (
                    name in ("", path.name)
                    and os.access(path, os.R_OK | os.X_OK)
                    and any(path.glob("*.json"))
                ):
                    found.setdefault(path.name, path)
    return list(found.values())
