"""What a process that faces the network gives up besides its user: to write files, to run programs, and the
system calls that only attackers would make of it.

    Landlock (Linux Documentation/userspace-api/landlock.rst)   no file is written, made, removed or executed
                                                                but what is named
    seccomp, by libseccomp's binding for Python                 some system calls fail with EPERM

Each is tried by itself, and a word says what could not be had: an old kernel or a missing library is no
reason not to carry packets. What is open already may be used as before. Reading is left alone: libraries
are loaded late, and who we are by then may read little. All of it holds for threads and processes that are
made later, too.
"""

import contextlib
import ctypes
import errno
import functools
import importlib
import os
import struct
from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import Any, Final  # Any: libseccomp's binding has no types

from tunproxy.host import libc

# linux/landlock.h; the numbers of the calls are the same on all machines
CREATE_RULESET: Final = 444
ADD_RULE: Final = 445
RESTRICT_SELF: Final = 446
ASK_VERSION: Final = 1
PATH_BENEATH: Final = 1
EXECUTE: Final = 1 << 0
WRITE_FILE: Final = 1 << 1
MAKE_REG: Final = 1 << 8
REMOVE_DIR: Final = 1 << 4
MAKE_SYM: Final = 1 << 12
REFER: Final = 1 << 13  # from version 2 on
TRUNCATE: Final = 1 << 14  # from version 3 on
_CHANGES: Final = sum(1 << bit for bit in range(4, 13))  # REMOVE_DIR to MAKE_SYM

BINDINGS: Final = ("seccomp", "pyseccomp")  # of libseccomp, with the same names in them

# our choice: calls that a packet path and its plugins have no use for, and that have been ways out
FORBIDDEN: Final = (
    "acct", "add_key", "bpf", "chroot", "clock_adjtime", "clock_settime", "delete_module", "execve",
    "execveat", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module", "io_uring_enter",
    "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load", "kexec_load",
    "keyctl", "lookup_dcookie", "mknod", "mknodat", "modify_ldt", "mount", "mount_setattr", "move_mount",
    "move_pages", "name_to_handle_at", "nfsservctl", "open_by_handle_at", "open_tree", "perf_event_open",
    "personality", "pivot_root", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace",
    "quotactl", "reboot", "request_key", "setdomainname", "sethostname", "setns", "settimeofday", "swapoff",
    "swapon", "syslog", "umount", "umount2", "unshare", "uselib", "userfaultfd", "vhangup",
)  # fmt: skip


class Sandbox:
    """Made while everything may still be read; confine() closes it, for good."""

    def __init__(self, writable: Collection[Path] = ()) -> None:
        """Allow files to be written and made in the folders of writable, those that there are."""
        self._folders: Final[list[int]] = []
        for path in writable:
            with contextlib.suppress(OSError):
                self._folders.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
        self._seccomp: Final = find_binding()

    def confine(self) -> dict[str, str]:
        """Close it; return what could be had, by name: "on", or why not. Never raises."""
        found = {}
        for name, attempt in (("landlock", self._restrict_files), ("seccomp", self._restrict_calls)):
            try:
                attempt()
                found[name] = "on"
            except (OSError, RuntimeError, ValueError, AttributeError) as error:
                found[name] = _reason(error)
        for fd in self._folders:
            os.close(fd)
        self._folders.clear()
        return found

    def _restrict_files(self) -> None:
        version = _call(CREATE_RULESET, None, 0, ASK_VERSION)
        handled = EXECUTE | WRITE_FILE | _CHANGES
        handled |= (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0)
        attributes = ctypes.create_string_buffer(struct.pack("=Q", handled), 8)
        rules = _call(CREATE_RULESET, attributes, 8, 0)
        try:
            null = os.open(os.devnull, os.O_PATH | os.O_CLOEXEC)
            try:
                _allow(rules, null, WRITE_FILE)
            finally:
                os.close(null)
            for folder in self._folders:
                _allow(rules, folder, (WRITE_FILE | MAKE_REG | TRUNCATE) & handled)
            libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
            _call(RESTRICT_SELF, rules, 0)
        finally:
            os.close(rules)

    def _restrict_calls(self) -> None:
        seccomp: Any = self._seccomp
        if seccomp is None:
            raise RuntimeError("libseccomp or its binding for Python (pyseccomp) is missing")
        rules = seccomp.SyscallFilter(seccomp.ALLOW)
        for attribute in ("CTL_SSB", "CTL_OPTIMIZE"):  # slower only where it has to be
            with contextlib.suppress(AttributeError, OSError, ValueError, RuntimeError):
                rules.set_attr(getattr(seccomp.Attr, attribute), 2 if attribute == "CTL_OPTIMIZE" else 1)
        for name in FORBIDDEN:
            with contextlib.suppress(OSError, ValueError, RuntimeError):  # this machine has no such call
                rules.add_rule(seccomp.ERRNO(errno.EPERM), name)
        rules.load()


@functools.cache
def find_binding() -> ModuleType | None:
    """Return libseccomp's binding, None where there is none.

    Looking for the library may run ldconfig and more: whoever is to make many processes looks first.
    """
    for name in BINDINGS:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError, RuntimeError):
            continue  # not there, or without its library
    return None


def _allow(rules: int, folder: int, what: int) -> None:
    attributes = ctypes.create_string_buffer(struct.pack("=Qi", what, folder), 12)
    _call(ADD_RULE, rules, PATH_BENEATH, attributes, 0)


def _call(number: int, *arguments: object) -> int:
    """Return what a system call does, whose arguments are numbers or buffers. Raises OSError."""
    given = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = ctypes.CDLL(None, use_errno=True).syscall(ctypes.c_long(number), *given)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSYS, errno.EOPNOTSUPP):
        return "not in this kernel"
    return ((error.strerror if isinstance(error, OSError) else "") or str(error)).lower()
