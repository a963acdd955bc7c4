"""The control socket: where a running tunproxy is found and asked, one Unix socket for each.

    root          /run/tunproxy/NAME.sock
    others        $XDG_RUNTIME_DIR/tunproxy/NAME.sock, or /run/user/UID/tunproxy/…,
                  or /tmp/tunproxy-UID/… where there is neither

NAME is the device's for ``up`` and ``exec-PID`` for ``exec``. Only its owner (and root) can connect, and to
root's the members of the group GROUP, where the host has one. A socket file that nobody listens at is left
over from a process that was killed; whoever starts next removes it.
Claims in one directory happen one after the other, under a lock on the directory itself, which nobody can
leave behind.
"""

import contextlib
import errno
import fcntl
import grp
import os
import socket
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tunproxy.errors import SystemChangeError

SUFFIX: Final = ".sock"
OF_ROOT: Final = Path("/run/tunproxy")
GROUP: Final = "tunproxy-control"  # not the worker's, which is not to command us
_PEER: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid

# what a socket file is
ALIVE: Final = "alive"
DEAD: Final = "dead"
DENIED: Final = "denied"


@dataclass(frozen=True)
class Found:
    """A socket file; pid is that of the process that listens, 0 where it cannot be told."""

    path: Path
    state: str
    pid: int = 0

    @property
    def name(self) -> str:
        return self.path.name.removesuffix(SUFFIX)


class Endpoint:
    """A claimed socket, listening at path; give it up with close."""

    def __init__(self, path: Path, listener: socket.socket) -> None:
        self.path: Final = path
        self.listener: Final = listener
        self._file: Final = _identity(path)

    def close(self) -> None:
        """Stop listening and remove the file, unless it is somebody else's by now. May be called again."""
        self.listener.close()
        with contextlib.suppress(OSError), _locked(self.path.parent):
            if _identity(self.path) == self._file:
                self.path.unlink()
            self.path.parent.rmdir()  # unless others are in it


def directories() -> list[Path]:
    """Return where control sockets of this user may be, the best place first."""
    uid = os.geteuid()
    found = [OF_ROOT] if uid == 0 else []
    given = os.environ.get("XDG_RUNTIME_DIR", "")
    if given.startswith("/"):
        found.append(Path(given, "tunproxy"))
    found += [Path(f"/run/user/{uid}/tunproxy"), Path(f"/tmp/tunproxy-{uid}")]
    return list(dict.fromkeys(found))


def claim(name: str) -> Endpoint:
    """Return the endpoint of that name. Raises SystemChangeError where it is taken, or cannot be made."""
    why = "there is no directory for it"
    for directory in directories():
        try:
            with _locked(directory, make=True):
                _sweep(directory)
                return _bind(directory / f"{name}{SUFFIX}")
        except OSError as error:
            why = f"{directory}: {(error.strerror or str(error)).lower()}"
    raise SystemChangeError(f"cannot make a control socket: {why} (tunproxy status will not find this one)")


def find() -> list[Found]:
    """Return the sockets that this user may know of, those of root included, in order of name."""
    found: list[Found] = []
    for directory in dict.fromkeys([*directories(), OF_ROOT]):
        with contextlib.suppress(OSError):
            if _is_trusted(os.stat(directory, follow_symlinks=False)):
                found += [look_at(path) for path in directory.iterdir() if path.name.endswith(SUFFIX)]
    return sorted(found, key=lambda each: each.name)


def sweep() -> list[Path]:
    """Remove the socket files of this user that nobody listens at; return those that there were."""
    removed: list[Path] = []
    for directory in directories():
        with contextlib.suppress(OSError), _locked(directory):
            removed += _sweep(directory)
    return removed


def look_at(path: Path) -> Found:
    """Tell whether somebody listens at path."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
            peer = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
            return Found(path, ALIVE, _PEER.unpack(peer)[0])
        except BlockingIOError:  # somebody who has not accepted anybody for long: stopped, perhaps
            return Found(path, ALIVE)
        except PermissionError:
            return Found(path, DENIED)
        except OSError:
            return Found(path, DEAD)


def _bind(path: Path) -> Endpoint:
    there = look_at(path) if path.exists() else None
    if there is not None and there.state == DEAD:  # which would have been swept away, if it could be
        raise SystemChangeError(f"cannot listen at {path}: something else is there (remove it)")
    if there is not None:
        who = f"process {there.pid}" if there.pid else "another process"
        raise SystemChangeError(f"cannot listen at {path}: {who} does (choose another name with --tun)")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        mask = os.umask(0o177)  # from its first moment: only the owner connects
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        if path.parent == OF_ROOT:
            _share(path)
        listener.listen(64)
        return Endpoint(path, listener)
    except BaseException:
        listener.close()
        raise


def _share(path: Path) -> None:
    """Let the members of GROUP connect, where the host has that group and we may."""
    with contextlib.suppress(KeyError, OSError):  # else the socket stays its owner's alone
        os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)
        path.chmod(0o660)


def or_group(path: Path) -> str:
    """Return what else than root may use a socket, as the end of an advice: members of GROUP, or nobody."""
    with contextlib.suppress(KeyError, OSError):
        if os.stat(path).st_gid == grp.getgrnam(GROUP).gr_gid:
            return f", or as a member of the group {GROUP}: sudo usermod -aG {GROUP} USER, and log in anew"
    return ""


def _sweep(directory: Path) -> list[Path]:
    """Remove what killed processes have left and return it; nobody else claims anything meanwhile."""
    removed: list[Path] = []
    for path in directory.iterdir():
        if path.name.endswith(SUFFIX) and look_at(path).state == DEAD:
            with contextlib.suppress(OSError):
                path.unlink()
                removed.append(path)
    return removed


@contextlib.contextmanager
def _locked(directory: Path, *, make: bool = False) -> Iterator[None]:
    """Hold the lock of a directory, which make makes. Raises OSError, also where others could write to it."""
    while True:
        if make:
            _make(directory)
        try:
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            if make:
                continue  # whoever was the last one in it has just removed it
            raise
        try:
            if not _is_trusted(os.fstat(fd)):
                raise PermissionError(errno.EPERM, "somebody else may write to it")
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink > 0:
                yield
                return
            if not make:
                raise FileNotFoundError(errno.ENOENT, "it has been removed", str(directory))
        finally:
            os.close(fd)


def _make(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        return
    if directory == OF_ROOT:
        with contextlib.suppress(FileNotFoundError):  # somebody has been in it meanwhile, and has left it
            directory.chmod(0o755)  # so that others are told that they may not ask, and whom


def _is_trusted(status: os.stat_result) -> bool:
    """Tell whether nobody but us and root can put something into the directory."""
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid in (0, os.geteuid())
        and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


def _identity(path: Path) -> tuple[int, int]:
    found = os.stat(path, follow_symlinks=False)
    return found.st_dev, found.st_ino
