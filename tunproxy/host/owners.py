"""Which process a flow is of: the kernel tells the socket's user and inode, and /proc who holds that inode.

The first costs 11 us. The second means to read the descriptors of processes until it is found, which is quick
for those that had flows just now, and takes milliseconds where all processes have to be looked at. So
``look`` tries the former, for a while that no packet notices, and ``search`` does the rest in a thread.
Sockets that are met on the way are remembered: a process with thousands of them is read once, not for each.
"""

import asyncio
import os
import socket
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tunproxy.errors import SystemChangeError
from tunproxy.host.addresses import TUN_IPV4, TUN_IPV6
from tunproxy.host.privileges import has_capabilities
from tunproxy.host.process import Process, describe_process, pids
from tunproxy.host.sock_diag import SocketDiagnosis, SocketOwner, open_diagnosis

CAP_SYS_PTRACE: Final = 19  # linux/capability.h

OURS: Final = (TUN_IPV4.ip.packed, TUN_IPV6.ip.packed)  # whom programs of this host send from

# our choices
MAX_RECENT: Final = 8  # processes of one user that are tried first
MAX_USERS: Final = 64
LOOK_SECONDS: Final = 0.0005  # that packets may wait for
MAX_PLACES: Final = 1 << 16  # sockets that are remembered

_SOCKET: Final = "socket:["

ELSEWHERE: Final = "no socket of this network namespace sends from there (another host's or container's)"
CLOSED: Final = "its process has closed the socket"
GONE: Final = (
    "its process has closed the socket already, or it comes from a container, and this host has translated "
    "its address"
)


# by the socket's inode: the process that held it, and as which descriptor
Places = dict[int, tuple[int, str]]


