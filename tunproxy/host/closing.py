"""Connections that programs of a network namespace have closed, but which are not at their end yet.

A program may end right after it has written its last octets; the kernel goes on sending them. Where the
kernel's packets go through us, we must stay until it is done.
"""

import os
from dataclasses import dataclass
from typing import Final

# Read through a descriptor, these show the network namespace in which they were opened.
TABLES: Final = ("/proc/self/net/tcp", "/proc/self/net/tcp6")

# include/net/tcp_states.h, as the tables show them
FIN_WAIT2: Final = "05"
UNSENT: Final = (
    "04",
    "09",
    "0B",
)  # FIN-WAIT-1, LAST-ACK, CLOSING: our FIN, or data before it, is unacknowledged
STATE, INODE = 3, 9  # columns; a connection that belongs to no program any more has inode 0


@dataclass(frozen=True)
class Closing:
    """How many closed connections are not finished: with data still to be sent, and without."""

    unsent: int
    half_closed: int


def open_tables() -> list[int]:
    """Return descriptors of this network namespace's tables of TCP connections; those of both families."""
    return [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in TABLES if os.path.exists(path)]


def count_closing(tables: list[int]) -> Closing:
    """Count what is in the tables now; theirs is the namespace in which open_tables() was called."""
    states = [state for table in tables for state in _orphans(_read_all(table))]
    return Closing(sum(state in UNSENT for state in states), states.count(FIN_WAIT2))


def _orphans(text: str) -> list[str]:
    """Return the states of the connections that belong to no program."""
    rows = [line.split() for line in text.splitlines()[1:]]
    return [row[STATE] for row in rows if len(row) > INODE and row[INODE] == "0"]


def _read_all(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return b"".join(iter(lambda: os.read(descriptor, 1 << 16), b"")).decode()
