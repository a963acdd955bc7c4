"""A link that loses, reorders and marks, between the lab's client and its host; the kernel need not know how.

    client -- bad0 == relay, a program of its own == bad0 -- host, with tunproxy

Both ends are TUN devices. A packet on the link is one of its MTU: the kernel cuts and sums before. Every
decision follows from the seed and from the number of the packet in its direction; what the packet holds
is up to the kernel's timing, so a run repeats in kind, not to the octet. Marks are those of a router with a
queue that is too long (RFC 3168 §5): CE, on packets whose sender says that it understands.
"""

import contextlib
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the relay imports nothing but the standard library: it starts once per lab
    from tests.system.lab import Lab
    from tests.system.namespace import Namespace

DEVICE = "bad0"
QUEUE = 10_000  # packets; the device itself must lose none
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
IPV6_MTU = 1280  # RFC 8200 §5
LARGEST_PACKET = 65535 + 100
FARTHEST = 8  # packets that may overtake one that is held back
LONGEST = 5  # milliseconds for which a packet is held back where no other comes
PATIENCE = 30  # seconds within which the relay answers
ECT, CE = (1, 2), 3
TCP, SYN, CWR = 6, 0x02, 0x80
NEAR = {4: ("10.96.0.2", "10.96.0.1"), 6: ("fd96::2", "fd96::1")}  # of client and host, see Lab


@dataclass(frozen=True)
class Passed:
    """What a link did to the packets of both directions."""

    count: int
    lost: int
    overtaken: int
    marked_up: int  # from the client
    marked_down: int
    reduced_up: int  # segments with CWR: their sender's window is smaller
    reduced_down: int


class BadLink:
    """The link of one lab; it carries nothing until somebody asks for faults."""

    def __init__(self, lab: "Lab", mtu: int) -> None:
        self._lab = lab
        self._families = (4, 6) if mtu >= IPV6_MTU else (4,)
        fds = [_open_end(namespace, mtu) for namespace in (lab.client, lab.host)]
        try:
            self._relay = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, *map(str, fds)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=fds, start_new_session=True,
            )  # fmt: skip
        finally:
            for fd in fds:
                os.close(fd)

    def close(self) -> None:
        """End the relay; its devices go with it."""
        self._relay.kill()
        self._relay.communicate(timeout=PATIENCE)

    @contextlib.contextmanager
    def carrying(self, *, loss: int, reorder: int, mark: int, seed: int) -> Iterator[list[Passed]]:
        """Lead what client and host tell each other over this link; loss, reorder and mark in per cent.

        The list that this yields has what happened in it afterwards.
        """
        found: list[Passed] = []
        self._tell(loss, reorder, mark, seed)
        self._route(self._lab.client, "default", 0)
        self._route(self._lab.host, "", 1)
        try:
            yield found
        finally:
            for family in self._families:
                client, host = NEAR[family]
                self._lab.client.ip(f"-{family}", "route", "replace", "default", "via", host)
                self._lab.host.ip(f"-{family}", "route", "delete", client, "dev", DEVICE)
            found.append(self._tell(0, 0, 0, 0))

    def _route(self, namespace: "Namespace", target: str, source: int) -> None:
        for family in self._families:
            words = (target or NEAR[family][0], "dev", DEVICE, "src", NEAR[family][source])
            namespace.ip(f"-{family}", "route", "replace", *words)

    def _tell(self, loss: int, reorder: int, mark: int, seed: int) -> Passed:
        """Set what happens from now on; return what has happened since the last time."""
        assert self._relay.stdin is not None
        assert self._relay.stdout is not None
        self._relay.stdin.write(b"%d %d %d %d\n" % (loss, reorder, mark, seed))
        self._relay.stdin.flush()
        if not select.select([self._relay.stdout], [], [], PATIENCE)[0]:
            raise TimeoutError("the link does not answer")
        return Passed(*map(int, self._relay.stdout.readline().split()))


def _open_end(namespace: "Namespace", mtu: int) -> int:
    with namespace.entered():
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), IFF_TUN | IFF_NO_PI))
    namespace.ip("link", "set", DEVICE, "mtu", str(mtu), "txqueuelen", str(QUEUE), "up")
    return fd


