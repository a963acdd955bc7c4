"""The file that keeps fake addresses from one run to the next, so that what programs remember stays true.

    tunproxy fake-ip 1 198.18.0.0/15 fc00::/18
    16 www.example.com 5d4ab1c0

A line is one name, its number and a checksum, appended with one write; so a process that is killed at any
moment leaves whole lines, but for the last, which is left out then. Later lines count. What has grown too
long is written anew beside the file, and takes its place in one step.
"""

import contextlib
import errno
import fcntl
import logging
import os
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tunproxy.errors import ConfigError

_log: Final = logging.getLogger(__name__)
_SLACK: Final = 10_000  # our choice: lines that no longer count, before the file is written anew


@dataclass(frozen=True)
class StoreFiles:
    """The file and its lock, opened: by somebody with the right to, for a process that has it no longer."""

    fd: int
    lock_fd: int

    def close(self) -> None:
        """Let go of both. The lock is held until the last process has closed it."""
        os.close(self.fd)
        os.close(self.lock_fd)


def open_files(path: Path) -> StoreFiles:
    """Open the file at path and its lock, which is not taken, and make what is not there.

    Raises ConfigError.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock_fd = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except BaseException:
            os.close(lock_fd)
            raise
    except OSError as error:
        raise _cannot("open", path, error) from error
    return StoreFiles(fd, lock_fd)


class FakeStore:
    """The file at path, which belongs to us until close(). ranges are those of the addresses.

    files are those of ``open_files``, which belong to us from now on; without any they are opened here.
    Raises ConfigError where they cannot be opened, or another process has them. A file for other ranges, or
    which is something else, is begun anew.
    """

    def __init__(self, path: Path, ranges: str, files: StoreFiles | None = None) -> None:
        self._path: Final = path
        self._head: Final = f"tunproxy fake-ip 1 {ranges}\n".encode()
        self._lines = 0
        self._has_failed = False
        self._may_replace = True
        files = files if files is not None else open_files(path)
        try:
            fcntl.flock(files.lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            files.close()
            raise ConfigError(
                f"cannot use {path}: another tunproxy has it (name another file, or stop that one)"
            ) from error
        except OSError as error:
            files.close()
            raise _cannot("lock", path, error) from error
        self._fd = self._current(files.fd)
        self._lock_fd: Final = files.lock_fd

    def load(self) -> dict[int, str]:
        """Return the names by number, those used earlier first, and make the file ready for more."""
        try:
            with open(self._fd, "rb", closefd=False) as file:
                file.seek(0)
                data = file.read()
        except OSError as error:
            raise _cannot("read", self._path, error) from error
        found: dict[int, str] = {}
        if data.startswith(self._head):
            for line in data[len(self._head) :].splitlines(keepends=True):
                self._lines += 1
                entry = _parse(line)
                if entry is not None:
                    found.pop(entry[0], None)
                    found[entry[0]] = entry[1]
        # A name that was given another number later: only that one counts.
        numbers = {name: number for number, name in found.items()}
        found = {number: name for number, name in found.items() if numbers[name] == number}
        if not data.startswith(self._head) or self._lines != len(found) or not data.endswith(b"\n"):
            self.rewrite(found.items())
            if not self._may_replace:
                self._mend(data)
        return found

    def append(self, number: int, name: str) -> None:
        """Add a name, for good. Never raises."""
        self._lines += 1
        try:
            os.write(self._fd, _line(number, name))
        except OSError as error:
            self._complain(error)

    def is_long(self, count: int) -> bool:
        """Tell whether the file, of whose lines count still matter, should be written anew."""
        return self._may_replace and self._lines > 2 * count + _SLACK

    def rewrite(self, entries: Iterable[tuple[int, str]]) -> None:
        """Replace what is in the file by entries, in one step. Never raises.

        Whoever may write to the file, but not beside it, goes on with what is there: a worker that has given
        its rights up. The next run begins with the rights to do it.
        """
        if not self._may_replace:
            return
        fresh = self._path.with_name(self._path.name + ".new")
        lines = [_line(number, name) for number, name in entries]
        try:
            fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                with open(fd, "wb", closefd=False) as file:
                    file.write(self._head + b"".join(lines))
                os.replace(fresh, self._path)
            except BaseException:
                os.close(fd)
                raise
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                self._may_replace = False
            else:
                self._complain(error)
            return
        os.close(self._fd)
        self._fd = fd
        self._lines = len(lines)

    def fileno(self) -> int:
        """Return the descriptor that is written to."""
        return self._fd

    def close(self) -> None:
        """Let go of the file."""
        with contextlib.suppress(OSError):
            os.close(self._fd)
            os.close(self._lock_fd)

    def _current(self, fd: int) -> int:
        """Return fd, or another one for the file that has taken its place before we had the lock."""
        try:
            if os.path.samestat(os.fstat(fd), os.stat(self._path)):
                return fd
            fresh = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError:  # we may not look: who has opened it for us has just done so
            return fd
        os.close(fd)
        return fresh

    def _mend(self, data: bytes) -> None:
        """Make the file, in which data is, ready for more without replacing it."""
        try:
            if not data.startswith(self._head):
                os.ftruncate(self._fd, 0)
                os.write(self._fd, self._head)
            elif not data.endswith(b"\n"):
                os.write(self._fd, b"\n")
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        """Say once that nothing is kept; addresses go on, until we end."""
        if not self._has_failed:
            self._has_failed = True
            why = (error.strerror or str(error)).lower()
            _log.warning("cannot write %s: %s (fake addresses will not outlive this run)", self._path, why)


def _line(number: int, name: str) -> bytes:
    text = f"{number} {name}"
    return f"{text} {zlib.crc32(text.encode()):08x}\n".encode()


def _parse(line: bytes) -> tuple[int, str] | None:
    """Return number and name of a line, None where it is not whole."""
    text, _, check = line.rstrip(b"\n").rpartition(b" ")
    number, _, name = text.partition(b" ")
    if not line.endswith(b"\n") or not number.isdigit() or check != b"%08x" % zlib.crc32(text):
        return None
    return int(number), name.decode("ascii", "replace")


def _cannot(what: str, path: Path, error: OSError) -> ConfigError:
    why = (error.strerror or str(error)).lower()
    return ConfigError(f"cannot {what} {path}: {why} (choose another place for fake addresses)")
