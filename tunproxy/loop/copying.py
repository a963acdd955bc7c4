"""Copies of packets as they pass the device, for captures; while there is none, nothing of this is on their
way.

The packet path reaches the device by four system calls. A ``DeviceTap`` takes their place as long as
somebody captures, makes them, and shows each ``Copier`` what has passed. A copier knows by a packet's
addresses and ports, in one slice and one look-up, whether its flow is wanted; of a flow that it has not met
it asks its ``Marker``.
"""

import time
from collections.abc import Callable
from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.flow.life import FlowLife
from tunproxy.flow.ports import Poller, Timed
from tunproxy.wire.bits import u16
from tunproxy.wire.ip import TCP, UDP
from tunproxy.wire.vnet import VNET_LEN

# whether the packets of a flow are wanted
UNSURE: Final[i64] = 0  # they are kept until that is known
WANTED: Final[i64] = 1
UNWANTED: Final[i64] = 2

_SYN: Final[i64] = 2
_SYN_ACK: Final[i64] = 0x12

# our choices
SHIP_AT: Final[i64] = 256 << 10  # octets after which copies are called for, before their time
OVERHEAD: Final[i64] = 200  # octets that a copy costs besides

time_ns: Final = time.time_ns

Read = Callable[[int], bytes | None]
ReadInto = Callable[[bytearray], int | None]
Write = Callable[[int, bytes], int]
WriteParts = Callable[[int, list[bytes | memoryview]], int]


@final
@mypyc_attr(native_class=True)
class Mark:
    """What one capture knows of one flow. key are addresses and ports as the client's packets have them.

    What has no flow has a mark as well, without a life.
    """

    def __init__(self, protocol: i64, key: bytes) -> None:
        self.protocol: Final = protocol
        self.key: Final = key
        self.wanted: i64 = UNSURE
        self.life: FlowLife | None = None
        self.waiting: i64 = 0  # copies that are still here
        self.is_settled = False  # all is known that will be before the end
        self.said: str = ""  # what has been said of it last
        self.is_said = False  # which is the last word before the end
        self.is_over_said = False


@final
@mypyc_attr(native_class=True)
class Copied:
    """A packet. at is in nanoseconds since 1970; data begins with it, and may be cut; length is its own."""

    def __init__(self, mark: Mark, at: int, is_up: bool, data: bytes, length: i64, lost: i64) -> None:
        self.mark: Final = mark
        self.at: Final = at
        self.is_up: Final = is_up  # from the client
        self.data: Final = data
        self.length: Final = length
        self.lost: Final = lost  # packets that were wanted and not kept, directly before


@mypyc_attr(allow_interpreted_subclasses=True)
class Marker:
    """Knows which flow a packet is of. Neither method may raise or block."""

    def meet(self, frame: bytes, is_up: bool) -> Mark:
        """Return the mark of a packet that the copier does not know, or that begins a TCP flow."""
        raise NotImplementedError