class Direction:
    """One way over the link, and the packets that are held back on it."""

    def __init__(self, source: int, target: int) -> None:
        self.source, self._target = source, target
        self._held: list[tuple[int, bytes]] = []  # each with how many packets may still overtake it
        self.set(0, 0, 0, 0)

    def set(self, loss: int, reorder: int, mark: int, seed: int) -> None:
        """Change what happens, and begin to count anew."""
        self._loss, self._reorder, self._mark = loss / 100, reorder / 100, mark / 100
        self._draw = random.Random(seed)
        self._draw_mark = random.Random(seed)  # so that marks change nothing else
        self.count = self.lost = self.overtaken = self.marked = self.reduced = 0

    def take(self) -> bool:
        """Carry what has arrived; return whether something is held back."""
        for _ in range(64):
            try:
                packet = os.read(self.source, LARGEST_PACKET)
            except BlockingIOError:
                break
            self._carry(packet)
        return bool(self._held)

    def release(self) -> None:
        """Send what is held back."""
        for _, packet in self._held:
            self._send(packet)
        self._held.clear()

    def _carry(self, packet: bytes) -> None:
        self.count += 1
        self.reduced += tells_of_reduction(packet)
        chance = self._draw.random()
        if chance < self._loss:
            self.lost += 1
            return
        if self._mark and ecn_field(packet) in ECT and self._draw_mark.random() < self._mark:
            self.marked += 1
            packet = marked(packet)
        if chance < self._loss + self._reorder:
            self.overtaken += 1
            self._held.append((self._draw.randrange(1, FARTHEST + 1), packet))
            return
        self._send(packet)
        for left, held in self._held:
            if left == 1:
                self._send(held)
        self._held = [(left - 1, held) for left, held in self._held if left > 1]

    def _send(self, packet: bytes) -> None:
        with contextlib.suppress(OSError):  # a device that is going away
            os.write(self._target, packet)


def ecn_field(packet: bytes) -> int:
    """Return the ECN field of a packet."""
    return (packet[1] >> 4 if packet[0] >> 4 == 6 else packet[1]) & 3


def marked(packet: bytes) -> bytes:
    """Return a packet with CE; the checksum of an IPv4 header is made anew."""
    found = bytearray(packet)
    if packet[0] >> 4 == 6:
        found[1] |= CE << 4
        return bytes(found)
    found[1] |= CE
    end = (packet[0] & 15) * 4
    found[10:12] = b"\0\0"
    total = sum(struct.unpack(f"!{end // 2}H", found[:end]))
    total = (total & 0xFFFF) + (total >> 16)
    struct.pack_into("!H", found, 10, ~(total + (total >> 16)) & 0xFFFF)
    return bytes(found)


def tells_of_reduction(packet: bytes) -> bool:
    """Tell whether a packet is a TCP segment, and no SYN, with CWR."""
    is_ipv6 = packet[0] >> 4 == 6
    start = 40 if is_ipv6 else (packet[0] & 15) * 4
    if packet[6 if is_ipv6 else 9] != TCP or len(packet) < start + 20:
        return False
    return packet[start + 13] & (CWR | SYN) == CWR


def relay(one: int, other: int) -> None:
    """Carry packets between two devices, as the lines on standard input say, until it ends."""
    directions = (Direction(one, other), Direction(other, one))
    poll = select.poll()
    for fd in (0, one, other):
        poll.register(fd, select.POLLIN)
    are_held = False
    while True:
        ready = dict(poll.poll(LONGEST if are_held else None))
        if not ready:
            for direction in directions:
                direction.release()
            are_held = False
        for direction in directions:
            if direction.source in ready and direction.take():
                are_held = True
        if 0 in ready:
            words = os.read(0, 100).split()
            if not words:
                return
            told = [sum(getattr(way, name) for way in directions) for name in ("count", "lost", "overtaken")]
            told += [getattr(way, name) for name in ("marked", "reduced") for way in directions]
            loss, reorder, mark, seed = map(int, words)
            for number, direction in enumerate(directions):
                direction.set(loss, reorder, mark, 2 * seed + number)
            os.write(1, b"%d %d %d %d %d %d %d\n" % tuple(told))


if __name__ == "__main__":
    relay(int(sys.argv[1]), int(sys.argv[2]))
