"""Who gets how many of the descriptors that a process may have open, so that nobody takes all of them.

A TCP flow, a UDP association and a ping each hold one. UDP sources come in bursts, and what is idle longest
makes room for the next; a TCP flow that cannot be had is a connection that fails. So UDP and pings have a
part at most, and the rest is for TCP alone.
"""

import resource
from dataclasses import dataclass
from typing import Final

from tunproxy.datagram.echo import MAX_SESSIONS
from tunproxy.datagram.table import MAX_ASSOCIATIONS

# our choices
RESERVED: Final = 64  # descriptors of libraries, logs, resolvers, and sockets about to be closed
LEAST: Final = 16  # descriptors that are shared out, however low the limit
UDP_PART: Final = 4  # UDP gets one of so many
PING_PART: Final = 16


@dataclass(frozen=True)
class Shares:
    """How many flows, associations and pings there may be at the same time."""

    flows: int
    associations: int
    pings: int


def share_out(limit: int) -> Shares:
    """Return the shares under this limit of open files."""
    files = max(limit - RESERVED, LEAST)
    associations = min(files // UDP_PART, int(MAX_ASSOCIATIONS))
    pings = min(files // PING_PART, int(MAX_SESSIONS))
    return Shares(files - associations - pings, associations, pings)


def raise_file_limit() -> int:
    """Raise the limit of open files to what is allowed, as each flow needs one; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = 1 << 20
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
