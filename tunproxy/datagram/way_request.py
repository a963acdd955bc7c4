"""What an opener holds of a way while it is opened and open: which link it becomes depends on the answer."""

import socket
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import mypyc_attr

from tunproxy import clock
from tunproxy.clock import Micros
from tunproxy.datagram.link import Link
from tunproxy.datagram.sealed_link import SealedLink
from tunproxy.datagram.socket_link import SocketLink
from tunproxy.datagram.stream_link import StreamLink
from tunproxy.flow.codec import Codec
from tunproxy.flow.framing import Framing
from tunproxy.flow.ports import DatagramRequest
from tunproxy.flow.seal import Seal
from tunproxy.flow.stream_framing import StreamFraming

if TYPE_CHECKING:
    from tunproxy.datagram.proxied import ProxiedWay


@final
@mypyc_attr(native_class=True)
class WayRequest(DatagramRequest):
    """What an opener holds of a way."""

    def __init__(self, way: "ProxiedWay") -> None:
        self._way: Final = way

    def opened(self, sock: socket.socket, framing: Framing, seal: Seal | None = None) -> None:
        way = self._way
        link: Link
        if seal is None:
            link = SocketLink(way, way.context, sock, framing)
        else:
            link = SealedLink(way, way.context, sock, framing, seal)
        way.on_opened(link, clock.now())

    def opened_stream(
        self, sock: socket.socket, framing: StreamFraming, rest: bytes = b"", codec: Codec | None = None
    ) -> None:
        way = self._way
        way.on_opened(StreamLink(way, way.context, sock, framing, rest, codec), clock.now())

    def failed(self, error: int) -> None:
        self._way.on_failed(error, clock.now())

    def ended(self) -> None:
        self._way.on_ended()

    def tried(self, where: str, took: Micros, failure: str) -> None:
        self._way.note_tried(where, took, failure)
