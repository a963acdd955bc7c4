"""Kills processes at the very moment at which something is seen to happen in a network namespace.

    python kill_at.py DEVICE      started in that namespace

It reads orders, one JSON object a line, and answers each with two. The first says that it watches: from then
on nothing is missed. An order has

    moment      link+ up address4+ address6+ route+ rule+ route- rule- link-    of our device, table, rules
                forked unprivileged      the supervisor has a worker; the worker is somebody else
                syn          a SYN of a connection into the device (which must be there)
                opened PATH  somebody opens that file
                never        it only counts
    nth         at which time
    pid         the supervisor's; "new" where it is told in a line of its own, after the start
    victims     "supervisor", "worker", "both"

and the second answer what was seen until then, and whom it killed. A line that comes first ends the watching.
The kernel tells each change of its configuration to whoever listens, before the change's author goes on.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from typing import Any  # as orders, JSON, have it

TABLE, PRIORITIES = 7777, range(7770, 7780)
PATIENCE = 30.0  # seconds until it gives up

# linux/rtnetlink.h, linux/fib_rules.h, linux/if_link.h, linux/if_addr.h
GROUPS = sum(1 << (group - 1) for group in (1, 5, 7, 8, 9, 11, 19))  # links; IPv4, IPv6: address, route, rule
NEWLINK, DELLINK, NEWADDR, NEWROUTE, DELROUTE, NEWRULE, DELRULE = 16, 17, 20, 24, 25, 32, 33
IFLA_IFNAME, RTA_TABLE, FRA_PRIORITY = 3, 15, 6
IFF_UP = 1
ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
IN_OPEN = 0x20  # linux/inotify.h


class Watch:
    """What the kernel tells of this network namespace, as the moments above."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._index = -1
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._netlink.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)
        self._netlink.bind((0, GROUPS))
        self._netlink.setblocking(False)

    def forget(self) -> None:
        """Leave out what has been told up to now."""
        while self._told():
            pass

    def moments(self, order: dict[str, Any]) -> Iterator[str]:
        """Yield what happens, until there is a line to read or time is over."""
        kind, _, path = order["moment"].partition(" ")
        until = time.monotonic() + PATIENCE
        with contextlib.ExitStack() as stack:
            others = []
            if kind == "syn":
                others = [stack.enter_context(_sniffer(self._device))]
            elif kind == "opened":
                others = [stack.enter_context(os.fdopen(_opened(path), "rb", buffering=0))]
            polled = 0.0005 if kind in ("forked", "unprivileged") else 1.0
            tell({"is_watching": True})
            if order["pid"] == "new":
                order["pid"] = int(sys.stdin.readline())
            while time.monotonic() < until:
                ready = select.select([self._netlink, sys.stdin, *others], [], [], polled)[0]
                if self._netlink in ready:
                    yield from self._told()
                for other in others:
                    if other in ready and (kind != "syn" or _is_syn(other.recv(2048))):  # type: ignore[union-attr]
                        yield order["moment"]
                if kind == "forked" and children_of(order["pid"]):
                    yield kind
                if kind == "unprivileged" and any(uid_of(pid) for pid in children_of(order["pid"])):
                    yield kind
                if sys.stdin in ready:
                    sys.stdin.readline()
                    return

    def _told(self) -> list[str]:
        try:
            data = self._netlink.recv(1 << 16)
        except BlockingIOError:
            return []
        found, at = ["other"], 0
        while at + 16 <= len(data):
            length, kind = struct.unpack_from("=IH", data, at)
            found += self._moment(kind, data[at + 16 : at + length])
            at += (length + 3) & ~3
        return found

    def _moment(self, kind: int, body: bytes) -> list[str]:
        if kind in (NEWLINK, DELLINK):
            index, flags = struct.unpack_from("=4xiI", body)
            if attributes(body[16:]).get(IFLA_IFNAME, b"").rstrip(b"\0").decode() != self._device:
                return []
            if kind == DELLINK:
                return ["link-"]
            if index != self._index:
                self._index = index
                return ["link+"]
            return ["up"] if flags & IFF_UP else []
        if kind == NEWADDR:
            index = struct.unpack_from("=4xi", body)[0]
            name = "address4+" if body[0] == socket.AF_INET else "address6+"
            return [name] if index == self._index else []
        if kind in (NEWROUTE, DELROUTE):
            (table,) = struct.unpack("=I", attributes(body[12:]).get(RTA_TABLE, bytes(4)))
            return ["route+" if kind == NEWROUTE else "route-"] if table == TABLE else []
        if kind in (NEWRULE, DELRULE):
            (priority,) = struct.unpack("=I", attributes(body[12:]).get(FRA_PRIORITY, bytes(4)))
            return ["rule+" if kind == NEWRULE else "rule-"] if priority in PRIORITIES else []
        return []


def attributes(data: bytes) -> dict[int, bytes]:
    """Return netlink attributes by their type."""
    found, at = {}, 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            break
        found[kind] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def children_of(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def uid_of(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status") as file:
            return int(file.read().partition("\nUid:")[2].split()[1])
    except (OSError, IndexError):
        return 0


def kill(supervisor: int, victims: str) -> list[int]:
    """Kill whom victims means; all workers there are. Return their process ids."""
    workers = children_of(supervisor) if victims in ("worker", "both") else []
    killed = []
    for pid in [*workers, *([supervisor] if victims in ("supervisor", "both") else [])]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
    return killed


def tell(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def _sniffer(device: str) -> socket.socket:
    sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    sniffer.bind((device, ETH_P_ALL))
    return sniffer


def _is_syn(packet: bytes) -> bool:
    """Tell whether it is a TCP segment with SYN alone; behind the fixed header, of either family."""
    at, protocol = (20, packet[9]) if packet[0] >> 4 == 4 else (40, packet[6])
    return protocol == socket.IPPROTO_TCP and len(packet) > at + 13 and packet[at + 13] & 0x12 == 0x02


def _opened(path: str) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if libc.inotify_add_watch(fd, os.fsencode(path), IN_OPEN) < 0:
        raise OSError(ctypes.get_errno(), path)
    return fd


def main() -> None:
    with contextlib.suppress(OSError):
        os.nice(-10)  # at once means before whom we watch
    watch = Watch(sys.argv[1])
    for line in iter(sys.stdin.readline, ""):
        order = json.loads(line)
        watch.forget()
        seen: dict[str, int] = {}
        killed: list[int] = []
        for moment in watch.moments(order):
            seen[moment] = seen.get(moment, 0) + 1
            if moment == order["moment"] and seen[moment] == order["nth"]:
                killed = kill(order["pid"], order["victims"])
                break
        tell({"seen": seen, "killed": killed})


if __name__ == "__main__":
    main()
