"""UDP to one target, inside a client's stream as capsules (RFC 9298).

When the stream or the target's socket is of no use any more, both are closed (§3.1). Packets are not
fragmented: what is too large for the way is dropped, in silence.
"""

import errno
import socket
from typing import TYPE_CHECKING, Final

from tunproxy.codecs.capsules import CapsuleReader, emit_datagram
from tunproxy.errors import RemoteProtocolError
from tunproxy.flow.codec import WANTS_ANSWERS, CodecError
from tunproxy.relay.dialing import End
from tunproxy.relay.failures import failure_of
from tunproxy.relay.limits import Account
from tunproxy.relay.metrics import DATAGRAMS_DOWN, DATAGRAMS_DROPPED, DATAGRAMS_UP
from tunproxy.relay.outlet import AT_ONCE, MAX_DATAGRAM
from tunproxy.relay.stream import READ_SIZE, Stream, Turns
from tunproxy.relay.stream_bound import StreamBound

if TYPE_CHECKING:
    from tunproxy.relay.service import Service

# our choices
MOST_UNSENT: Final = 1 << 23  # octets that wait when a codec answers: twice what AT_ONCE datagrams are
PIECE: Final = 4096  # octets of a stream that are looked at before others may have their turn

# What a socket says that is of no use any more (RFC 9298 §3.1): its target, or the host, refuses.
_UNUSABLE: Final = (
    errno.ECONNREFUSED, errno.ENOPROTOOPT, errno.EACCES, errno.EPERM, errno.EHOSTUNREACH, errno.ENETUNREACH,
)  # fmt: skip
_MTU_DISCOVER: Final = {  # level, option, and the value that sets DF (linux/in.h, linux/in6.h)
    socket.AF_INET: (socket.IPPROTO_IP, 10, 2),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 23, 2),
}


class UdpTunnel(StreamBound):
    """One tunnel. Datagrams that the client's stream has no room for are dropped, as UDP's are."""

    def __init__(self, stream: Stream, end: End, port: int, account: Account, service: "Service") -> None:
        """Raises RequestFailed where there is no socket to be had."""
        super().__init__(stream, service)
        self._account: Final = account
        self._unsent: bytes = b""
        self.idle_limit: Final = service.config.limits.udp_idle
        try:
            self._sock: Final = socket.socket(end[0], socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._sock.setsockopt(*_MTU_DISCOVER[end[0]])
            self._sock.connect((end[1], port))
        except OSError as error:
            raise failure_of(error) from error

    def close(self) -> None:
        """Close the socket to the target; the stream is its owner's, and is told that nothing follows."""
        if not self._unsent:
            self._stream.finish()
        for sock in (self._sock, self._stream.sock):
            self._loop.remove_reader(sock.fileno())
            self._loop.remove_writer(sock.fileno())
        self._sock.close()

    async def _attend(self) -> None:
        self._loop.add_reader(self._sock.fileno(), self._on_datagrams)
        reader, turns = CapsuleReader(), Turns()
        stream = self._stream
        data, stream.rest = stream.rest, b""
        try:
            while True:
                for at in range(0, len(data), PIECE):
                    for payload in reader.take(data[at : at + PIECE]):
                        self._send(payload)
                    await turns.share()
                if stream.codec is not None and stream.codec.has_ended():
                    return
                data = await self._loop.sock_recv(stream.sock, READ_SIZE)
                if not data:
                    return
                self.active_at = self._loop.time()
                if stream.codec is not None:
                    data = stream.codec.decode(data)
                    self._say(stream.codec.answer())
        except RemoteProtocolError as error:
            self._service.complaints.take(stream.peer, str(error))

    def _send(self, payload: bytes) -> None:
        if not self._account.admits(len(payload)):
            self._service.tally.add(DATAGRAMS_DROPPED)
            return
        try:
            self._sock.send(payload)
        except OSError as error:  # no room, too large, or an ICMP error about an earlier one
            self._service.tally.add(DATAGRAMS_DROPPED)
            self._on_error(error)
            return
        self._service.tally.add(DATAGRAMS_UP)
        self._account.on_up(len(payload))

    def _on_datagrams(self) -> None:
        self.active_at = self._loop.time()
        found = []
        for _ in range(AT_ONCE):
            try:
                payload = self._sock.recv(MAX_DATAGRAM)
            except BlockingIOError:
                break
            except OSError as error:
                self._on_error(error)
                continue
            if self._unsent or not self._account.admits(len(payload)):
                self._service.tally.add(DATAGRAMS_DROPPED)
                continue
            self._service.tally.add(DATAGRAMS_DOWN)
            self._account.on_down(len(payload))
            found.append(emit_datagram(payload))
        if found:
            words = b"".join(found)
            codec = self._stream.codec
            self._say(words if codec is None else codec.encode(words) + codec.flush())

    def _on_error(self, error: OSError) -> None:
        """End the tunnel where its socket is of no use any more."""
        if error.errno in _UNUSABLE:
            why = failure_of(error)
            self._service.note("%s: connect-udp is over: %s", self._stream.peer, why)
            self.cut(str(why))

    def _say(self, words: bytes) -> None:
        """Send words to the client; what it does not take is kept, and datagrams are dropped meanwhile.

        Raises CodecError where that grows beyond all bounds.
        """
        if not words:
            return
        if self._unsent:  # so that these are its codec's answer: datagrams would have been dropped
            if len(self._unsent) > MOST_UNSENT:
                raise CodecError(f"the stream is spoiled: {WANTS_ANSWERS}")
            self._unsent += words
            return
        sent = 0
        try:
            sent = self._stream.sock.send(words)
        except BlockingIOError:
            pass
        except OSError:
            self.cut("reset by the client")
            return
        if sent < len(words):
            self._unsent = words[sent:]
            self._loop.add_writer(self._stream.sock.fileno(), self._on_writable)

    def _on_writable(self) -> None:
        try:
            sent = self._stream.sock.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self.cut("reset by the client")
            sent = len(self._unsent)
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._loop.remove_writer(self._stream.sock.fileno())