class SocketOwners:
    """Finds owners of flows. diagnosis is a netlink socket (``open_diagnosis``) of the clients' namespace."""

    def __init__(self, diagnosis: socket.socket | None = None, proc: Path = Path("/proc")) -> None:
        """Without diagnosis: this process's namespace. Raises SystemChangeError."""
        self._diagnosis: Final = SocketDiagnosis(diagnosis or open_diagnosis())
        self._proc: Final = proc
        self._recent: Final[OrderedDict[int, OrderedDict[int, None]]] = OrderedDict()
        self._places: Final[Places] = {}
        self._sees_all: Final = os.geteuid() == 0 or has_capabilities(CAP_SYS_PTRACE)
        self._threads: ThreadPoolExecutor | None = None

    def close(self) -> None:
        """Close the socket; no search must be under way."""
        self._diagnosis.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def look(self, network: str, source: bytes, source_port: int, target: bytes, port: int) -> Process | None:
        """Return the owner as far as half a millisecond goes; None: search for it. Never raises."""
        found = self._socket(network, source, source_port, target, port)
        if isinstance(found, Process):
            return found
        place = self._remembered(found.inode)
        if place is not None:
            return self._found(found.uid, place)
        until = time.perf_counter() + LOOK_SECONDS
        for pid in [*reversed(self._recent.get(found.uid, ()))]:
            if holds(self._proc, pid, found.inode, until, self._places):
                return self._found(found.uid, pid)
            if time.perf_counter() > until:
                break
        if not self._sees_all and found.uid != os.geteuid():
            return self._unseen(found.uid)
        return None

    async def search(
        self, network: str, source: bytes, source_port: int, target: bytes, port: int
    ) -> Process:
        """Return the owner, looking at all processes in a thread. Never raises but when it is cancelled."""
        found = self._socket(network, source, source_port, target, port)
        if isinstance(found, Process):
            return found
        if self._threads is None:
            self._threads = ThreadPoolExecutor(1, "processes")
        loop = asyncio.get_running_loop()
        pid = await loop.run_in_executor(self._threads, self._holder, found)
        if pid is not None:
            return self._found(found.uid, pid)
        if not self._sees_all:
            return self._unseen(found.uid)
        return Process(uid=found.uid, why="no process that can be seen holds the socket")

    def find_now(self, network: str, source: bytes, source_port: int, target: bytes, port: int) -> Process:
        """Return the owner, however long that takes, for those who have no loop. Never raises."""
        found = self._socket(network, source, source_port, target, port)
        if isinstance(found, Process):
            return found
        pid = self._holder(found)
        if pid is not None:
            return self._found(found.uid, pid)
        return Process(uid=found.uid, why="no process that can be seen holds the socket")

    def _socket(
        self, network: str, source: bytes, source_port: int, target: bytes, port: int
    ) -> SocketOwner | Process:
        """Return the socket, or a process of which nothing is known, and why."""
        if network not in ("tcp", "udp"):
            return Process(why="the kernel does not tell whose pings these are")
        try:
            found = self._diagnosis.owner(network, source, source_port, target, port)
        except OSError as error:
            return Process(why=f"the kernel does not tell: {(error.strerror or str(error)).lower()}")
        if found is None:
            return Process(why=GONE if source in OURS else ELSEWHERE)
        if found.inode == 0:
            return Process(uid=found.uid, why=CLOSED)
        return found

    def _holder(self, found: SocketOwner) -> int | None:
        """Return the process that holds the socket: those of its user first, the youngest first."""
        place = self._remembered(found.inode)
        if place is not None:
            return place
        if len(self._places) > MAX_PLACES:
            self._places.clear()
        try:
            everybody = pids(self._proc)
        except SystemChangeError:
            return None
        later = []
        for pid in everybody:
            if _user(self._proc, pid) != found.uid:
                later.append(pid)
            elif holds(self._proc, pid, found.inode, places=self._places):
                return pid
        holders = (pid for pid in later if holds(self._proc, pid, found.inode, places=self._places))
        return next(holders, None)

    def _remembered(self, inode: int) -> int | None:
        """Return the process where the socket was met before, if it still holds it there."""
        place = self._places.get(inode)
        if place is None:
            return None
        pid, descriptor = place
        try:
            if os.readlink(f"{self._proc}/{pid}/fd/{descriptor}") == f"socket:[{inode}]":
                return pid
        except OSError:
            pass
        self._places.pop(inode, None)
        return None

    def _found(self, uid: int, pid: int) -> Process:
        recent = self._recent.pop(uid, None)
        if recent is None:
            recent = OrderedDict()
        recent.pop(pid, None)
        recent[pid] = None
        while len(recent) > MAX_RECENT:
            recent.popitem(last=False)
        self._recent[uid] = recent
        while len(self._recent) > MAX_USERS:
            self._recent.popitem(last=False)
        return describe_process(pid, uid, self._proc)

    def _unseen(self, uid: int) -> Process:
        return Process(uid=uid, why=f"processes of user {uid} must not be looked at (needs CAP_SYS_PTRACE)")


def holds(
    proc: Path, pid: int, inode: int, until: float = float("inf"), places: Places | None = None
) -> bool:
    """Tell whether a process has a descriptor of the socket; False also where it must not be looked at.

    Gives up at until, in seconds of time.perf_counter(). Sockets that it meets go into places; where the
    wanted one is among them, it reads on for as long again, as it may be asked for the next ones soon.
    """
    folder = f"{proc}/{pid}/fd/"
    try:
        descriptors = os.listdir(folder)
    except OSError:
        return False
    is_found = False
    ends_at = len(descriptors)
    for count, descriptor in enumerate(reversed(descriptors)):  # new sockets mostly stand at the end
        if count == ends_at:
            break
        try:
            link = os.readlink(folder + descriptor)
        except OSError:
            continue
        if link.startswith(_SOCKET):
            met = int(link[len(_SOCKET) : -1])
            if places is not None:
                places[met] = pid, descriptor
            if met == inode:
                is_found = True
                ends_at = 2 * (count + 1) if places is not None else count + 1
        if count % 32 == 31 and time.perf_counter() > until:
            break
    return is_found


def _user(proc: Path, pid: int) -> int:
    """Return the user that a process belongs to, -1 where it has ended."""
    try:
        return os.stat(f"{proc}/{pid}").st_uid
    except OSError:
        return -1
