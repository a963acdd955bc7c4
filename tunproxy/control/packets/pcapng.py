"""Blocks of a pcapng file (draft-ietf-opsawg-pcapng), as little-endian octets; each is whole by itself.

    section header, interface description          begin a file
    name resolution, enhanced packet               in any order
    interface statistics                           end it

Written here, because a packet is one call and libraries make an object of each option.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Final

SECTION_HEADER: Final = 0x0A0D0D0A
INTERFACE: Final = 1
NAMES: Final = 4
STATISTICS: Final = 5
PACKET: Final = 6
BYTE_ORDER_MAGIC: Final = 0x1A2B3C4D
LINKTYPE_RAW: Final = 101  # https://www.tcpdump.org/linktypes.html: begins with an IPv4 or IPv6 header

# options of any block
END: Final = 0
COMMENT: Final = 1
# of a section
OS: Final = 3
APPLICATION: Final = 4
# of an interface
IF_NAME: Final = 2
IF_DESCRIPTION: Final = 3
IF_TSRESOL: Final = 9
IF_FILTER: Final = 11
IF_OS: Final = 12
NANOSECONDS: Final = 9  # 10 ** -9
# of a packet
FLAGS: Final = 2
DROP_COUNT: Final = 4
QUEUE: Final = 6
INBOUND: Final = 1
OUTBOUND: Final = 2
# of statistics
START_TIME: Final = 2
END_TIME: Final = 3
RECEIVED: Final = 4
DROPPED: Final = 5
DELIVERED: Final = 8

IPV4_RECORD: Final = 1
IPV6_RECORD: Final = 2

MAX_OPTION: Final = 0xFFFF
MAX_COUNT: Final = (1 << 64) - 1
MAX_BLOCK: Final = 1 << 20  # our choice: octets; more than any of ours has

_TWO: Final = struct.Struct("<II")
_ONE: Final = struct.Struct("<I")
_OPTION: Final = struct.Struct("<HH")
_PACKET_HEAD: Final = struct.Struct("<IIIIIII")
_FLAGS: Final = struct.Struct("<HHI")
_COUNT: Final = struct.Struct("<HHQ")


def section(comment: str, os_name: str, application: str) -> bytes:
    """Return the block that a file begins with."""
    body = struct.pack("<IHHq", BYTE_ORDER_MAGIC, 1, 0, -1)
    return block(
        SECTION_HEADER, body + options((COMMENT, comment), (OS, os_name), (APPLICATION, application))
    )


def interface(name: str, description: str, snaplen: int, filter_text: str, os_name: str) -> bytes:
    """Return the description of an interface of raw IP packets, with times in nanoseconds."""
    body = struct.pack("<HHI", LINKTYPE_RAW, 0, snaplen)
    said: list[tuple[int, str | bytes]] = [
        (IF_NAME, name),
        (IF_DESCRIPTION, description),
        (IF_TSRESOL, bytes([NANOSECONDS])),
    ]
    if filter_text:
        said.append((IF_FILTER, b"\0" + filter_text.encode()))
    return block(INTERFACE, body + options(*said, (IF_OS, os_name)))


def packet(
    at: int,
    data: bytes,
    length: int,
    *,
    flags: int,
    comments: Iterable[str] = (),
    lost: int = 0,
    queue: int = -1,
) -> bytes:
    """Return a packet of interface 0: at is in nanoseconds since 1970, length its own before it was cut.

    lost is how many are missing directly before; queue is -1 for none.
    """
    said = b"".join([option(COMMENT, text) for text in comments]) + _FLAGS.pack(FLAGS, 4, flags)
    if lost:
        said += _COUNT.pack(DROP_COUNT, 8, lost)
    if queue >= 0:
        said += _FLAGS.pack(QUEUE, 4, queue)
    said += b"\0\0\0\0"
    padding = b"\0" * (-len(data) % 4)
    size = 32 + len(data) + len(padding) + len(said)
    head = _PACKET_HEAD.pack(PACKET, size, 0, at >> 32, at & 0xFFFF_FFFF, len(data), length)
    return b"".join((head, data, padding, said, _ONE.pack(size)))


def names(records: Iterable[tuple[bytes, str]]) -> bytes:
    """Return what addresses, of 4 or 16 octets, mean."""
    parts = []
    for address, name in records:
        value = address + name.encode(errors="replace").replace(b"\0", b"?")[:1024] + b"\0"
        kind = IPV4_RECORD if len(address) == 4 else IPV6_RECORD
        parts.append(_OPTION.pack(kind, len(value)) + value + b"\0" * (-len(value) % 4))
    return block(NAMES, b"".join([*parts, b"\0\0\0\0"]))


def statistics(began: int, ended: int, received: int, dropped: int, delivered: int, comment: str) -> bytes:
    """Return the counts of interface 0; times are in nanoseconds since 1970."""
    head = struct.pack("<III", 0, ended >> 32, ended & 0xFFFF_FFFF)
    times = [
        (kind, _TWO.pack(at >> 32, at & 0xFFFF_FFFF)) for kind, at in ((START_TIME, began), (END_TIME, ended))
    ]
    counts = [
        (kind, struct.pack("<Q", min(count, MAX_COUNT)))
        for kind, count in ((RECEIVED, received), (DROPPED, dropped), (DELIVERED, delivered))
    ]
    return block(STATISTICS, head + options((COMMENT, comment), *times, *counts))


def block(kind: int, body: bytes) -> bytes:
    """Return a block of any kind; the body's length is a multiple of 4."""
    size = 12 + len(body)
    return _TWO.pack(kind, size) + body + _ONE.pack(size)


def options(*said: tuple[int, str | bytes]) -> bytes:
    """Return options and their end."""
    return b"".join([option(kind, value) for kind, value in said]) + b"\0\0\0\0"


def option(kind: int, value: str | bytes) -> bytes:
    """Return one option; what is longer than options may be is cut."""
    octets = value.encode(errors="replace") if isinstance(value, str) else value
    if len(octets) > MAX_OPTION:
        octets = (
            octets[:MAX_OPTION].decode(errors="ignore").encode()
            if isinstance(value, str)
            else octets[:MAX_OPTION]
        )
    return _OPTION.pack(kind, len(octets)) + octets + b"\0" * (-len(octets) % 4)


class Blocks:
    """Cuts a stream of ours into blocks, so that nobody writes half of one."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield kind and octets of the blocks that are whole now. Raises ValueError for what is none."""
        data = self._rest + data
        at = 0
        while len(data) - at >= 12:
            kind, size = _TWO.unpack_from(data, at)
            if not 12 <= size <= MAX_BLOCK or size % 4:
                raise ValueError(f"a block of {size} octets")
            if len(data) - at < size:
                break
            yield kind, data[at : at + size]
            at += size
        self._rest = data[at:]


def counts_of(octets: bytes) -> dict[int, int]:
    """Return the counts in a block of statistics, by kind."""
    found = {}
    at = 20
    while at + 4 <= len(octets) - 4:
        kind, size = _OPTION.unpack_from(octets, at)
        if kind == END:
            break
        if kind in (RECEIVED, DROPPED, DELIVERED) and size == 8:
            found[kind] = struct.unpack_from("<Q", octets, at + 4)[0]
        at += 4 + size + -size % 4
    return found
