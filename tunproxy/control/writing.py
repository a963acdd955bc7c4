"""Writes files whole or not at all: a full disk must not cost anybody what was in them."""

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from tunproxy.errors import ConfigError

USUAL_MODE = 0o666  # of a new file, less the umask


def replace_file(path: str, data: bytes, new_mode: int = USUAL_MODE) -> None:
    """Put data into a user's file at path, which may be new and has new_mode then; raises ConfigError.

    Mode and owner stay, and so does a symbolic link. What is no ordinary file, as /dev/stdout, is written
    to as it is.
    """
    try:
        _replace(os.path.realpath(path), data, new_mode)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error


def write_private(path: Path, data: bytes, other: Path, mode: int = 0o600, *, is_synced: bool) -> None:
    """Write a file of our own, in a folder that is made where it is missing. Raises OSError.

    other is its name, in the same folder, until it is whole. Nobody else may read either of them before it
    has mode. is_synced: it is on the disk when it has its name.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(other, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(fd, mode)
            if is_synced:
                os.fsync(fd)
        other.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            other.unlink()
        raise


def _replace(path: str, data: bytes, new_mode: int) -> None:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        found = None
    if found is not None and not stat.S_ISREG(found.st_mode):
        with open(path, "wb") as file:
            file.write(data)
        return
    fd, other = tempfile.mkstemp(dir=os.path.dirname(path), prefix=f".{os.path.basename(path)}.")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
            os.fchmod(fd, stat.S_IMODE(found.st_mode) if found is not None else new_mode & ~_umask())
            if found is not None:
                with contextlib.suppress(PermissionError):  # somebody else's, and we may write to it
                    os.fchown(fd, found.st_uid, found.st_gid)
        os.replace(other, path)
    except BaseException:
        os.unlink(other)
        raise


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
