"""Octets under the hash that they have, each string of them once: objects/ab/cdef…, packed.

What is read is compared with its hash; what does not agree counts as lost.
"""

import contextlib
import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tunproxy.control.writing import write_private

MOST_OF_FILE: Final = 4 << 20  # our choice: octets of a file, before it is packed
NEW: Final = ".new-"  # what is being written, until it has its name


class Objects:
    """The objects in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder: Final = folder

    def make(self) -> None:
        """Make the folder, if it is not there. Raises OSError."""
        self._folder.mkdir(mode=0o700, exist_ok=True)  # put() would let others in

    def place(self, digest: str) -> Path:
        """Return where the octets with that hash are, or would be."""
        return self._folder / digest[:2] / digest[2:]

    def get(self, digest: str) -> bytes | None:
        """Return the octets with that hash, None where they are not there as they were."""
        try:
            with open(self.place(digest), "rb") as file:
                packed = file.read(2 * MOST_OF_FILE)
            unpacking = zlib.decompressobj()
            data = unpacking.decompress(packed, MOST_OF_FILE + 1)
        except (OSError, zlib.error):
            return None
        return data if hashlib.sha256(data).hexdigest() == digest else None

    def put(self, digest: str, packed: bytes) -> None:
        """Keep octets, which are packed already, under their hash. Raises OSError."""
        write_new(self.place(digest), packed, 0o400)

    def all(self) -> Iterator[tuple[Path, int]]:
        """Yield all that is there with its size on the disk, also what was left half written."""
        with contextlib.suppress(OSError):
            for folder in self._folder.iterdir():
                with contextlib.suppress(OSError):
                    for path in folder.iterdir():
                        yield path, path.lstat().st_size


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file whole or not at all, and bring it to disk; its name begins with NEW until then."""
    write_private(path, data, path.with_name(f"{NEW}{os.getpid()}-{path.name}"), mode, is_synced=True)
