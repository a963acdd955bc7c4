"""TUN devices: which there are, who has them open, and whether anybody reads and answers."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tunproxy.doctor.finding import Finding, State
from tunproxy.errors import SystemChangeError
from tunproxy.host.process import pids
from tunproxy.host.tun_links import TunLink, read_tun_links

NODE: Final = Path("/dev/net/tun")
PROC: Final = Path("/proc")


@dataclass(frozen=True)
class Holder:
    """A process that has a device open."""

    pid: int
    name: str


@dataclass(frozen=True)
class Device:
    """A device and its holders; sees_all says whether those of every user were looked for."""

    link: TunLink
    holders: tuple[Holder, ...] = ()
    sees_all: bool = True

    @property
    def name(self) -> str:
        return self.link.name


def read_devices(proc: Path = PROC) -> list[Device]:
    """Return the devices of this network namespace, by name. Raises SystemChangeError."""
    links = read_tun_links()
    holders, sees_all = find_holders(proc) if links else ({}, True)
    return [Device(link, tuple(holders.get(link.name, ())), sees_all) for link in links]


def find_holders(proc: Path = PROC) -> tuple[dict[str, list[Holder]], bool]:
    """Return who has which device open, by the device's name, and whether all processes could be seen.

    A holder may live in another network namespace than the device, as that of ``tunproxy exec`` does. So
    those of ours count, and only where there is none, others that have one of that name.
    """
    near: dict[str, list[Holder]] = {}
    far: dict[str, list[Holder]] = {}
    sees_all = True
    ours = _network(proc / "self")
    try:
        everybody = pids(proc)
    except SystemChangeError:
        return {}, False
    for pid in everybody:
        process = proc / str(pid)
        try:
            descriptors = os.listdir(process / "fd")
        except PermissionError:
            sees_all = False
            continue
        except OSError:
            continue  # it has ended
        found = near if _network(process) == ours else far
        for name in {_held(process, each) for each in descriptors} - {""}:
            found.setdefault(name, []).append(Holder(pid, _program(process)))
    return far | near, sees_all


def judge_node(node: Path = NODE) -> Finding:
    """Say whether this user can open devices."""
    if not node.exists():
        mend = "modprobe tun; in a container: --device /dev/net/tun"
        return Finding(
            "kernel", State.BROKEN, f"there is no {node}: the kernel has no TUN devices", mend=mend
        )
    if not os.access(node, os.R_OK | os.W_OK):
        evidence = (f"mode {node.stat().st_mode & 0o777:o}",)
        mend = f"run as root, or chmod 666 {node}"
        return Finding("kernel", State.BROKEN, f"this user must not open {node}", evidence, mend)
    return Finding("kernel", State.FINE, f"this user can open {node}")


def judge_device(device: Device, *, is_ours: bool = False) -> list[Finding]:
    """Say whether the device is there for packets, and whether they are read and answered.

    is_ours: tunproxy serves it, which says nothing while targets say nothing.
    """
    link, subject = device.link, f"device {device.name}"
    evidence = (describe_kind(link), describe_counts(link))
    held = (*evidence, held_by(device))
    found = []
    if not link.is_up:
        mend = f"ip link set {link.name} up"
        found.append(Finding(subject, State.BROKEN, "it is down: nothing is sent there", evidence, mend))
    if not device.holders and device.sees_all:
        says = "no program has it open, so nobody reads what goes in"
        mend = f"start the program that is to read it, or: ip link delete {link.name}"
        found.append(Finding(subject, State.BROKEN, says, evidence, mend))
    elif not device.holders:
        says = "who has it open cannot be seen"
        found.append(Finding(subject, State.UNKNOWN, says, evidence, "run as root (sudo)"))
    read = max(link.read - link.own, 0)  # by programs of this host, or for others
    if read and not link.written and device.holders and not is_ours:
        says = (
            "packets are read and none is written: a TUN device has no TCP of its own, so a SYN is answered "
            "only where the program that reads it writes a SYN, ACK"
        )
        mend = "see whether that program has a TCP stack for what it reads"
        found.append(Finding(subject, State.BROKEN, says, held, mend))
    if not read and link.is_up and device.holders:
        says = "no packet was read: no route leads into it, nobody has used one, or its program reads nothing"
        if link.read:
            says = "no packet was read but the kernel's own: no route leads into it, or nobody has used one"
        mend = "see routes, below; tunproxy doctor --probe ADDRESS:PORT tells which"
        found.append(Finding(subject, State.ODD, says, held, mend))
    if link.lost:
        says = "the program that has it open does not read fast enough, or has stopped"
        mend = f"see what it does; ip link set {link.name} txqueuelen 1000 is room for more"
        found.append(Finding(subject, State.ODD, says, held, mend))
    return found or [Finding(subject, State.FINE, "it is up, read, and answered", held)]


def describe_counts(link: TunLink) -> str:
    """Return what has gone through it."""
    own = f" ({link.own:,} are the kernel's own, of IPv6)" if 0 < link.own <= link.read else ""
    read = f"{link.read:,} read by its program{own}"
    return f"packets: {read}, {link.written:,} written, {link.lost:,} found no room"


def describe_kind(link: TunLink) -> str:
    """Return what kind of device it is, and in which form it hands out packets."""
    kind = "TAP (whole Ethernet frames)" if link.is_tap else "TUN (IP packets)"
    if link.has_vnet_header:
        form = "with 10 octets in front that say what is left to do: checksums, packets of up to 64 KB"
    else:
        form = "packet by packet, no larger than its MTU"
    return f"{kind}, mtu {link.mtu}, {form}"


def held_by(device: Device) -> str:
    """Return who has it open, in words."""
    holders = ", ".join(f"{each.name} ({each.pid})" for each in device.holders)
    return f"open in {holders}" if holders else "open in no process that can be seen"


def choose(devices: Sequence[Device], name: str) -> list[Device]:
    """Return those that are meant: the one called name, or all."""
    return [device for device in devices if name in ("", device.name)]


def _held(process: Path, descriptor: str) -> str:
    """Return the device that a descriptor is open on, "" for none."""
    with contextlib.suppress(OSError):
        if os.readlink(process / "fd" / descriptor) == str(NODE):
            for line in (process / "fdinfo" / descriptor).read_text().splitlines():
                key, _, value = line.partition(":")
                if key == "iff":
                    return value.strip()
    return ""


def _network(process: Path) -> str:
    """Return which network namespace a process is in, "" where it must not be seen."""
    try:
        return os.readlink(process / "ns/net")
    except OSError:
        return ""


def is_near(process: Path, proc: Path = PROC) -> bool:
    """Tell whether a process is in our network namespace."""
    return _network(process) == _network(proc / "self") != ""


def _program(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "?"