@final
@mypyc_attr(native_class=True)
class Copier:
    """Keeps copies for one capture until somebody takes them, room octets at most, snaplen of each packet.

    It calls for shipper, through poller, when there are many.
    """

    def __init__(self, marker: Marker, poller: Poller, shipper: Timed, snaplen: i64, room: i64) -> None:
        self.copies: list[Copied] = []
        self.held: i64 = 0
        self.lost: i64 = 0  # in all
        self.seen: i64 = 0  # wanted, as far as that is known
        self._lost_before: i64 = 0  # directly before the next one
        self._marker: Final = marker
        self._poller: Final = poller
        self._shipper: Final = shipper
        self._snaplen: Final = snaplen
        self._room: Final = room
        self._is_called: bool = False
        self._tcp_up: Final[dict[bytes, Mark]] = {}
        self._tcp_down: Final[dict[bytes, Mark]] = {}
        self._udp_up: Final[dict[bytes, Mark]] = {}
        self._udp_down: Final[dict[bytes, Mark]] = {}

    def know(self, mark: Mark) -> None:
        """Find mark by its key from now on."""
        key = mark.key
        if mark.protocol == TCP:
            self._tcp_up[key] = mark
            self._tcp_down[turned(key)] = mark
        elif mark.protocol == UDP:
            self._udp_up[key] = mark
            self._udp_down[turned(key)] = mark

    def find(self, protocol: i64, key: bytes) -> Mark | None:
        """Return the mark of that key; None where there is none."""
        if protocol == TCP:
            return self._tcp_up.get(key)
        return self._udp_up.get(key) if protocol == UDP else None

    def forget(self, mark: Mark) -> None:
        """Do not find mark any more, if it is found."""
        key = mark.key
        if self.find(mark.protocol, key) is not mark:
            return
        if mark.protocol == TCP:
            del self._tcp_up[key]
            del self._tcp_down[turned(key)]
        else:
            del self._udp_up[key]
            del self._udp_down[turned(key)]

    def take(self, frame: bytes, is_up: bool, length: i64, parts: list[bytes | memoryview] | None) -> None:
        """Keep a copy of what has passed, if it is wanted; length is the frame's.

        frame are its first octets, its headers at least; parts are all of it, None where frame is.
        """
        mark = self._mark(frame, is_up)
        if mark.wanted == UNWANTED:
            return
        end = min(length, self._snaplen + VNET_LEN)
        if self.held + end > self._room:
            self.lost += 1
            self._lost_before += 1
            return
        if parts is not None and end > i64(len(frame)):
            frame = b"".join(parts)
        data = frame[VNET_LEN:end]
        self.copies.append(Copied(mark, time_ns(), is_up, data, length - VNET_LEN, self._lost_before))
        self._lost_before = 0
        mark.waiting += 1
        self.held += i64(len(data)) + OVERHEAD
        # A flow's first packet: whose it is, is best asked at once, as it may be over soon.
        if not self._is_called and (self.held >= SHIP_AT or (mark.waiting == 1 and not mark.is_settled)):
            self._is_called = True
            self._poller.later(self._shipper)

    def hand_out(self) -> list[Copied]:
        """Return the copies that there are, which are the caller's from now on, and count until let_go."""
        copies = self.copies
        self.copies = []
        self._is_called = False
        return copies

    def let_go(self, octets: i64) -> None:
        """Have room for so many octets more: they are not held any more."""
        self.held -= octets

    def _mark(self, frame: bytes, is_up: bool) -> Mark:
        """Return the mark of a packet: at once where headers are plain, else the marker says."""
        size = i64(len(frame))
        found: Mark | None = None
        if size >= VNET_LEN + 24 and i64(frame[VNET_LEN]) == 0x45 and u16(frame, VNET_LEN + 6) & 0x3FFF == 0:
            key = frame[VNET_LEN + 12 : VNET_LEN + 24]
            protocol = i64(frame[VNET_LEN + 9])
            flags_at = VNET_LEN + 33
        elif size >= VNET_LEN + 44 and i64(frame[VNET_LEN]) >> 4 == 6:
            key = frame[VNET_LEN + 8 : VNET_LEN + 44]
            protocol = i64(frame[VNET_LEN + 6])
            flags_at = VNET_LEN + 53
        else:
            return self._marker.meet(frame, is_up)
        if protocol == TCP:
            if is_up:
                if size <= flags_at or (i64(frame[flags_at]) & _SYN_ACK) != _SYN:
                    found = self._tcp_up.get(key)
            else:
                found = self._tcp_down.get(key)
        elif protocol == UDP:
            found = self._udp_up.get(key) if is_up else self._udp_down.get(key)
        return found if found is not None else self._marker.meet(frame, is_up)


@final
@mypyc_attr(native_class=True)
class DeviceTap:
    """Makes the system calls of a device in place of those that it is given, for copiers."""

    def __init__(self, read: Read, read_into: ReadInto, write: Write, write_parts: WriteParts) -> None:
        self.real_read: Final = read
        self.real_read_into: Final = read_into
        self.real_write: Final = write
        self.real_write_parts: Final = write_parts
        self.copiers: list[Copier] = []

    def show(self, frame: bytes, is_up: bool) -> None:
        """Show a whole frame to all copiers."""
        for copier in self.copiers:
            copier.take(frame, is_up, len(frame), None)

    def read(self, size: int) -> bytes | None:
        frame = self.real_read(size)
        if frame is not None and len(frame) > VNET_LEN:
            self.show(frame, True)
        return frame

    def read_into(self, buffer: bytearray) -> int | None:
        count = self.real_read_into(buffer)
        if count is not None and count > VNET_LEN:
            self.show(bytes(memoryview(buffer)[:count]), True)
        return count

    def write(self, fd: int, frame: bytes) -> int:
        count = self.real_write(fd, frame)
        self.show(frame, False)
        return count

    def write_parts(self, fd: int, parts: list[bytes | memoryview]) -> int:
        count = self.real_write_parts(fd, parts)
        header = parts[0]
        assert isinstance(header, bytes)
        for copier in self.copiers:
            copier.take(header, False, count, parts)
        return count


def turned(key: bytes) -> bytes:
    """Return addresses and ports as packets of the other direction have them."""
    size = (i64(len(key)) - 4) // 2
    end = 2 * size
    return key[size:end] + key[:size] + key[end + 2 : end + 4] + key[end : end + 2]
