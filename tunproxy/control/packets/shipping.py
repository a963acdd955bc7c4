"""What a worker ships to the supervisor over a stream socket: records, one after the other.

     0       4      5                                    length counts from kind on
    +-------+------+----------------------------------
    | length| kind | PACKET: at, length, lost, flags, two comments, data
                   | NAME:   address, name
                   | COUNTS: packets that were wanted, and of these lost

The supervisor believes none of it: what does not fit ends the capture of that worker.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

PACKET: Final = 1
NAME: Final = 2
COUNTS: Final = 3
UP: Final = 1  # a flag: the packet is the client's

# our choices, in octets: no packet is longer than 65,575, and comments are cut
MAX_SNAPLEN: Final = 262_144  # of a packet: as much as tcpdump keeps
MAX_RECORD: Final = 256 << 10
MAX_COMMENT: Final = 4096

_HEAD: Final = struct.Struct("<IB")
_PACKET: Final = struct.Struct("<IBQIIBHH")  # with the head
_NAME: Final = struct.Struct("<IBB")
_COUNTS: Final = struct.Struct("<IBQQ")
_LEAST: Final = {PACKET: _PACKET.size, NAME: _NAME.size, COUNTS: _COUNTS.size}


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet. at is in nanoseconds since 1970, length its own; lost are missing directly before."""

    at: int
    is_up: bool
    data: bytes
    length: int
    lost: int
    comments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Name:
    """What an address, of 4 or 16 octets, means to who sends there."""

    address: bytes
    name: str


@dataclass(frozen=True, slots=True)
class Counts:
    """How many packets were wanted so far, and how many of them are lost."""

    seen: int
    lost: int


Record = Packet | Name | Counts


def packet(at: int, is_up: bool, data: bytes, length: int, lost: int, first: str, last: str) -> list[bytes]:
    """Return a packet's record in pieces. first and last are its comments, "" for none."""
    said, over = _cut(first), _cut(last)
    size = _PACKET.size - 4 + len(said) + len(over) + len(data)
    head = _PACKET.pack(size, PACKET, at, length, lost, UP if is_up else 0, len(said), len(over))
    return [head + said + over, data]


def name(address: bytes, text: str) -> bytes:
    """Return the record of a name."""
    said = _cut(text)
    return _NAME.pack(_NAME.size - 4 + len(address) + len(said), NAME, len(address)) + address + said


def counts(seen: int, lost: int) -> bytes:
    """Return the record of counts."""
    return _COUNTS.pack(_COUNTS.size - 4, COUNTS, seen, lost)


class Records:
    """Reads records out of a stream."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Record]:
        """Yield the records that are whole now. Raises ValueError for what is none."""
        data = self._rest + data
        at = 0
        while len(data) - at >= _HEAD.size:
            size, kind = _HEAD.unpack_from(data, at)
            if not 1 <= size <= MAX_RECORD:
                raise ValueError(f"a record of {size} octets")
            end = at + 4 + size
            if end > len(data):
                break
            yield _record(kind, data, at, end)
            at = end
        self._rest = data[at:]


def _record(kind: int, data: bytes, at: int, end: int) -> Record:
    least = _LEAST.get(kind)
    if least is None or end - at < least:
        raise ValueError(f"a record of kind {kind} with {end - at} octets")
    if kind == PACKET:
        _, _, moment, length, lost, flags, first, last = _PACKET.unpack_from(data, at)
        start = at + least
        middle = start + first
        payload = middle + last
        if payload > end or end - payload > length:
            raise ValueError("a packet that does not fit")
        said = (data[start:middle], data[middle:payload])
        comments = tuple(each.decode(errors="replace") for each in said if each)
        return Packet(moment, bool(flags & UP), data[payload:end], length, lost, comments)
    if kind == COUNTS:
        return Counts(*_COUNTS.unpack_from(data, at)[2:])
    size = _NAME.unpack_from(data, at)[2]
    start = at + least
    if size not in (4, 16) or start + size > end:
        raise ValueError("a name of no address")
    return Name(data[start : start + size], data[start + size : end].decode(errors="replace"))


def _cut(text: str) -> bytes:
    return text.encode(errors="replace")[:MAX_COMMENT]
