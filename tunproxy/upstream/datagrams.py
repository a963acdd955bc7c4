"""Upstreams that carry datagrams: a coroutine opens the way, and the packet path uses it.

DatagramWay      one connected UDP socket. What goes through it stands behind a header that names the target
                 (``flow.framing``), so that one way serves many targets of one client's port; both may be
                 encrypted (``flow.seal``)
DatagramStream   a stream for one client's port and one target, with datagrams in it
                 (``flow.stream_framing``)
"""

import asyncio
import socket
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tunproxy.flow.codec import Codec
from tunproxy.flow.framing import Framing
from tunproxy.flow.seal import Seal
from tunproxy.flow.stream_framing import StreamFraming
from tunproxy.flow.verdict import FlowInfo

if TYPE_CHECKING:
    from tunproxy.upstream.base import Dialer

# our choice
READ_SIZE: Final = 4096


@dataclass(frozen=True)
class DatagramWay:
    """An open way for datagrams. Whoever has it closes it.

    sock is a connected, non-blocking UDP socket, with GRO where the kernel has it: what is read may be
    several datagrams of one size, each with a header of its own. control, where there is one, is a
    non-blocking stream: the way is over when it ends, and nothing that it says matters. With a seal, which is
    this way's alone, framing is about datagrams in the clear.
    """

    sock: socket.socket
    framing: Framing
    control: socket.socket | None = None
    seal: Seal | None = None

    def close(self) -> None:
        """Close the sockets."""
        self.sock.close()
        if self.control is not None:
            self.control.close()

    async def ended(self) -> None:
        """Wait until the control stream ends; without one for ever."""
        loop = asyncio.get_running_loop()
        if self.control is None:
            await loop.create_future()
            return
        try:
            while await loop.sock_recv(self.control, READ_SIZE):
                await asyncio.sleep(0)  # a proxy that never stops talking would be the only one to be heard
        except OSError:
            pass


@dataclass(frozen=True)
class DatagramStream:
    """An open way for datagrams to one target, in a stream. Whoever has it closes it.

    sock is a connected, non-blocking stream socket. rest are octets, in the clear, that have been read from
    it already; with a codec, everything else on it goes through that.
    """

    sock: socket.socket
    framing: StreamFraming
    rest: bytes = b""
    codec: Codec | None = None

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()

    async def ended(self) -> None:
        """Wait for ever: the packet path reads the stream, and sees its end."""
        await asyncio.get_running_loop().create_future()


class DatagramUpstream(ABC):  # beside OpenUpstream, which most of them are as well
    """An upstream that carries UDP. A verdict of kind OPEN or CONVERSE names it as its opener.

    is_per_target says that its ways are streams, each to one target.
    """

    is_per_target: bool = False

    @abstractmethod
    async def open_datagrams(self, info: FlowInfo, dialer: "Dialer") -> DatagramWay | DatagramStream:
        """Return a way for the datagrams of one client's port to all targets of one family, or to one.

        info is the flow that began it. Another family takes another way: not every proxy has one socket for
        both (sing-box has not). Runs as ``OpenUpstream.open`` does, is cancelled as it is, and
        raises what it raises.
        """
