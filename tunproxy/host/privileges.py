"""What a process may do: its capabilities, and giving them up.

A worker keeps no capability, unless its sockets need one: a mark takes CAP_NET_RAW, or CAP_NET_ADMIN on
kernels before 5.17; binding to an interface takes CAP_NET_RAW on kernels before 5.7. It learns by trying
which one it has to keep.
"""

import contextlib
import errno
import os
import pwd
import resource
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tunproxy.errors import SystemChangeError
from tunproxy.host import libc

# linux/capability.h
CAP_KILL: Final = 5
CAP_SETGID: Final = 6
CAP_SETUID: Final = 7
CAP_NET_ADMIN: Final = 12
CAP_NET_RAW: Final = 13
CAP_SYS_ADMIN: Final = 21

# our choices
WORKER_USER: Final = "tunproxy"
WORKER_UID: Final = 60_777  # where there is no such user; systemd's list of uids has 60706 to 61183 as unused
MAX_DESCRIPTORS: Final = 1 << 20
LEAST_DESCRIPTORS: Final = 64  # a start takes some 30; then a few are left for flows


@dataclass(frozen=True)
class SocketNeeds:
    """What a process must be able to do with its sockets: mark them, bind them to an interface."""

    mark: int = 0
    interface: str = ""

    def are_met(self) -> bool:
        """Tell whether this process is able to, by trying."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                if self.mark:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, self.mark)
                if self.interface:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self.interface.encode())
            except OSError:
                return False
        return True

    def describe(self) -> str:
        """Return it as words for an error message."""
        wanted = [f"mark sockets with {self.mark:#x}"] if self.mark else []
        wanted += [f"bind sockets to {self.interface}"] if self.interface else []
        return " and ".join(wanted)


def has_capabilities(*wanted: int) -> bool:
    """Tell whether this process has all these capabilities, in its own user namespace."""
    effective = _capabilities("CapEff")
    return all(effective >> capability & 1 for capability in wanted)


def lacked_for_workers() -> list[str]:
    """Return the names of the capabilities that whoever runs workers needs, and this process has not."""
    needed = {
        "CAP_NET_ADMIN": CAP_NET_ADMIN,
        "CAP_SETUID": CAP_SETUID,
        "CAP_SETGID": CAP_SETGID,
        "CAP_KILL": CAP_KILL,
    }
    return [name for name, number in needed.items() if not has_capabilities(number)]


def permitted() -> int:
    """Return the capabilities that this process may use, as a mask."""
    return _capabilities("CapPrm")


def _capabilities(kind: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1], 16)
    return 0


def worker_ids(uid: int | None) -> tuple[int, int]:
    """Return uid and gid of the worker: those of uid where it is given, else of the user tunproxy.

    An account need not exist: a number that nobody uses does as well, and is its own group then.
    """
    try:
        account = pwd.getpwnam(WORKER_USER) if uid is None else pwd.getpwuid(uid)
    except KeyError:
        number = WORKER_UID if uid is None else uid
        return number, number
    return account.pw_uid, account.pw_gid


def become(uid: int, gid: int, needs: SocketNeeds) -> None:
    """Run as uid and gid from now on, for ever, without groups and capabilities, and die with our parent.

    Kept is the one capability that needs takes, if any. Everything that another user may not read has to
    be loaded before. Raises SystemChangeError.
    """
    parent = os.getppid()
    try:
        libc.prctl(libc.PR_SET_KEEPCAPS, 1)
        if (uid, gid) != (os.geteuid(), os.getegid()):
            os.setgroups([])
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        _drop_capabilities(needs)
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    except OSError as error:
        is_short = error.errno in (errno.EMFILE, errno.ENFILE)
        advice = "allow more: ulimit -n" if is_short else "choose another with --worker-uid"
        why = (error.strerror or str(error)).lower()
        raise SystemChangeError(f"cannot become uid {uid}: {why} ({advice})") from error
    die_with(parent)  # again: a change of uid clears it


def die_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, and end at once where it did already."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def need_descriptors() -> None:
    """Make sure that a start does not end half-way for want of open files. Raises SystemChangeError."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= LEAST_DESCRIPTORS:
        return
    most = hard if hard == resource.RLIM_INFINITY else max(hard, LEAST_DESCRIPTORS)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (LEAST_DESCRIPTORS, most))
    except (ValueError, OSError) as error:
        why = f"only {hard} open files are allowed, and {LEAST_DESCRIPTORS} are needed"
        advice = "allow more: ulimit -n, or LimitNOFILE= of a unit"
        raise SystemChangeError(f"cannot start: {why} ({advice})") from error


def allow_descriptors() -> None:
    """Allow workers as many open files as raise_descriptor_limit gives, where only we may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, max(MAX_DESCRIPTORS, hard)))


def raise_descriptor_limit() -> None:
    """Allow this process as many open files as the host lets it have: each flow needs one or more."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (MAX_DESCRIPTORS, hard):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, hard)))
            return


def _drop_capabilities(needs: SocketNeeds) -> None:
    """Drop every capability but the least one that needs takes. Raises OSError."""
    raw, admin = (1 << each & permitted() for each in (CAP_NET_RAW, CAP_NET_ADMIN))
    libc.capset(effective=0, permitted=raw | admin)
    for kept in (0, raw, admin):
        libc.capset(effective=kept, permitted=raw | admin)
        if needs.are_met():
            break
    libc.capset(effective=kept, permitted=kept)
    if not needs.are_met():
        raise SystemChangeError(f"cannot {needs.describe()}: not permitted (run as root)")
