"""TUN devices, opened by our own system calls (Linux Documentation/networking/tuntap.rst).

The device is never made persistent: when the last process that holds it dies, by whatever signal, the
kernel removes the device, its addresses and every route through it. IFF_TUN_EXCL makes the name ours
alone: with IFF_MULTI_QUEUE, opening a device again adds a queue, and a second program would silently get a
share of the first one's packets. So a device that is to have one queue is not opened with it.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tunproxy.errors import ConfigError, SystemChangeError
from tunproxy.wire.vnet import VNET_LEN

# linux/if_tun.h
TUN_PATH: Final = "/dev/net/tun"
TUNSETIFF: Final = 0x400454CA
TUNSETOFFLOAD: Final = 0x400454D0
TUNGETIFF: Final = 0x800454D2
TUNSETVNETHDRSZ: Final = 0x400454D8
TUNSETVNETLE: Final = 0x400454DC
IFF_TUN: Final = 0x0001
IFF_MULTI_QUEUE: Final = 0x0100
IFF_NO_PI: Final = 0x1000
IFF_VNET_HDR: Final = 0x4000
IFF_TUN_EXCL: Final = 0x8000
TUN_F_CSUM: Final = 0x01
TUN_F_TSO4: Final = 0x02
TUN_F_TSO6: Final = 0x04
TUN_F_TSO_ECN: Final = 0x08
TUN_F_USO4: Final = 0x20
TUN_F_USO6: Final = 0x40
IFNAMSIZ: Final = 16  # linux/if.h, with the terminating zero


@dataclass(frozen=True)
class Offload:
    """What the kernel lets us leave to it, and hands to us unfinished in return."""

    csum: bool = False
    tso4: bool = False
    tso6: bool = False
    tso_ecn: bool = False
    uso4: bool = False
    uso6: bool = False

    @property
    def flags(self) -> int:
        """The mask that TUNSETOFFLOAD takes."""
        return sum(flag for flag, taken, _ in self._table() if taken)

    @classmethod
    def from_flags(cls, flags: int) -> "Offload":
        """Return what a mask for TUNSETOFFLOAD means."""
        return cls(*(bool(flags & flag) for flag, _, _ in cls()._table()))

    def describe(self) -> str:
        """Return the names of what is on, such as ``csum tso4 tso6 ecn uso4 uso6``, or ``none``."""
        return " ".join(name for _, taken, name in self._table() if taken) or "none"

    def _table(self) -> tuple[tuple[int, bool, str], ...]:
        return (
            (TUN_F_CSUM, self.csum, "csum"),
            (TUN_F_TSO4, self.tso4, "tso4"),
            (TUN_F_TSO6, self.tso6, "tso6"),
            (TUN_F_TSO_ECN, self.tso_ecn, "ecn"),
            (TUN_F_USO4, self.uso4, "uso4"),
            (TUN_F_USO6, self.uso6, "uso6"),
        )


class TunDevice:
    """An open TUN device; it exists for as long as somebody holds fd open.

    Frames are read and written by the packet path, with ``loop.device_reader`` and ``loop.dataplane``.
    """

    def __init__(self, fd: int, name: str, offload: Offload) -> None:
        self.fd = fd
        self.name = name
        self.offload = offload

    def is_there(self) -> bool:
        """Tell whether the device still exists: somebody may have deleted it."""
        if self.fd < 0:
            return False
        try:
            fcntl.ioctl(self.fd, TUNGETIFF, bytes(40))
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Give up our hold on the device. May be called again."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def open_tun(name: str) -> TunDevice:
    """Make the TUN device name in our network namespace, with every offload this kernel has.

    The descriptor is non-blocking and closed on exec. A "%d" in name becomes the first free number.
    Raises ConfigError for a name that no device can have, SystemChangeError where the host refuses.
    """
    return open_queues(name, 1)[0]


def open_queues(name: str, count: int) -> list[TunDevice]:
    """Do as open_tun does for a device of so many queues; return them, in the kernel's order.

    What is per device, such as offloads, is the same for all. A device of one queue is none of several:
    nobody can add one.
    """
    check_name(name)
    mode = IFF_MULTI_QUEUE if count > 1 else 0
    first = TunDevice(_open(), name, Offload())
    queues = [first]
    try:
        first.name = _attach(first.fd, name, mode | IFF_TUN_EXCL)
        first.offload = probe_offload(lambda flags: _accepts(first.fd, flags))
        for _ in range(1, count):
            queues.append(TunDevice(_open(), first.name, first.offload))
            _attach(queues[-1].fd, first.name, mode)
    except BaseException:
        for queue in queues:
            queue.close()
        raise
    return queues


def _open() -> int:
    try:
        return os.open(TUN_PATH, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise SystemChangeError(f"cannot open {TUN_PATH}: {_why_not_opened(error)}") from error


def check_name(name: str) -> None:
    """Raise ConfigError unless a network device can be called name (dev_valid_name in net/core/dev.c)."""
    if not name or len(name.encode()) >= IFNAMSIZ:
        raise ConfigError(f"cannot use {name!r} as a device name: it must have 1 to {IFNAMSIZ - 1} octets")
    if name in (".", "..") or any(letter in "/:" or letter.isspace() for letter in name):
        raise ConfigError(f"cannot use {name!r} as a device name: it must have no space, slash or colon")


def probe_offload(accepts: Callable[[int], bool]) -> Offload:
    """Return the offloads that the device takes, all of which are on afterwards.

    accepts sets a mask and tells whether the kernel took it; a mask that it does not take changes nothing.
    """
    flags = 0
    # ECN needs a TSO and everything needs CSUM. The kernel takes USO for both families or for neither, so
    # the pair is asked for first, and one by one only in case a later kernel tells them apart.
    tso = (TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN)
    for wanted in (TUN_F_CSUM, *tso, TUN_F_USO4 | TUN_F_USO6, TUN_F_USO4, TUN_F_USO6):
        if flags & wanted != wanted and accepts(flags | wanted):
            flags |= wanted
    return Offload.from_flags(flags)


def _attach(fd: int, name: str, mode: int) -> str:
    """Turn the open clone device into the TUN device name, or a queue of it; return its real name."""
    mode |= IFF_TUN | IFF_NO_PI | IFF_VNET_HDR
    request = struct.pack("16sH22x", name.encode(), mode)
    try:
        answer: bytes = fcntl.ioctl(fd, TUNSETIFF, request)
        fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", VNET_LEN))
        # Our header is little-endian on every machine; the device's default is the machine's own order.
        fcntl.ioctl(fd, TUNSETVNETLE, struct.pack("i", 1))
    except OSError as error:
        raise SystemChangeError(f"cannot make TUN device {name!r}: {_why_not_attached(error)}") from error
    return answer[:IFNAMSIZ].split(b"\0")[0].decode()


def _accepts(fd: int, flags: int) -> bool:
    try:
        fcntl.ioctl(fd, TUNSETOFFLOAD, flags)
    except OSError:
        return False
    return True


def _why_not_opened(error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return "the kernel has no TUN driver here (modprobe tun, or give the container /dev/net/tun)"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "permission denied (chmod 0666 /dev/net/tun as most distributions have it, or run as root)"
    return _reason(error)


def _why_not_attached(error: OSError) -> str:
    if error.errno == errno.EBUSY:
        return "there is a device of that name (stop the program that holds it, or choose another with --tun)"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "permission denied (needs CAP_NET_ADMIN in this network namespace: run as root)"
    if error.errno == errno.EINVAL:
        return "invalid argument (another kind of device has that name, or the kernel is older than 4.1)"
    return _reason(error)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
