"""Exceptions from a routing table (routes of type ``throw``), thousands at a time.

Lists of a country's networks have ten thousand prefixes. The library that we use for everything else of
rtnetlink(7) takes a millisecond or two for each route, which is half a minute; messages in bundles, as here,
take a tenth of a second.
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network
from types import TracebackType
from typing import Final

from tunproxy.errors import SystemChangeError
from tunproxy.host.addresses import Network
from tunproxy.host.rule_messages import PROTOCOL

# linux/netlink.h, linux/rtnetlink.h
RTM_NEWROUTE: Final = 24
RTM_DELROUTE: Final = 25
RTM_GETROUTE: Final = 26
RTN_THROW: Final = 9
_NLM_F_REQUEST: Final = 0x1
_NLM_F_ACK: Final = 0x4
_NLM_F_DUMP: Final = 0x300
_NLM_F_CREATE: Final = 0x400
_NLMSG_ERROR: Final = 2
_NLMSG_DONE: Final = 3
_SOL_NETLINK: Final = 270
_NETLINK_CAP_ACK: Final = 10
_NETLINK_GET_STRICT_CHK: Final = 12
_RTA_DST: Final = 1
_RTA_TABLE: Final = 15
_SCOPE_NOWHERE: Final = 255  # of a route to delete: whatever it has

_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
_ROUTE: Final = struct.Struct("=BBBBBBBBI")  # rtmsg: family, dst_len, src_len, tos, table, protocol, …
_ATTRIBUTE: Final = struct.Struct("=HH")  # rtattr: length, type

# our choices
BUNDLE: Final = 64  # messages whose answers fit into the socket's buffer
MAX_ANSWER: Final = 1 << 18
PATIENCE: Final = 10.0  # seconds; the kernel answers before send() returns, but for dumps

Change = tuple[int, Network]  # RTM_NEWROUTE or RTM_DELROUTE


class ExceptionTable:
    """The exceptions that we have made from a table of this network namespace; close it."""

    def __init__(self, table: int) -> None:
        """Raises SystemChangeError."""
        self._table: Final = table
        try:
            self._sock: Final = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
            )
        except OSError as error:
            raise self._failed(error.errno) from error
        self._sock.settimeout(PATIENCE)
        for option in (_NETLINK_CAP_ACK, _NETLINK_GET_STRICT_CHK):
            with contextlib.suppress(OSError):  # without them there is more to read
                self._sock.setsockopt(_SOL_NETLINK, option, 1)

    def __enter__(self) -> "ExceptionTable":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._sock.close()

    def prefixes(self) -> set[Network]:
        """Return what is excepted. Raises SystemChangeError."""
        found: set[Network] = set()
        for family in (socket.AF_INET, socket.AF_INET6):
            body = _ROUTE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) + _table(self._table)
            self._send([_message(RTM_GETROUTE, _NLM_F_REQUEST | _NLM_F_DUMP, 0, body)])
            found.update(self._dumped())
        return found

    def change(self, gone: Iterable[Network], new: Iterable[Network]) -> None:
        """Take exceptions back, and make others; those that are so already stay. Raises SystemChangeError."""
        changes = [(RTM_DELROUTE, prefix) for prefix in gone] + [(RTM_NEWROUTE, prefix) for prefix in new]
        for at in range(0, len(changes), BUNDLE):
            self._bundle(changes[at : at + BUNDLE])

    def _bundle(self, changes: list[Change]) -> None:
        messages = []
        for number, (kind, prefix) in enumerate(changes):
            flags = _NLM_F_REQUEST | _NLM_F_ACK | (_NLM_F_CREATE if kind == RTM_NEWROUTE else 0)
            messages.append(_message(kind, flags, number, self._body(kind, prefix)))
        self._send(messages)
        left = set(range(len(changes)))
        while left:
            for kind, number, data in self._received():
                if kind != _NLMSG_ERROR:
                    continue
                left.discard(number)
                code = -struct.unpack_from("=i", data)[0]
                is_so_already = code == (errno.EEXIST if changes[number][0] == RTM_NEWROUTE else errno.ESRCH)
                if code and not is_so_already:
                    raise self._failed(code, changes[number][1])

    def _body(self, kind: int, prefix: Network) -> bytes:
        family = socket.AF_INET if prefix.version == 4 else socket.AF_INET6
        scope = 0 if kind == RTM_NEWROUTE else _SCOPE_NOWHERE
        head = _ROUTE.pack(family, prefix.prefixlen, 0, 0, 0, PROTOCOL, scope, RTN_THROW, 0)
        address = prefix.network_address.packed
        return head + _ATTRIBUTE.pack(4 + len(address), _RTA_DST) + address + _table(self._table)

    def _dumped(self) -> Iterator[Network]:
        while True:
            for kind, _, data in self._received():
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR:
                    code = -struct.unpack_from("=i", data)[0]
                    if code in (
                        errno.ENOENT,
                        errno.EAFNOSUPPORT,
                        errno.EOPNOTSUPP,
                    ):  # no such table, or no IPv6
                        return
                    raise self._failed(code)
                prefix = self._excepted(data) if kind == RTM_NEWROUTE else None
                if prefix is not None:
                    yield prefix

    def _excepted(self, data: bytes) -> Network | None:
        """Return the prefix of one of our exceptions, None for any other route."""
        family, length, _, _, table, protocol, _, kind, _ = _ROUTE.unpack_from(data)
        if protocol != PROTOCOL or kind != RTN_THROW:
            return None
        address = bytes(4 if family == socket.AF_INET else 16)
        at = _ROUTE.size
        while at + 4 <= len(data):
            size, attribute = _ATTRIBUTE.unpack_from(data, at)
            value = data[at + 4 : at + size]
            if attribute == _RTA_DST:
                address = value
            elif attribute == _RTA_TABLE:
                (table,) = struct.unpack("=I", value)
            at += max((size + 3) & ~3, 4)
        return ip_network((ip_address(address), length)) if table == self._table else None

    def _send(self, messages: list[bytes]) -> None:
        try:
            self._sock.send(b"".join(messages))
        except OSError as error:
            raise self._failed(error.errno) from error

    def _received(self) -> Iterator[tuple[int, int, bytes]]:
        """Yield type, number and content of the messages that come next."""
        try:
            data = self._sock.recv(MAX_ANSWER)
        except OSError as error:
            raise self._failed(error.errno) from error
        at = 0
        while at + _HEADER.size <= len(data):
            length, kind, _, number, _ = _HEADER.unpack_from(data, at)
            yield kind, number, data[at + _HEADER.size : at + length]
            at += max((length + 3) & ~3, _HEADER.size)

    def _failed(self, code: int | None, prefix: Network | None = None) -> SystemChangeError:
        what = f"cannot except {prefix} from" if prefix is not None else "cannot read exceptions from"
        why = os.strerror(code).lower() if code else "the kernel does not answer"
        if code in (errno.EPERM, errno.EACCES):
            why = "not permitted (needs CAP_NET_ADMIN: run as root)"
        return SystemChangeError(f"{what} routing table {self._table}: {why}")


def _message(kind: int, flags: int, number: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, number, 0) + body


def _table(table: int) -> bytes:
    return _ATTRIBUTE.pack(8, _RTA_TABLE) + struct.pack("=I", table)
