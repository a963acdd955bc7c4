"""Files that options of upstreams name: read with the rights of whoever started us, used without them."""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, final

MAX_SIZE: Final = 4 << 20  # octets; our choice: all authorities that systems trust have 0.3 MB

_FILE_KEY: Final = re.compile("[-_]file$|^dictionary$")

UNREAD: Final = "cannot read "  # how what is wrong with a file begins


@final
class OptionFile:
    """A file by its path, and what it held when the configuration was read. It never shows its contents."""

    __slots__ = ("data", "path")

    def __init__(self, path: str, data: bytes) -> None:
        self.path: Final = path
        self.data: Final = data

    def __repr__(self) -> str:
        return f"OptionFile({self.path!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OptionFile) and (other.path, other.data) == (self.path, self.data)

    def __hash__(self) -> int:
        return hash((self.path, self.data))

    @contextmanager
    def opened(self) -> Iterator[str]:
        """Have a path meanwhile that leads to the contents, for libraries that read nothing else."""
        fd = os.memfd_create("tunproxy option")
        try:
            with os.fdopen(os.dup(fd), "wb") as file:
                file.write(self.data)
            yield f"/proc/self/fd/{fd}"
        finally:
            os.close(fd)


def is_file_option(key: str) -> bool:
    """Tell whether an option of that name names a file, which is to be read beforehand."""
    return _FILE_KEY.search(key) is not None


def option_file(path: str, files: Mapping[str, bytes]) -> OptionFile:
    """Return the file at path: out of files, or else as ``read_option_file`` does."""
    data = files.get(path)
    return read_option_file(path) if data is None else OptionFile(path, data)


def read_option_file(path: str) -> OptionFile:
    """Return the file at path, as it is now; raises ValueError, which says what is wrong with it."""
    try:
        # without waiting: what is no file may be a pipe that nobody writes to
        fd = os.open(os.path.expanduser(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ValueError("it is no regular file")
            data = file.read(MAX_SIZE + 1)
    except (OSError, ValueError) as error:  # ValueError as well: a path with octet 0
        why = (getattr(error, "strerror", None) or str(error)).lower()
        raise ValueError(f"{UNREAD}{path!r}: {why}") from error
    if len(data) > MAX_SIZE:
        raise ValueError(f"{UNREAD}{path!r}: it has more than {MAX_SIZE} octets")
    return OptionFile(path, data)
