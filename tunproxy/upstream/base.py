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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tunproxy.errors import ConfigError, UpstreamError
from tunproxy.flow.codec import Codec
from tunproxy.flow.ports import Abilities
from tunproxy.flow.verdict import DIAL, OPEN, FlowInfo, Verdict
from tunproxy.upstream.datagrams import DatagramUpstream
from tunproxy.upstream.knowledge import ICMP, UDP, Knowledge

# what the client is told when a flow cannot be opened
REFUSED: Final = errors.ECONNREFUSED  # a reset, at once
UNREACHABLE: Final = errors.EHOSTUNREACH  # an ICMP error, at once
SILENT: Final = errors.ETIMEDOUT  # nothing: its own patience decides


class OpenError(UpstreamError):
    """A flow cannot be opened, and that is the upstream's doing rather than the target's.

    errno, REFUSED unless given, decides what the client is told. lacks names the ability that the upstream
    has shown not to have ("udp", "ipv6", "names"; see ``knowledge``). who is the name of the upstream that
    failed, where that is another than the one that was asked.
    """

    def __init__(self, message: str, errno: int = REFUSED, *, lacks: str = "", who: str = "") -> None:
        super().__init__(message)
        self.errno: Final = errno
        self.lacks: Final = lacks
        self.who: Final = who


class Unreached(OpenError):
    """The upstream's own server cannot be reached: no flow can go that way now, whatever its target."""


@dataclass(frozen=True)
class Opened:
    """An open way: the socket, octets of the target that have been read from it, and what stands between.

    rest is in the clear. With a codec, everything on the socket goes through it.
    """

    sock: socket.socket
    rest: bytes = b""
    codec: Codec | None = None


class Dialer(ABC):
    """Connects sockets that never come back into the device. Upstreams use no others."""

    @abstractmethod
    async def connect(self, host: str, port: int) -> socket.socket:
        """Return a connected, non-blocking TCP socket; host is an address or a name.

        All addresses of a name are tried in turn. Raises OSError when none answers. The caller owns the
        socket, and closes it when something goes wrong later.
        """

    @abstractmethod
    async def connect_datagrams(self, host: str, port: int) -> socket.socket:
        """Return a connected, non-blocking UDP socket, which nobody else's datagrams reach.

        With GRO, where the kernel has it: a read may return several datagrams in a row. Raises OSError.
        The caller owns the socket.
        """


class Upstream(ABC):
    """A way out, under the name that rules, plugins and logs know it by.

    cautions are what people are told of its configuration that is allowed and may not be what they want.
    """

    cautions: Sequence[str] = ()

    def __init_subclass__(cls) -> None:
        """Have a class asked about each flow that says itself what becomes of one, and no more than that.

        What the class that it is made from says of every flow would be taken for its answer otherwise.
        """
        super().__init_subclass__()
        own = vars(cls)
        if "verdict_for" in own and "constant" not in own:
            cls.constant = Upstream.constant  # type: ignore[method-assign]
            if "tcp_constant" not in own:
                cls.tcp_constant = Upstream.tcp_constant  # type: ignore[method-assign]

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.knowledge: Final = Knowledge()

    @abstractmethod
    def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
        """Return the verdict that sends this flow this way; why is for people. Must not block or raise."""

    def constant(self, why: str = "") -> Verdict | None:
        """Return what verdict_for says of every flow, so that nobody need ask; None where it depends."""
        return None

    def tcp_constant(self, why: str = "") -> Verdict | None:
        """Return what verdict_for says of every TCP flow; None where it depends."""
        return self.constant(why)

    def carries(self, info: FlowInfo) -> bool:
        """Tell whether such a flow can go this way, as far as is known; what is not known is tried."""
        knowledge = self.knowledge
        return knowledge.is_blank or knowledge.carries(info)

    def tcp_abilities(self) -> Abilities | None:
        """Return what says for every TCP flow that carries need not be asked; None where it has to be."""
        return self.knowledge if type(self).carries is Upstream.carries else None


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

    def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
        return self.constant(why) or DialUpstream.constant(self, why)

    def constant(self, why: str = "") -> Verdict:
        return Verdict(DIAL, self.name, self._address, self._port, why=why)


class OpenUpstream(Upstream):
    """Reached by a conversation. It carries TCP only, unless it is a ``DatagramUpstream`` as well."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.knowledge.declare(ICMP, False)
        if not isinstance(self, DatagramUpstream):
            self.knowledge.declare(UDP, False)

    def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
        return self.constant(why) or OpenUpstream.constant(self, why)

    def constant(self, why: str = "") -> Verdict:
        return Verdict(OPEN, self.name, opener=self, why=why)

    @abstractmethod
    async def open(self, info: FlowInfo, dialer: Dialer) -> socket.socket | Opened:
        """Return a socket whose other end is, as far as one can tell, info's target.

        Runs as an asyncio task on the loop of the packet path, one per flow, many at a time: it must await
        whatever takes time. It is cancelled when the client gives up or the time is over, and then closes
        what it has opened.

        The socket is a connected, non-blocking stream socket that no asyncio transport uses. Octets of the
        target that have been read from it already go into ``Opened``. It belongs to the flow from then on.

        Raise OpenError, OSError or TimeoutError when it cannot be done: errno decides what the client is
        told. Anything else that is raised or returned is a fault: it is logged with the upstream's
        name and counted, and the client is refused.
        """
