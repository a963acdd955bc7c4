"""Puts files back: what a generation had, in place of what is there now, of which nothing is lost.

What is there now has to be kept first: in the store, or else not a file is touched. Files that would count
and were not there then, plugins in their folder above all, get another name. One that somebody is just
saving, or whose path leads somewhere else by now, stays as it is, and is told.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tunproxy.control.generations.contents import (
    CONFIG,
    Contents,
    FileState,
    OnDisk,
    as_it_is,
    folder_plugins,
)
from tunproxy.control.generations.record import Generation
from tunproxy.control.generations.store import Store
from tunproxy.control.writing import replace_file
from tunproxy.errors import ConfigError


@dataclass(frozen=True)
class Plan:
    """What is to be done. writes and moves are paths; notes say what is not done, and why."""

    writes: Sequence[str]
    moves: Sequence[str]
    contents: Contents
    disk: OnDisk
    notes: Sequence[str] = ()

    def replaced(self) -> Contents:
        """Return what is there now and will not be."""
        return {
            path: self.disk.contents[path]
            for path in (*self.writes, *self.moves)
            if path in self.disk.contents
        }


@dataclass
class Done:
    """What was done: files that were put back, and the new names of those that had to go."""

    written: list[str] = field(default_factory=list)
    moved: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def with_files_of(disk: OnDisk, generation: Generation) -> OnDisk:
    """Return disk with those files, too, that are in the way of a generation's."""
    found = dict(disk.contents)
    for file in generation.files:
        if file.path not in found:
            state = as_it_is(file.path, file.kind)
            if state is not None:
                found[file.path] = state
    return replace(disk, contents=found)


def plan_of(generation: Generation, contents: Contents, disk: OnDisk, plugin_folder: Path | None) -> Plan:
    """Return what there is to do so that files are as in generation, whose kept files are contents.

    disk is ``with_files_of`` it.
    """
    writes, moves, notes = [], [], []
    for file in generation.files:
        now = disk.contents.get(file.path)
        if now is not None and now.digest == file.digest:
            continue
        if file.path not in contents:
            notes.append(f"{file.path} stays as it is: what it held then is not kept")
        elif os.path.realpath(file.path) != (file.real or file.path):
            notes.append(f"{file.path} stays as it is: it leads somewhere else now")
        else:
            writes.append(file.path)
    known = {file.path for file in generation.files}
    for path in folder_plugins(disk.contents, plugin_folder) | {
        path for path, each in disk.contents.items() if each.kind == CONFIG
    }:
        if path not in known:
            moves.append(path)
    return Plan(writes, sorted(moves), contents, disk, notes)


def unkept(plan: Plan, store: Store) -> list[str]:
    """Return the files that the plan replaces and whose octets are not in the store."""
    return [path for path, state in plan.replaced().items() if not store.has(state.digest)]


def carry_out(plan: Plan, mark: str) -> Done:
    """Do it; mark is what the names of files end with that have to go.

    Raises ConfigError; then all is as before.
    """
    done = Done(notes=list(plan.notes))
    try:
        for path in plan.writes:
            if _is_other(path, plan.disk.contents.get(path)):
                done.notes.append(f"{path} stays as it is: somebody has just saved it")
                continue
            _write(path, plan.contents[path])
            done.written.append(path)
        for path in plan.moves:
            done.moved[path] = _moved(path, mark)
    except (ConfigError, OSError) as error:
        _revert(plan, done)
        why = str(error) if isinstance(error, ConfigError) else (error.strerror or str(error)).lower()
        raise ConfigError(f"cannot put the files back, they stay as they are: {why}") from error
    return done


def _write(path: str, state: FileState) -> None:
    assert state.data is not None
    is_new = not os.path.lexists(path)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, state.data, state.mode)
    if is_new:
        with contextlib.suppress(PermissionError):
            os.chown(path, state.uid, state.gid)


def _moved(path: str, mark: str) -> str:
    """Give a file another name; return it."""
    other = f"{path}.{mark}"
    count = 1
    while os.path.lexists(other):
        count += 1
        other = f"{path}.{mark}-{count}"
    os.rename(path, other)
    return other


def _revert(plan: Plan, done: Done) -> None:
    """Have files as they were."""
    for path, other in done.moved.items():
        with contextlib.suppress(OSError):
            os.rename(other, path)
    for path in done.written:
        before = plan.disk.contents.get(path)
        with contextlib.suppress(OSError, ConfigError):
            if before is None:
                os.unlink(path)
            else:
                _write(path, before)


def _is_other(path: str, known: FileState | None) -> bool:
    """Tell whether a file is not what it was when we looked."""
    now = as_it_is(path, "")
    return (now.digest if now is not None else None) != (known.digest if known is not None else None)
