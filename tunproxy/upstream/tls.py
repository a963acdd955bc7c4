"""TLS to an upstream, through OpenSSL's engine without I/O: a handshake in a coroutine, then a codec."""

import asyncio
import socket
import ssl
from typing import Final

from tunproxy.flow.codec import Codec
from tunproxy.upstream.base import OpenError

# our choice: two records of the largest size
READ_SIZE: Final = 1 << 15


class TlsCodec(Codec):
    """One TLS session as a codec. A stream that ends without close_notify raises: it may have been cut."""

    def __init__(self, context: ssl.SSLContext, server_name: str) -> None:
        self._arrived: Final = ssl.MemoryBIO()
        self._leaving: Final = ssl.MemoryBIO()
        self._session: Final = context.wrap_bio(self._arrived, self._leaving, server_hostname=server_name)
        self._has_ended = False

    def advance_handshake(self, data: bytes) -> tuple[bytes, bool]:
        """Take what arrived; return what to send, and whether the handshake is over. Raises ssl.SSLError."""
        self._arrived.write(data)
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            return self._leaving.read(), False
        return self._leaving.read(), True

    def last_words(self) -> bytes:
        """Return what the session still wants to say after it has failed: the alert."""
        return self._leaving.read()

    def encode(self, data: bytes | memoryview) -> bytes:
        left = memoryview(data)
        while left:
            left = left[self._session.write(left) :]
        return self._leaving.read()

    def end(self) -> bytes:
        try:
            self._session.unwrap()
        except ssl.SSLError:
            pass  # the other end has not said the same, and need not (RFC 8446 §6.1)
        return self._leaving.read()

    def decode(self, data: bytes) -> bytes:
        self._arrived.write(data)
        found = []
        try:
            while True:
                piece = self._session.read(READ_SIZE)
                if not piece:
                    self._has_ended = True
                    break
                found.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._has_ended = True
        return found[0] if len(found) == 1 else b"".join(found)

    def answer(self) -> bytes:
        return self._leaving.read()

    def has_ended(self) -> bool:
        return self._has_ended

    def decode_end(self) -> bytes:
        if not self._has_ended:
            raise ConnectionResetError("the stream ended without TLS's own end: it may have been cut off")
        return b""


class Layered(Codec):
    """One codec inside another: upper is the target's, lower what the socket carries."""

    def __init__(self, upper: Codec, lower: Codec) -> None:
        self._upper: Final = upper
        self._lower: Final = lower

    def encode(self, data: bytes | memoryview) -> bytes:
        return self._lower.encode(self._upper.encode(data))

    def flush(self) -> bytes:
        return self._sent(self._upper.flush()) + self._lower.flush()

    def end(self) -> bytes:
        return self._sent(self._upper.end()) + self._lower.flush() + self._lower.end()

    def decode(self, data: bytes) -> bytes:
        clear = self._lower.decode(data)
        return self._upper.decode(clear) if clear else b""

    def answer(self) -> bytes:
        above = self._upper.answer()
        words = self._lower.answer() + self._sent(above)
        return words + self._lower.flush() if above else words

    def has_ended(self) -> bool:
        return self._upper.has_ended() or self._lower.has_ended()

    def decode_end(self) -> bytes:
        if self._upper.has_ended():  # whatever the lower one thinks of it: the stream is complete
            return b""
        rest = self._lower.decode_end()
        return (self._upper.decode(rest) if rest else b"") + self._upper.decode_end()

    def _sent(self, words: bytes) -> bytes:
        return self._lower.encode(words) if words else b""


async def start_tls(
    sock: socket.socket,
    context: ssl.SSLContext,
    server_name: str,
    *,
    under: Codec | None = None,
    early: bytes = b"",
) -> Codec:
    """Shake hands over sock, which is connected and non-blocking; return the session.

    Where there is a codec under it already, the handshake goes through that, and what is returned is both;
    early is what has been read of it. Raises ssl.SSLError where the other end cannot be trusted or speaks
    something else, OpenError where it hangs up.
    """
    loop = asyncio.get_running_loop()
    codec = TlsCodec(context, server_name)
    words, is_over = codec.advance_handshake(b"")
    data = early
    while True:
        if words:
            await loop.sock_sendall(sock, words if under is None else under.encode(words) + under.flush())
        if is_over:
            return codec if under is None else Layered(codec, under)
        if not data:
            data = await loop.sock_recv(sock, READ_SIZE)
            if not data:
                raise OpenError("the proxy hung up in the middle of the TLS handshake")
            if under is not None:
                data = under.decode(data)
        try:
            words, is_over = codec.advance_handshake(data)
        except ssl.SSLError:
            alert = codec.last_words()
            if alert:
                await loop.sock_sendall(sock, alert if under is None else under.encode(alert))
            raise
        data = b""
