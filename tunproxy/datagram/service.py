"""Datagrams that somebody here answers, such as queries to port 53: to a service, and back to the client.

Nothing is kept of them: no path, no socket, so that they take room from nobody.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.datagram.outlet import MAX_JOINED, Outlet
from tunproxy.flow.ports import DatagramReply, DatagramService
from tunproxy.wire.bits import u16
from tunproxy.wire.ip import UDP, Endpoints, IpView
from tunproxy.wire.udp import HEADER_LEN


@final
@mypyc_attr(native_class=True)
class Desk:
    """Where datagrams are handed to service, until it is closed; port is the service's."""

    def __init__(self, outlet: Outlet, service: DatagramService) -> None:
        self.port: Final[i64] = service.port
        self.outlet: Final = outlet
        self.is_closed: bool = False
        self._service: Final = service

    def takes(self, target: bytes, port: i64) -> bool:
        """Tell whether the service answers datagrams to target and port."""
        return port == self.port and not self.is_closed and self._service.takes(target, port)

    def hand_over(
        self, frame: bytes, view: IpView, client: bytes, target: bytes, port: i64, unit: i64
    ) -> None:
        """Have the service answer the datagram in frame, or each of those of unit octets."""
        client_port = u16(frame, view.payload_off)
        reply = Reply(self, Endpoints(target, client, port, client_port, UDP))
        at = view.payload_off + HEADER_LEN
        end = view.end
        if unit <= 0 or unit >= end - at:
            self._service.on_datagram(client, client_port, target, port, frame[at:end], reply)
            return
        while at < end:
            piece = frame[at : min(at + unit, end)]
            self._service.on_datagram(client, client_port, target, port, piece, reply)
            at += unit


@final
@mypyc_attr(native_class=True)
class Reply(DatagramReply):
    """Back to the client, over desk; ends are those of the frames that answer."""

    def __init__(self, desk: Desk, ends: Endpoints) -> None:
        self._desk: Final = desk
        self._ends: Final = ends

    def send(self, payload: bytes) -> None:
        if not self._desk.is_closed and i64(len(payload)) <= MAX_JOINED:
            self._desk.outlet.send(self._ends, payload)
