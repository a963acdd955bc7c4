"""A stream to a proxy that leads to one target: datagrams in it, one after the other.

    client ─▶ head ‖ payload … ─ [codec] ─▶ unsent ─▶ socket ─▶ proxy
    client ◀─ payload …      ◀── [codec] ◀─────────── socket ◀─ proxy

What stands in front of each is ``flow.stream_framing``'s. Whatever the socket does not take waits, up to a
bound; beyond it datagrams are lost, as they are on a line that is too slow.
"""

import errno
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.clock import Micros
from tunproxy.datagram.context import Context
from tunproxy.datagram.link import Link
from tunproxy.datagram.path import Path
from tunproxy.flow.codec import WANTS_ANSWERS, Codec, CodecError
from tunproxy.flow.leaving import has_no_way
from tunproxy.flow.ports import READABLE, WRITABLE
from tunproxy.flow.stream_framing import StreamFraming
from tunproxy.wire.reasons import REJECTED, UPSTREAM_FULL

if TYPE_CHECKING:
    from tunproxy.datagram.proxied import ProxiedWay

_ECONNREFUSED: Final = errno.ECONNREFUSED
_ECONNRESET: Final = errno.ECONNRESET
_EPIPE: Final = errno.EPIPE

# our choices
READ_SIZE: Final = 1 << 16
MOST_UNSENT: Final[i64] = 1 << 18  # octets that wait for the socket: more than is kept while a way opens
MOST_ANSWERS: Final[i64] = 1 << 21  # that wait when the codec answers: more than MOST_UNSENT and a batch


@final
@mypyc_attr(native_class=True)
class StreamLink(Link):
    """The link of way; sock is connected, and its opener's. rest has been read from it, and decoded."""

    def __init__(
        self,
        way: "ProxiedWay",
        context: Context,
        sock: socket.socket,
        framing: StreamFraming,
        rest: bytes,
        codec: Codec | None,
    ) -> None:
        self._way: Final = way
        self._context: Final = context
        self._framing: Final = framing
        self._rest: bytes = rest
        self._codec: Final = codec
        self._sock: Final = sock
        self._fd: Final[int] = sock.fileno()
        self._read: Final = sock.recv
        self._send: Final = sock.send
        self._path: Path | None = None
        self._unsent: list[bytes] = []
        self._unsent_len: i64 = 0
        self._is_closed: bool = False

    def begin(self, now: Micros) -> None:
        self._context.poller.watch(self._fd, self, READABLE)
        rest = self._rest
        self._rest = b""
        if len(rest) > 0:
            self._deliver(rest, now)
        codec = self._codec
        if (
            codec is not None and codec.has_more() and not self._is_closed
        ):  # read already, with the last words
            self._decode(codec, b"", False, now)

    def has_no_way(self, is_here: Callable[[str], bool]) -> bool:
        return has_no_way(self._sock, is_here)

    def outer_socket(self) -> socket.socket:
        return self._sock

    def close(self) -> None:
        self._is_closed = True
        self._context.poller.forget(self._fd)

    def add(self, path: Path) -> None:
        self._path = path

    # from the client

    def send_one(self, path: Path, payload: bytes, now: Micros) -> None:
        pieces: list[bytes | memoryview] = [payload]
        self.send_several(path, pieces, i64(len(payload)), now)

    def send_several(self, path: Path, pieces: list[bytes | memoryview], unit: i64, now: Micros) -> None:
        if self._is_closed:
            self._context.counters.drop_several(REJECTED, i64(len(pieces)))
            return
        if self._unsent_len >= MOST_UNSENT:
            self._context.counters.drop_several(UPSTREAM_FULL, i64(len(pieces)))
            return
        words: list[bytes | memoryview] = []
        codec = self._codec
        try:
            head = b""
            head_is_for: i64 = -1
            for piece in pieces:
                size = i64(len(piece))
                if size != head_is_for:
                    head = self._framing.head(size)
                    head_is_for = size
                words.append(head)
                words.append(piece)
            data = b"".join(words)
            if codec is not None:
                data = codec.encode(data) + codec.flush()
        except Exception as error:  # a plugin's codec must not end the packet path
            self._way.on_spoiled(error)
            self._way.close()
            return
        self._push(data)

    def _push(self, data: bytes) -> None:
        """Send data, or have it wait behind what waits already."""
        if len(data) == 0:
            return
        if self._unsent_len > 0:
            self._unsent.append(data)
            self._unsent_len += len(data)
            return
        sent: i64 = 0
        try:
            sent = self._send(data)
        except BlockingIOError:
            pass
        except OSError as error:
            self._on_lost(error.errno or _ECONNRESET)
            return
        if sent < len(data):
            self._unsent.append(data[sent:])
            self._unsent_len = i64(len(data)) - sent
            self._context.poller.watch(self._fd, self, READABLE | WRITABLE)

    def _push_unsent(self) -> None:
        data = b"".join(self._unsent)
        self._unsent = []
        self._unsent_len = 0
        self._context.poller.watch(self._fd, self, READABLE)
        self._push(data)

    # to the client

    def on_ready(self, events: i64, now: Micros) -> None:
        if events & WRITABLE and self._unsent_len > 0 and not self._is_closed:
            self._push_unsent()
        if events & ~WRITABLE and not self._is_closed:
            self._receive(now)

    def _receive(self, now: Micros) -> None:
        """Read what is there, one call's worth."""
        try:
            data = self._read(READ_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self._on_lost(error.errno or _ECONNRESET)
            return
        way = self._way
        way.used_at = now
        codec = self._codec
        if codec is None:
            self._deliver(data, now)
            if len(data) == 0 and not self._is_closed:
                self._on_end()
            return
        self._decode(codec, data, len(data) == 0, now)

    def _decode(self, codec: Codec, data: bytes, is_end: bool, now: Micros) -> None:
        """Deliver what data holds, or at the end, what was kept back."""
        way = self._way
        try:
            clear = codec.decode_end() if is_end else codec.decode(data)
            while codec.has_more():
                self._deliver(clear, now)
                clear = codec.decode(b"")
            answer = codec.answer()
            if len(answer) > 0 and self._unsent_len > MOST_ANSWERS:
                raise CodecError(WANTS_ANSWERS)
            has_ended = codec.has_ended() or is_end
        except Exception as error:
            way.on_spoiled(error)
            way.close()
            return
        if len(answer) > 0:
            self._push(answer)
        self._deliver(clear, now)
        if has_ended and not self._is_closed:
            self._on_end()

    def _deliver(self, data: bytes, now: Micros) -> None:
        """Send the datagrams in data to the client, in as few frames as possible."""
        path = self._path
        if path is None or len(data) == 0:
            return
        joiner = self._context.joiner
        life = path.life
        try:
            for payload in self._framing.take(data):
                size = i64(len(payload))
                joiner.add(path.ends, payload, size)
                if life is not None:
                    life.down += size
        except Exception as error:
            self._way.on_spoiled(error)
            self._way.close()
        joiner.flush()

    # the end

    def _on_end(self) -> None:
        """The proxy has said its last word; the client's next datagram asks for another way."""
        if not self._framing.is_between():
            self._way.on_trouble("it ended the stream within a datagram")
        self._way.close()

    def _on_lost(self, error: int) -> None:
        """The stream is no more; the client's next datagram asks for another one."""
        way = self._way
        way.error = error if error != _EPIPE and error != _ECONNRESET else _ECONNREFUSED
        way.on_trouble(f"the stream for datagrams was lost: {os.strerror(error).lower()}")
        way.close()
