"""Hears from the kernel that the network has changed: links, addresses, routes, rules, or the firewall.

What exactly has changed is not looked at. Messages come in crowds, may be lost where they are too many
(netlink(7), ENOBUFS), and say nothing of what was before; whoever hears that something has changed looks at
how things are now.
"""

import errno
import socket
from collections.abc import Sequence
from typing import Final

from tunproxy.errors import SystemChangeError

# linux/rtnetlink.h: groups of rtnetlink, by number
LINK: Final = 1
IPV4_ADDRESS: Final = 5
IPV4_ROUTE: Final = 7
IPV4_RULE: Final = 8
IPV6_ADDRESS: Final = 9
IPV6_ROUTE: Final = 11
IPV6_RULE: Final = 19
GROUPS: Final = (LINK, IPV4_ADDRESS, IPV4_ROUTE, IPV4_RULE, IPV6_ADDRESS, IPV6_ROUTE, IPV6_RULE)

NETLINK_NETFILTER: Final = 12  # linux/netlink.h
NFTABLES: Final = 7  # linux/netfilter/nfnetlink.h: NFNLGRP_NFTABLES

SOL_NETLINK: Final = 270  # linux/socket.h
NETLINK_ADD_MEMBERSHIP: Final = 1  # linux/netlink.h

_MAX_MESSAGE: Final = 65_536
_MAX_READS: Final = 256  # our choice: then somebody else has a turn


class NetworkMonitor:
    """A netlink socket of the network namespace of the thread that makes it. Close it."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE, groups: Sequence[int] = GROUPS) -> None:
        """Hear of groups of a netlink protocol. Raises SystemChangeError."""
        try:
            sock = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
                protocol,
            )
        except OSError as error:
            raise _failed(error) from error
        try:
            sock.bind((0, 0))
            for group in groups:
                _join(sock, group)
        except OSError as error:
            sock.close()
            raise _failed(error) from error
        self._socket: Final = sock

    def fileno(self) -> int:
        """Return the descriptor, which is readable when something has changed."""
        return self._socket.fileno()

    def take(self) -> bool:
        """Take what has been said; return whether anything has."""
        something = False
        for _ in range(_MAX_READS):
            try:
                message = self._socket.recv(_MAX_MESSAGE)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # which says that messages were lost
                    break
            else:
                if not message:
                    break
            something = True
        return something

    def close(self) -> None:
        self._socket.close()


def _join(sock: socket.socket, group: int) -> None:
    try:
        sock.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):  # a kernel without IPv6 has not all of them
            raise


def _failed(error: OSError) -> SystemChangeError:
    why = (error.strerror or str(error)).lower()
    return SystemChangeError(f"cannot hear of changes of the network: {why}")
