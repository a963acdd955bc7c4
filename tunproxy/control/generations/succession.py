"""Which generation runs, which came before it, and what is other in a new one, in a line."""

import contextlib
import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tunproxy.control.config.sources import Kept
from tunproxy.control.generations.contents import CONFIG, PLUGIN, Contents, FileState
from tunproxy.control.generations.record import APPLIED, Generation
from tunproxy.control.generations.store import Store, StoreError
from tunproxy.plugin.discovery import FILE, FOLDER, PluginFile

FIRST: Final = "the first"
# our choices
MOST_LINES: Final = 5000  # of a file whose changed lines are counted one against the other
SHOWN: Final = 4  # files that a line names


def running(generations: Sequence[Generation]) -> Generation | None:
    """Return the one that runs, or ran last: the newest that was applied and not taken back."""
    return next((each for each in reversed(generations) if each.state in APPLIED), None)


def one_before(generations: Sequence[Generation], now: Generation) -> Generation | None:
    """Return the one to go back to from now: what had been applied before, and had other files.

    From one that somebody went back to it goes on from there, so that one can go back step by step.
    """
    known = {each.number: each for each in generations}
    base = now
    while base.restores in known and base.restores < base.number:
        base = known[base.restores]
    first = base.restores or base.number
    content = now.content()
    return next(
        (
            each
            for each in reversed(generations)
            if each.number < first and each.state in APPLIED and each.content() != content
        ),
        None,
    )


def contents_in(store: Store, generation: Generation) -> tuple[Contents, list[str]]:
    """Return the files of a generation, and the paths of those whose octets are not kept."""
    found: dict[str, FileState] = {}
    lost = []
    for file in generation.files:
        try:
            data = store.read(file)
        except StoreError:
            lost.append(file.path)
            continue
        found[file.path] = FileState(file.kind, data, file.mode, file.uid, file.gid, file.real)
    return found, lost


def kept_of(generation: Generation, contents: Contents, named_plugins: Sequence[str]) -> Kept:
    """Return contents of a generation as what a configuration is read from, in place of files."""
    plugins = tuple(
        PluginFile(Path(path), FILE if path in named_plugins else FOLDER, each.data)
        for path, each in contents.items()
        if each.kind == PLUGIN
    )
    files = {
        path: each.data
        for path, each in contents.items()
        if each.kind != PLUGIN and each.data is not None and path != generation.config
    }
    config = contents.get(generation.config)
    if config is not None and config.data is not None:
        files[generation.config] = config.data
    return Kept(generation.config, files, plugins)


def change_between(
    old: Generation | None,
    new: Contents,
    options: Mapping[str, str],
    read: Callable[[str], bytes | None],
) -> str:
    """Return what is other in new than in old: files, and how many lines came and went.

    read returns old's octets by path.
    """
    if old is None:
        return FIRST
    before = {each.path: each.digest for each in old.files}
    kinds = {each.path: each.kind for each in old.files}
    told: list[str] = []
    for path in sorted({*before, *new}, key=lambda each: (_kind(each, kinds, new) != CONFIG, each)):
        name = Path(path).name
        if path not in new:
            told.append(f"{name} gone")
        elif path not in before:
            told.append(f"{name} new")
        elif before[path] != new[path].digest:
            told.append(f"{name} {_lines(read(path), new[path].data)}".rstrip())
    if dict(old.options) != dict(options):
        told.append("options")
    if not told:
        return "nothing"
    more = f" and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    return f"{', '.join(told[:SHOWN])}{more}"


def octets_reader(store: Store, generation: Generation | None) -> Callable[[str], bytes | None]:
    """Return what reads a generation's files by path; None for what is not there."""
    files = {each.path: each for each in generation.files} if generation is not None else {}

    def read(path: str) -> bytes | None:
        with contextlib.suppress(StoreError, KeyError):
            return store.read(files[path])
        return None

    return read


def _kind(path: str, kinds: Mapping[str, str], new: Contents) -> str:
    return new[path].kind if path in new else kinds[path]


def _lines(old: bytes | None, new: bytes | None) -> str:
    """Return how many lines came and went, "" for what has none."""
    if old is None or new is None or b"\0" in old or b"\0" in new:
        return ""
    first, second = old.splitlines(), new.splitlines()
    if max(len(first), len(second)) > MOST_LINES:
        return f"{len(second) - len(first):+}"
    codes = difflib.SequenceMatcher(None, first, second).get_opcodes()
    came = sum(end - start for tag, _, _, start, end in codes if tag in ("insert", "replace"))
    went = sum(end - start for tag, start, end, _, _ in codes if tag in ("delete", "replace"))
    return f"+{came} -{went}"
