"""The files of a configuration with what they hold: as they were read and applied, or as they are on disk."""

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from tunproxy.control.config.sources import Sources, read_sources
from tunproxy.control.settings import PolicyOptions
from tunproxy.errors import TunproxyError

# kinds of files
CONFIG: Final = "configuration"
RULES: Final = "rules"
RULE_SET: Final = "rule set"
PLUGIN: Final = "plugin"
SECRET: Final = "secret"
OPTION: Final = "option"  # what an option of an upstream names: certificates, keys
HIDDEN: Final = frozenset((SECRET, OPTION))  # whose octets are nobody's business

MAX_READ: Final = 64 << 20  # octets of a file that a broken configuration may have named; our choice


@dataclass(frozen=True)
class FileState:
    """A file; data is None where it is there and cannot be read. The owner's mode is that of an inode."""

    kind: str
    data: bytes | None = field(repr=False)
    mode: int = 0o600
    uid: int = 0
    gid: int = 0
    real: str = ""

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of its octets, "" where they are unknown."""
        return hashlib.sha256(self.data).hexdigest() if self.data is not None else ""


Contents = Mapping[str, FileState]  # by absolute path


@dataclass(frozen=True)
class OnDisk:
    """What the files are now. config is the configuration's path; error says why it cannot be used."""

    config: str
    contents: Contents
    error: str = ""


def config_of(sources: Sources) -> str:
    """Return the configuration's path, "" where there is none."""
    return os.path.abspath(sources.document.name) if sources.document.name else ""


def contents_of(sources: Sources) -> Contents:
    """Return the files that sources were made of, with the octets that these had then."""
    config = config_of(sources)
    found: dict[str, FileState] = {}
    sets = {each.path for each in sources.config.rule_sets.values()}
    for path, data in {**sources.files, **sources.read}.items():
        if path == config:
            kind = CONFIG
        elif path in sources.read:
            kind = SECRET
        elif path == sources.rules:
            kind = RULES
        else:
            kind = RULE_SET if path in sets else OPTION
        found[path] = _state(path, kind, data)
    for each in sources.plugin_files:
        if each.data is not None:
            found[str(each.path)] = _state(str(each.path), PLUGIN, each.data)
    return found


def read_disk(options: PolicyOptions, known: Mapping[str, str], environment: Mapping[str, str]) -> OnDisk:
    """Return what the files are now that options name; known are those of what runs, path and kind.

    Where the configuration cannot be used as it is, those files count that are known.
    """
    try:
        sources = read_sources(options, environment)
    except TunproxyError as error:
        found = {}
        for path, kind in known.items():
            state = as_it_is(path, kind)
            if state is not None:
                found[path] = state
        config = next((path for path, kind in known.items() if kind == CONFIG), "")
        return OnDisk(config, found, str(error))
    return OnDisk(config_of(sources), contents_of(sources))


def as_it_is(path: str, kind: str) -> FileState | None:
    """Return a file as it is now, None where there is none."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_READ + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        return _state(path, kind, None)
    return _state(path, kind, data if len(data) <= MAX_READ else None)


def _state(path: str, kind: str, data: bytes | None) -> FileState:
    real = os.path.realpath(path)
    try:
        found = os.stat(path)
    except OSError:
        return FileState(kind, data, real=real)
    return FileState(kind, data, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, real)


def folder_plugins(contents: Contents, folder: Path | None) -> set[str]:
    """Return those of contents that are plugins only because they are in the folder."""
    return {
        path
        for path, each in contents.items()
        if each.kind == PLUGIN and folder is not None and Path(path).parent == folder
    }
