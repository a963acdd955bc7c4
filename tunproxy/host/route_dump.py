"""Reads one routing table, and no other: rtnetlink(7), with the kernel doing the filtering.

The library that we use for the rest of rtnetlink asks for all routes of all tables and looks at each, which
takes seconds where one table has twenty thousand (our own lane's, or that of a router), each time.
A kernel before 4.20 cannot filter; there we skip what we did not ask for.
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from tunproxy.host.addresses import Network

# linux/netlink.h, linux/rtnetlink.h
RTM_NEWROUTE: Final = 24
RTM_GETROUTE: Final = 26
RTM_F_CLONED: Final = 0x200  # no route, but what the kernel has made of one
_NLM_F_REQUEST: Final = 0x1
_NLM_F_DUMP: Final = 0x300
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_SOL_NETLINK: Final = 270
_NETLINK_GET_STRICT_CHK: Final = 12
_RTA_DST: Final = 1
_RTA_OIF: Final = 4
_RTA_TABLE: Final = 15

NOTHING: Final = (errno.ENOENT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP)  # no such table, or no IPv6

_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
_ROUTE: Final = struct.Struct("=BBBBBBBBI")  # rtmsg: family, dst_len, src_len, tos, table, protocol, …
_ATTRIBUTE: Final = struct.Struct("=HH")  # rtattr: length, type
_NUMBER: Final = struct.Struct("=I")

# our choices
MAX_ANSWER: Final = 1 << 18
PATIENCE: Final = 10.0  # seconds; the kernel has the answer at once


@dataclass(frozen=True, slots=True)
class TableRoute:
    """A route to prefix; kind and protocol are the kernel's numbers, link is 0 where it leads into none."""

    prefix: Network
    kind: int
    protocol: int
    link: int


class RouteReader:
    """Reads tables of the network namespace in which it was made; close it."""

    def __init__(self) -> None:
        """Raises OSError."""
        self._sock: Final = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._sock.settimeout(PATIENCE)
        self._number = 0
        with contextlib.suppress(OSError):
            self._sock.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)

    def close(self) -> None:
        self._sock.close()

    def read(self, family: int, table: int, link: int = 0) -> list[TableRoute]:
        """Return the routes of a table, into that link where it is not 0. Raises OSError."""
        self._number += 1
        body = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) + _attribute(_RTA_TABLE, table)
        if link:
            body += _attribute(_RTA_OIF, link)
        size = _HEADER.size + len(body)
        head = _HEADER.pack(size, RTM_GETROUTE, _NLM_F_REQUEST | _NLM_F_DUMP, self._number, 0)
        self._sock.send(head + body)
        return [
            route
            for its_table, route in self._routes()
            if its_table == table and (not link or route.link == link)
        ]

    def _routes(self) -> Iterator[tuple[int, TableRoute]]:
        """Yield each route that the kernel tells of, with its table."""
        while True:
            data = self._sock.recv(MAX_ANSWER)
            at = 0
            while at + _HEADER.size <= len(data):
                length, kind, _, number, _ = _HEADER.unpack_from(data, at)
                if number == self._number:
                    if kind == _NLMSG_DONE:
                        return
                    if kind == _NLMSG_ERROR:
                        code = -struct.unpack_from("=i", data, at + _HEADER.size)[0]
                        if code in NOTHING:
                            return
                        raise OSError(code, os.strerror(code))
                    found = _parsed(data, at + _HEADER.size, at + length) if kind == RTM_NEWROUTE else None
                    if found is not None:
                        yield found
                at += max((length + 3) & ~3, _HEADER.size)


def _parsed(data: bytes, at: int, end: int) -> tuple[int, TableRoute] | None:
    family, size, _, _, table, protocol, _, kind, flags = _ROUTE.unpack_from(data, at)
    if flags & RTM_F_CLONED or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    address, link = bytes(4 if family == socket.AF_INET else 16), 0
    at += _ROUTE.size
    while at + _ATTRIBUTE.size <= end:
        length, attribute = _ATTRIBUTE.unpack_from(data, at)
        value = data[at + _ATTRIBUTE.size : at + length]
        if attribute == _RTA_DST:
            address = value
        elif attribute == _RTA_OIF:
            (link,) = _NUMBER.unpack(value)
        elif attribute == _RTA_TABLE:
            (table,) = _NUMBER.unpack(value)
        at += max((length + 3) & ~3, _ATTRIBUTE.size)
    prefix: Network
    if family == socket.AF_INET:
        prefix = IPv4Network((IPv4Address(address), size))
    else:
        prefix = IPv6Network((IPv6Address(address), size))
    return table, TableRoute(prefix, kind, protocol, link)


def _attribute(kind: int, number: int) -> bytes:
    return _ATTRIBUTE.pack(8, kind) + _NUMBER.pack(number)
