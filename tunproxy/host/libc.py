"""System calls that Python 3.11 does not offer, through the C library."""

import ctypes
import os
from typing import Final

from tunproxy.errors import SystemChangeError

# linux/sched.h, linux/mount.h, linux/prctl.h
CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWNET: Final = 0x4000_0000
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_NOEXEC: Final = 0x8
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_SLAVE: Final = 0x8_0000
MNT_DETACH: Final = 2
M_TRIM_THRESHOLD: Final = -1  # malloc.h
M_MMAP_THRESHOLD: Final = -3
PR_SET_PDEATHSIG: Final = 1
PR_SET_KEEPCAPS: Final = 8
PR_CAPBSET_DROP: Final = 24
PR_SET_NO_NEW_PRIVS: Final = 38
TIME_ERROR: Final = 5  # linux/timex.h
TIMEX_SIZE: Final = 256  # octets: struct timex has 208, at most
CAPABILITY_VERSION_3: Final = 0x2008_0522  # linux/capability.h: two words of 32 bits for each set


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint32) for name in ("effective", "permitted", "inheritable"))


def unshare(flags: int) -> None:
    """Move this process, which must have a single thread, into new namespaces. Raises OSError."""
    _checked(_libc().unshare(flags))


def setns(fd: int, kind: int) -> None:
    """Move this thread into the namespace of a kind (CLONE_NEW*) that fd is open on. Raises OSError."""
    _checked(_libc().setns(fd, kind))


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount source on target. Raises OSError."""
    kind_or_null = kind.encode() or None
    options_or_null = options.encode() or None
    _checked(
        _libc().mount(
            os.fsencode(source), os.fsencode(target), kind_or_null, ctypes.c_ulong(flags), options_or_null
        )
    )


def unmount(target: str) -> None:
    """Take the topmost mount from target; it lives on for as long as it is in use. Raises OSError."""
    _checked(_libc().umount2(os.fsencode(target), MNT_DETACH))


def keep_freed_memory(size: int) -> None:
    """Have malloc keep up to size octets of freed memory, also in pieces that large.

    By default glibc gives 128 KiB at the top of the heap back to the system at once; a program that
    allocates and frees 64 KB packets then pays for page faults with each of them. Where the C library has
    no mallopt, nothing changes.
    """
    mallopt = getattr(_libc(), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, size)
        mallopt(M_MMAP_THRESHOLD, size)


def prctl(option: int, value: int) -> None:
    """Set one attribute of this process. Raises OSError."""
    zero = ctypes.c_ulong(0)
    _checked(_libc().prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero))


def capset(*, effective: int, permitted: int) -> None:
    """Set the capability sets of this process, as masks; inheritable is emptied. Raises OSError."""
    header = _CapabilityHeader(CAPABILITY_VERSION_3, 0)
    words = (_CapabilityData * 2)(
        _CapabilityData(effective & 0xFFFF_FFFF, permitted & 0xFFFF_FFFF, 0),
        _CapabilityData(effective >> 32, permitted >> 32, 0),
    )
    _checked(_libc().capset(ctypes.byref(header), words))


def is_clock_synchronized() -> bool:
    """Tell whether somebody, such as an NTP client, keeps the clock right (adjtimex(2)). Raises OSError."""
    state = _libc().adjtimex(ctypes.create_string_buffer(TIMEX_SIZE))  # all zero: it only asks
    if state < 0:
        _checked(state)
    return bool(state != TIME_ERROR)


def load_library(name: str, cannot: str, package: str) -> ctypes.CDLL:
    """Return another library; raises SystemChangeError with what we cannot do without it, and its package."""
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise SystemChangeError(f"cannot {cannot}: {name} is missing (install {package})") from error


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
