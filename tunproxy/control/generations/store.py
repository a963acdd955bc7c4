"""The folder that generations are kept in: documents by number, and the octets of files by their hash.

    generations/NAME/             0700
        lock                      held while somebody writes
        7.json                    what is written down of generation 7
        objects/ab/cdef…          octets of a file, packed, under their SHA-256; 0400

Everything is written beside its place, brought to disk, and renamed: whoever is killed meanwhile, or finds
the disk full, leaves what was there, and a file that the next one sweeps away. A document comes after what
it refers to. What is damaged, or gone, is told (``objects``).
"""

import contextlib
import fcntl
import os
import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from tunproxy.control.generations.contents import (
    CONFIG,
    OPTION,
    PLUGIN,
    RULE_SET,
    RULES,
    SECRET,
    Contents,
)
from tunproxy.control.generations.objects import MOST_OF_FILE, NEW, Objects, write_new
from tunproxy.control.generations.record import Generation, KeptFile, kept_file
from tunproxy.errors import ConfigError

# our choices
MOST: Final = 50  # generations
MOST_OCTETS: Final = 32 << 20  # of all objects
MOST_OF_ONE: Final = 12 << 20  # of the objects that are new with one generation
LEAST: Final = 2  # generations that stay however large they are
MAX_DOCUMENT: Final = 4 << 20
LOCK_SECONDS: Final = 5.0  # for somebody else who writes
LOOK_SECONDS: Final = 0.02

_IMPORTANT: Final = (CONFIG, RULES, PLUGIN, SECRET, OPTION, RULE_SET)
_NAME: Final = re.compile(r"([1-9][0-9]{0,8})\.json")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class StoreError(ConfigError):
    """What was to be kept, or had been, is not there."""


@dataclass(frozen=True)
class Found:
    """The generations, the oldest first; broken are the numbers of those that cannot be read."""

    generations: Sequence[Generation]
    broken: Sequence[int] = ()

    def get(self, number: int) -> Generation:
        """Return a generation; raises StoreError."""
        for each in self.generations:
            if each.number == number:
                return each
        if number in self.broken:
            raise StoreError(f"generation {number} is damaged (tunproxy generations lists the others)")
        raise StoreError(f"there is no generation {number} (tunproxy generations lists them)")


class Store:
    """The generations in a folder, which is made when there is something to keep. Any thread may use it."""

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder
        self._objects: Final = Objects(folder / "objects")

    def find(self) -> Found:
        """Return what is there. Never raises: what cannot be read is broken."""
        generations, broken = [], []
        for number in self._numbers():
            try:
                generations.append(self._document(number))
            except (OSError, StoreError):
                broken.append(number)
        return Found(generations, broken)

    def add(self, generation: Generation, contents: Contents) -> Generation:
        """Keep a generation with these contents; return it with number and files. Raises StoreError."""
        with self._writing():
            try:
                kept = self._keep_contents(contents)
                files = tuple(kept_file(path, each, is_kept=kept[path]) for path, each in contents.items())
                number = max(self._numbers(), default=0) + 1
                made = msgspec.structs.replace(generation, number=number, files=files)
                write_new(self._path(number), msgspec.json.encode(made), 0o600)
            except (OSError, StoreError):
                self._sweep()  # a full disk is not to be fuller for it
                raise
            self._prune()
        return made

    def update(self, number: int, changes: Mapping[str, object]) -> None:
        """Change what is written down of a generation, if it is there. Raises StoreError."""
        with self._writing():
            try:
                before = self._document(number)
            except (OSError, StoreError):
                return
            made = msgspec.structs.replace(before, **changes)
            write_new(self._path(number), msgspec.json.encode(made), 0o600)

    def read(self, file: KeptFile) -> bytes:
        """Return the octets that a file had; raises StoreError."""
        if not file.is_kept:
            raise StoreError(f"{file.path} was too large to be kept ({file.size:,} octets)")
        data = self._objects.get(file.digest)
        if data is None:
            raise StoreError(f"what is kept of {file.path} is damaged or gone")
        return data

    def has(self, digest: str) -> bool:
        """Tell whether the octets with that hash are there."""
        return self._objects.get(digest) is not None

    # reading

    def _numbers(self) -> list[int]:
        try:
            names = os.listdir(self.folder)
        except OSError:
            return []
        return sorted(int(found[1]) for name in names if (found := _NAME.fullmatch(name)))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number}.json"

    def _document(self, number: int) -> Generation:
        with open(self._path(number), "rb") as file:
            data = file.read(MAX_DOCUMENT)
        try:
            found = msgspec.json.decode(data, type=Generation)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise StoreError(f"generation {number} is damaged") from error
        if found.number != number or not all(_DIGEST.fullmatch(each.digest) for each in found.files):
            raise StoreError(f"generation {number} is damaged")
        return found

    # writing

    def _keep_contents(self, contents: Contents) -> dict[str, bool]:
        """Keep the octets of files, the important ones first; return of which. Of others the hash is kept."""
        kept: dict[str, bool] = {}
        room = MOST_OF_ONE
        order = sorted(
            contents.items(), key=lambda each: (_IMPORTANT.index(each[1].kind), len(each[1].data or b""))
        )
        for path, state in order:
            if state.data is None:
                raise StoreError(f"cannot keep {path}: it cannot be read")
            if len(state.data) > MOST_OF_FILE:
                kept[path] = False
                continue
            if self._objects.get(state.digest) is None:
                packed = zlib.compress(state.data)
                if len(packed) > room:
                    kept[path] = False
                    continue
                room -= len(packed)
                self._objects.put(state.digest, packed)
            kept[path] = True
        return kept

    def _prune(self) -> None:
        """Forget the oldest generations beyond what may be, and objects that nobody refers to."""
        numbers = self._numbers()
        while len(numbers) > MOST:
            self._forget(numbers.pop(0))
        self._sweep()
        while len(numbers) > LEAST and sum(size for _, size in self._objects.all()) > MOST_OCTETS:
            self._forget(numbers.pop(0))
            self._sweep()

    def _forget(self, number: int) -> None:
        with contextlib.suppress(OSError):
            self._path(number).unlink()

    def _sweep(self) -> None:
        """Remove objects without a generation, and what was being written when somebody was killed.

        While a generation cannot be read, nobody knows which are its own: all stay, as long as there is room.
        """
        found, objects = self.find(), list(self._objects.all())
        used = {self._objects.place(file.digest) for each in found.generations for file in each.files}
        for path, _ in objects:
            is_new = path.name.startswith(NEW)
            may_go = not found.broken or sum(size for _, size in objects) > MOST_OCTETS
            if is_new or (path not in used and may_go):
                with contextlib.suppress(OSError):
                    path.unlink()
        with contextlib.suppress(OSError):
            for path in self.folder.iterdir():
                if path.name.startswith(NEW):
                    path.unlink()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Have the folder for ourselves meanwhile; what the host refuses is a StoreError."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._objects.make()
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            fd = os.open(self.folder / "lock", flags, 0o600)
            try:
                _lock(fd)
                yield
            finally:
                os.close(fd)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise StoreError(f"cannot write into {self.folder}: {why}") from error


def _lock(fd: int) -> None:
    """Take the lock; raises OSError where somebody has it for too long."""
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > until:
                raise OSError(f"somebody has written there for {LOCK_SECONDS:g} s") from None
            time.sleep(LOOK_SECONDS)
