"""Goes back: to what is in force in place of what the files say, or to the generation before, or to any.

    files differ from what runs    the files become what runs
    else                           what ran before runs again, and the files become that
    a number                       that generation runs, and the files become it

What is to run is tried first, as after a reload; files are touched when it runs. What they held is kept by
then: as a generation of its own, unless it is one already.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final  # Any: a document

from tunproxy.control.config.sources import Sources, read_sources
from tunproxy.control.generations.book import Book
from tunproxy.control.generations.contents import CONFIG, Contents, OnDisk, read_disk
from tunproxy.control.generations.putting_back import Done, Plan, carry_out, plan_of, unkept, with_files_of
from tunproxy.control.generations.record import Generation, content_of
from tunproxy.control.generations.store import Found, Store
from tunproxy.control.generations.succession import contents_in, kept_of, one_before
from tunproxy.control.settings import PolicyOptions
from tunproxy.errors import ConfigError

BEFORE: Final = "before undo"

Use = Callable[[Sources, str, int], Awaitable[object]]  # puts sources in force: they, by what, restores


@dataclass(frozen=True)
class Undone:
    """What an undo did. target is whither; kept_as has what was in the files, 0 for none."""

    target: Generation
    is_new: bool  # that something else runs now
    done: Done = field(default_factory=Done)
    kept_as: int = 0

    def document(self, number: int) -> Mapping[str, Any]:
        """Return it for programs; number is that of what runs now."""
        return {
            "generation": number,
            "restores": self.target.number,
            "is_new": self.is_new,
            "written": self.done.written,
            "moved": self.done.moved,
            "notes": self.done.notes,
            "kept_as": self.kept_as,
        }


class Undoing:
    """options are those that name files; folder returns where plugins are."""

    def __init__(self, book: Book, options: PolicyOptions, folder: Callable[[], Path | None]) -> None:
        self._book: Final = book
        self._store: Final = book.store
        self._options: Final = options
        self._folder: Final = folder
        self._turn: Final = asyncio.Lock()

    async def disk(self) -> OnDisk:
        """Return what the files are now."""
        running = self._book.running
        known = {each.path: each.kind for each in running.files} if running is not None else {}
        return await asyncio.to_thread(read_disk, self._options, known, os.environ)

    async def undo(self, number: int, use: Use | None, *, keep_files: bool) -> Undone:
        """Go back to generation number, for 0 to the one that stands to reason. keep_files: files stay.

        use puts it in force; None where nothing runs. Raises TunproxyError; then nothing has changed, but
        that something may have been kept.
        """
        async with self._turn:
            found, disk = await self._book.find(), await self.disk()
            running = self._book.running
            is_same = running is not None and content_of(disk.config, disk.contents) == running.content()
            target = _target(found, running, number, is_same=is_same or keep_files)
            contents, lost = await asyncio.to_thread(contents_in, self._store, target)
            if target.config and target.config in lost:
                raise ConfigError(f"cannot go back to generation {target.number}: its configuration is lost")
            wide = await asyncio.to_thread(with_files_of, disk, target)
            plan = plan_of(target, contents, wide, self._folder())
            kept_as = 0
            if not keep_files:
                kept_as = await self._keep(plan.replaced(), wide, found)
                if kept_as:
                    plan = await asyncio.to_thread(
                        self._less, plan_of(target, contents, wide, self._folder())
                    )
            is_new = use is not None and (running is None or target.content() != running.content())
            if is_new and use is not None:
                named = [str(Path(each).absolute()) for each in self._options.plugins]
                kept = kept_of(target, contents, named)
                sources = await asyncio.to_thread(read_sources, self._options, os.environ, kept)
                await use(sources, f"undo to {target.number}", target.number)
            if keep_files:
                return Undone(target, is_new)
            try:
                done = await asyncio.to_thread(carry_out, plan, f"undone-{kept_as or target.number}")
            except ConfigError as error:
                if not is_new:
                    raise
                raise ConfigError(f"generation {target.number} is in force, but {error}") from error
            return Undone(target, is_new, done, kept_as if done.written or done.moved else 0)

    async def _keep(self, replaced: Contents, disk: OnDisk, found: Found) -> int:
        """Have what is to be replaced in the store; return the generation that has it, 0 for nothing."""
        if not replaced:
            return 0
        digests = {path: each.digest for path, each in replaced.items()}
        for each in reversed(found.generations):
            theirs = {file.path: file.digest for file in each.files if file.is_kept}
            if digests.items() <= theirs.items() and all(map(self._store.has, digests.values())):
                return each.number
        return (await self._book.aside(disk, BEFORE)).number

    def _less(self, plan: Plan) -> Plan:
        """Return a plan without what could not be kept, as it is too large."""
        missing = unkept(plan, self._store)
        return replace(
            plan,
            writes=[path for path in plan.writes if path not in missing],
            moves=[path for path in plan.moves if path not in missing],
            notes=[*plan.notes, *(f"{path} stays as it is: it is too large to be kept" for path in missing)],
        )


def _target(found: Found, running: Generation | None, number: int, *, is_same: bool) -> Generation:
    """Return where to go; raises ConfigError where there is nothing."""
    if number:
        return found.get(number)
    if running is None:
        raise ConfigError("cannot undo: what runs is not kept (tunproxy undo N goes to a generation)")
    if not is_same:
        return running
    before = one_before(found.generations, running)
    if before is None:
        raise ConfigError(
            f"cannot undo: nothing else was in force before generation {running.number} "
            "(tunproxy undo N goes to any of tunproxy generations)"
        )
    return before


def options_of(generation: Generation) -> PolicyOptions:
    """Return what options name files, as they were given when that generation was applied."""
    options = generation.options
    plugins = tuple(each for each in options.get("plugin", "").split("\n") if each)
    config = next((each.path for each in generation.files if each.kind == CONFIG), "")
    return PolicyOptions(config=config, rules=options.get("rules", ""), plugins=plugins)


def offline(store: Store, generation: Generation) -> Undoing:
    """Return what undoes for a tunproxy that does not run, and has run generation last."""
    book = Book(store, generation.options, lambda: generation.choices)
    book.running = generation
    return Undoing(book, options_of(generation), lambda: _folder_of(generation))


def _folder_of(generation: Generation) -> Path | None:
    """Return where plugins are by the configuration that is there, None where that cannot be told."""
    try:
        return read_sources(options_of(generation)).config.plugins.folder
    except ConfigError:
        return None
