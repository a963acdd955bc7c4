"""The tree of a MaxMind database, walked as a whole (MaxMind DB format, "Binary Search Tree Section").

maxminddb goes through a database as well, but makes an object of every network, which takes half a minute.
Here a network is two numbers, and a record, which thousands of networks share, is decoded once.
"""

import struct
from collections.abc import Callable
from typing import Final

import maxminddb
from maxminddb.decoder import Decoder

from tunproxy.rulesets.items import make_range

FAULTS: Final = (
    maxminddb.InvalidDatabaseError, ValueError, OSError, RecursionError, TypeError, KeyError, IndexError,
    AttributeError, struct.error, OverflowError, MemoryError, UnicodeError,
)  # fmt: skip

_SEPARATOR_LEN: Final = 16  # octets between tree and data


def find_ranges(
    data: bytes, metadata: maxminddb.reader.Metadata, wanted: Callable[[object], bool]
) -> list[tuple[int, int, int]]:
    """Return the addresses whose record is wanted, in order, neighbours joined; raises one of FAULTS."""
    count = metadata.node_count
    size = metadata.record_size // 4  # octets of a node, which has two records
    decoder = Decoder(data, count * size + _SEPARATOR_LEN)
    answers: dict[int, bool] = {}
    seen = bytearray(count)
    bits = 32 if metadata.ip_version == 4 else 128
    version = 4 if bits == 32 else 6
    found: list[tuple[int, int, int]] = []
    stack = [(0, 0, bits)]  # record, first address, bits that are free below it
    while stack:
        record, first, free = stack.pop()
        if record < count:
            # IPv4's part of the tree is reached from several places; ::/96, the first, is what counts.
            if free == 0 or seen[record]:
                continue
            seen[record] = 1
            left, right = _records(data, record * size, size)
            free -= 1
            stack.append((right, first | 1 << free, free))
            stack.append((left, first, free))
        elif record > count:
            answer = answers.get(record)
            if answer is None:
                value, _ = decoder.decode(record - count + count * size)
                answer = answers[record] = wanted(value)
            if answer:
                _join(found, _place(version, first, first | (1 << free) - 1))
    return found


def _records(data: bytes, at: int, size: int) -> tuple[int, int]:
    """Return a node's two records."""
    node = data[at : at + size]
    if len(node) < size:
        raise ValueError("the tree is cut off")
    if size == 6:
        return int.from_bytes(node[:3], "big"), int.from_bytes(node[3:], "big")
    if size == 7:
        middle = node[3]
        return (middle & 0xF0) << 20 | int.from_bytes(node[:3], "big"), (
            middle & 0x0F
        ) << 24 | int.from_bytes(node[4:], "big")
    if size == 8:
        return int.from_bytes(node[:4], "big"), int.from_bytes(node[4:], "big")
    raise ValueError(f"records of {size * 4} bits")


def _place(version: int, first: int, last: int) -> tuple[int, int, int]:
    """Return a range; in a tree for IPv6, ::/96 is where IPv4 is."""
    if version == 6 and last >> 32 == 0:
        return 4, first, last
    return make_range(version, first, last)


def _join(found: list[tuple[int, int, int]], more: tuple[int, int, int]) -> None:
    """Append a range, or extend the last one where it goes on."""
    if found and found[-1][0] == more[0] and found[-1][2] + 1 == more[1]:
        found[-1] = (more[0], found[-1][1], more[2])
    else:
        found.append(more)
