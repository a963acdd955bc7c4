"""Writes a user's file whole or not at all: a full disk must not cost anybody what was in it."""

import contextlib
import os
import stat
import tempfile

from tunproxy.errors import ConfigError

USUAL_MODE = 0o666  # of a new file, less the umask


def replace_file(path: str, data: bytes) -> None:
    """Put data into the file at path, which may be new; raises ConfigError.

    Mode and owner stay, and so does a symbolic link. What is no ordinary file, as /dev/stdout, is written
    to as it is.
    """
    try:
        _replace(os.path.realpath(path), data)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error


def _replace(path: str, data: bytes) -> None:
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
            os.fchmod(fd, stat.S_IMODE(found.st_mode) if found is not None else USUAL_MODE & ~_umask())
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
