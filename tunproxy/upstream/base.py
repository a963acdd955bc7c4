"""What an upstream promises: one of two ways to get a flow out.

    DialUpstream   names an address; the packet path dials it by itself, inside its own epoll. Costs a flow
                   nothing but the dialling. For whatever needs no conversation.
    OpenUpstream   holds a conversation first: a coroutine that ends in a connected socket. Costs a task per
                   flow. For proxies that want to be greeted.

Either way the client's SYN is answered only when the way is open, so that a client learns the truth: a
refused connection is refused, an unreachable host unreachable, a silent one silent.
"""

import errno as errors
import ipaddress
import socket
from abc import ABC, abstractmethod
from typing import Final

from tunproxy.errors import ConfigError, UpstreamError
from tunproxy.flow.verdict import DIAL, OPEN, FlowInfo, Verdict

# what the client is told when a flow cannot be opened
REFUSED: Final = errors.ECONNREFUSED  # a reset, at once
UNREACHABLE: Final = errors.EHOSTUNREACH  # an ICMP error, at once
SILENT: Final = errors.ETIMEDOUT  # nothing: its own patience decides


class OpenError(UpstreamError):
    """A flow cannot be opened. errno, REFUSED unless given, decides what the client is told."""

    def __init__(self, message: str, errno: int = REFUSED) -> None:
        super().__init__(message)
        self.errno: Final = errno


class Dialer(ABC):
    """Connects sockets that never come back into the device. Upstreams use no others."""

    @abstractmethod
    async def connect(self, host: str, port: int) -> socket.socket:
        """Return a connected, non-blocking TCP socket; host is an address or a name.

        All addresses of a name are tried in turn. Raises OSError when none answers. The caller owns the
        socket, and closes it when something goes wrong later.
        """


class Upstream(ABC):
    """A way out, under the name that rules, plugins and logs know it by."""

    def __init__(self, name: str) -> None:
        self.name: Final = name

    @abstractmethod
    def verdict(self, why: str = "") -> Verdict:
        """Return the verdict that sends a flow this way; why is for people."""


class DialUpstream(Upstream):
    """Reached by dialling one address: the flow's own target, unless address and port say otherwise.

    address is an IP address, "" for the target's, and port 0 is the target's. Raises ConfigError for
    anything else: a name would have to be looked up, and the packet path never waits. The host's own
    loopback is dialled only where address says so, never because a client asks for it.
    """

    def __init__(self, name: str, address: str = "", port: int = 0) -> None:
        super().__init__(name)
        try:
            self._address: Final = str(ipaddress.ip_address(address)) if address else ""
        except ValueError as error:
            raise ConfigError(f"upstream {name!r}: {address!r} is not an IP address") from error
        if not 0 <= port <= 0xFFFF:
            raise ConfigError(f"upstream {name!r}: {port} is not a port (0 to 65535)")
        if port and not address:
            raise ConfigError(f"upstream {name!r}: port {port} needs an address")
        self._port: Final = port

    def verdict(self, why: str = "") -> Verdict:
        return Verdict(DIAL, self.name, self._address, self._port, why=why)


class OpenUpstream(Upstream):
    """Reached by a conversation."""

    def verdict(self, why: str = "") -> Verdict:
        return Verdict(OPEN, self.name, opener=self, why=why)

    @abstractmethod
    async def open(self, info: FlowInfo, dialer: Dialer) -> socket.socket:
        """Return a socket whose other end is, as far as one can tell, info's target.

        Runs as an asyncio task on the loop of the packet path, one per flow, many at a time: it must await
        whatever takes time. It is cancelled when the client gives up or the time is over, and then closes
        what it has opened.

        The socket is a connected, non-blocking stream socket that no asyncio transport uses, and not one
        octet that the target sent has been read from it. It belongs to the flow from then on.

        Raise OpenError, OSError or TimeoutError when it cannot be done: errno decides what the client is
        told. Anything else that is raised or returned is a fault: it is logged with the upstream's
        name and counted, and the client is refused.
        """
