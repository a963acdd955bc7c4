"""Whose socket it is that sends from an address and port: the kernel's socket diagnosis (sock_diag(7)).

One question about one socket costs the kernel a look-up in its hash table and us 11 us. The library that
we use for everything else of netlink reads all sockets instead, in milliseconds, which is too much for once
per flow. A question is answered for the network namespace in which the netlink socket was made, by whomever
it is asked and wherever he is then.
"""

import errno
import os
import socket
import struct
from dataclasses import dataclass
from typing import Final

from tunproxy.errors import SystemChangeError

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_NLMSG_ERROR: Final = 2
_HEADER: Final = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence number, port
_REQUEST: Final = struct.Struct("=BBBBI")  # inet_diag_req_v2: family, protocol, extensions, padding, states
_PORTS: Final = struct.Struct(">HH")
_TAIL: Final = struct.Struct("=I8s")  # inet_diag_sockid: interface, cookie (none)
_ANSWER: Final = struct.Struct(
    "=BBBB48sIIIII"
)  # inet_diag_msg: family, state, …; expires, queues, uid, inode
_PROTOCOLS: Final = {"tcp": int(socket.IPPROTO_TCP), "udp": int(socket.IPPROTO_UDP)}
_NO_COOKIE: Final = b"\xff" * 8
_UNIX_REQUEST: Final = struct.Struct("=BBHIII8s")  # unix_diag_req: family, …, states, inode, what to show
_UNIX_ANSWER_LEN: Final = 16  # unix_diag_msg
_SHOW_UID: Final = 0x40  # linux/unix_diag.h: UDIAG_SHOW_UID, Linux 5.3
_UNIX_DIAG_UID: Final = 7
_ATTRIBUTE: Final = struct.Struct("=HHI")  # rtattr: length, type; and a number
_LISTEN: Final = 10  # include/net/tcp_states.h
_ALL_STATES: Final = 0xFFFF_FFFF

# our choices
_MAX_ANSWER: Final = 8192
_PATIENCE: Final = 0.05  # seconds; the kernel answers before send() returns
_MAX_STALE: Final = 16  # answers to questions that were given up


@dataclass(frozen=True, slots=True)
class SocketOwner:
    """A socket's user and inode; inode 0: the socket is an orphan, its process has closed it."""

    uid: int
    inode: int


class SocketDiagnosis:
    """Asks over sock, from ``open_diagnosis``, which belongs to it from now on."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(_PATIENCE)
        self._sock: Final = sock
        self._number = 0

    def close(self) -> None:
        self._sock.close()

    def owner(
        self, protocol: str, source: bytes, source_port: int, target: bytes, target_port: int
    ) -> SocketOwner | None:
        """Return whose socket sends "tcp" or "udp" from source to target, both packed; None: there is none.

        A UDP socket need not be connected. Raises OSError where the kernel does not tell.
        """
        number = _PROTOCOLS[protocol]
        family = socket.AF_INET if len(source) == 4 else socket.AF_INET6
        ends = (source, source_port, target, target_port)
        if protocol == "udp":  # the kernel looks for whoever would receive such a datagram
            ends = (target, target_port, source, source_port)
        answer = self._ask(family, number, *ends)
        if answer is None:
            return None
        _, state, _, _, _, _, _, _, uid, inode = _ANSWER.unpack_from(answer, _HEADER.size)
        if protocol == "tcp" and state == _LISTEN:  # somebody else's, at the same port
            return None
        return SocketOwner(uid, inode)

    def _ask(
        self, family: int, protocol: int, source: bytes, source_port: int, target: bytes, port: int
    ) -> bytes | None:
        self._number = (self._number + 1) & 0xFFFF_FFFF
        body = b"".join(
            (
                _REQUEST.pack(family, protocol, 0, 0, _ALL_STATES),
                _PORTS.pack(source_port, port),
                source.ljust(16, b"\0"),
                target.ljust(16, b"\0"),
                _TAIL.pack(0, _NO_COOKIE),
            )
        )
        length = _HEADER.size + len(body)
        self._sock.send(_HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, self._number, 0) + body)
        for _ in range(_MAX_STALE):
            answer = self._sock.recv(_MAX_ANSWER)
            _, kind, _, number, _ = _HEADER.unpack_from(answer)
            if number != self._number:
                continue
            if kind == _SOCK_DIAG_BY_FAMILY:
                return answer
            error = -struct.unpack_from("=i", answer, _HEADER.size)[0] if kind == _NLMSG_ERROR else 0
            if error in (0, errno.ENOENT):
                return None
            raise OSError(error, os.strerror(error))
        raise OSError(errno.EIO, "the kernel answers other questions")


def open_diagnosis() -> socket.socket:
    """Return a netlink socket about the sockets of this network namespace. Raises SystemChangeError."""
    try:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise SystemChangeError(f"cannot ask the kernel whose sockets there are: {why}") from error


def unix_socket_user(inode: int) -> int:
    """Return who has made a Unix socket of this network namespace, -1 where the kernel does not tell."""
    request = _UNIX_REQUEST.pack(socket.AF_UNIX, 0, 0, _ALL_STATES, inode, _SHOW_UID, _NO_COOKIE)
    length = _HEADER.size + len(request)
    try:
        with open_diagnosis() as sock:
            sock.settimeout(_PATIENCE)
            sock.send(_HEADER.pack(length, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0) + request)
            answer = sock.recv(_MAX_ANSWER)
    except (OSError, SystemChangeError):
        return -1
    if _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return -1
    at = _HEADER.size + _UNIX_ANSWER_LEN
    while at + _ATTRIBUTE.size <= len(answer):
        size, kind, value = _ATTRIBUTE.unpack_from(answer, at)
        if kind == _UNIX_DIAG_UID:
            return int(value)
        at += max((size + 3) & ~3, 4)
    return -1
