"""UDP ASSOCIATE of SOCKS 5 (RFC 1928 §7): datagrams beside the connection, for as long as that is open."""

import socket
from typing import TYPE_CHECKING, Final

from tunproxy.relay.failures import failure_of
from tunproxy.relay.limits import Account
from tunproxy.relay.metrics import DATAGRAMS_DROPPED
from tunproxy.relay.outlet import AT_ONCE, MAX_DATAGRAM, Outlet
from tunproxy.relay.socks import IPV4, IPV6, NAME, host_of, written_address
from tunproxy.relay.stream import Stream, read
from tunproxy.relay.stream_bound import StreamBound

if TYPE_CHECKING:
    from tunproxy.relay.service import Service


class Association(StreamBound):
    """One client's port. It is known by its address, and from its first datagram on by its port as well."""

    def __init__(self, stream: Stream, account: Account, service: "Service") -> None:
        """Raises RequestFailed where there is no socket to be had."""
        super().__init__(stream, service)
        self._client: tuple[object, ...] | None = None
        self._host: Final[str] = stream.sock.getpeername()[0]
        own = stream.sock.getsockname()[0]
        try:
            self._sock: Final = socket.socket(stream.sock.family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._sock.bind((own, 0))
        except OSError as error:
            raise failure_of(error) from error
        self._outlet: Final = Outlet(service.dialer, account, service.tally, self._on_reply)

    @property
    def bound(self) -> tuple[str, int]:
        """Where the client is to send datagrams to."""
        host, port = self._sock.getsockname()[:2]
        return str(host).removeprefix("::ffff:"), port

    def close(self) -> None:
        """Close the sockets; the stream is its owner's."""
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()
        self._outlet.close()

    async def _attend(self) -> None:
        self._loop.add_reader(self._sock.fileno(), self._on_datagrams)
        while await read(self._stream.sock):
            pass

    def _on_datagrams(self) -> None:
        self.active_at = self._loop.time()
        for _ in range(AT_ONCE):
            try:
                datagram, sender = self._sock.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:
                continue
            parsed = parse_datagram(datagram)
            if sender[0] != self._host or self._client not in (None, sender) or parsed is None:
                self._service.tally.add(DATAGRAMS_DROPPED)
                continue
            self._client = sender
            host, port, begin = parsed
            self._outlet.send(host, port, datagram[begin:])

    def _on_reply(self, host: str, port: int, payload: bytes) -> None:
        self.active_at = self._loop.time()
        if self._client is None:
            return
        try:
            self._sock.sendto(b"\x00\x00\x00" + written_address(host, port) + payload, self._client)
        except OSError:
            self._service.tally.add(DATAGRAMS_DROPPED)


def parse_datagram(datagram: bytes) -> tuple[str, int, int] | None:
    """Return host and port that a datagram is for, and where its payload begins; None to drop it.

    Fragments are dropped, as RFC 1928 §7 allows.
    """
    if len(datagram) < 5 or datagram[2] != 0:
        return None
    kind = datagram[3]
    lengths = {IPV4: 4, IPV6: 16, NAME: 1 + datagram[4]}
    if kind not in lengths:
        return None
    end = 4 + lengths[kind]
    if end + 2 > len(datagram):
        return None
    return host_of(kind, datagram[4:end]), int.from_bytes(datagram[end : end + 2], "big"), end + 2
