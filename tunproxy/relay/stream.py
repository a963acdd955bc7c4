"""A client's connection until its flow begins: read and written by a coroutine, inside TLS or not.

A coroutine that finds something to read each time goes on without waiting for anything, and nobody else has a
turn. So whoever reads without a bound uses ``read``, or a ``Turns``.
"""

import asyncio
import socket
import ssl
from typing import Final

from tunproxy.flow.codec import Codec
from tunproxy.relay.failures import HungUp
from tunproxy.relay.tls_server import ServerTls

# our choice: a request, and what a hasty client sends behind it
READ_SIZE: Final = 1 << 16
TURN: Final = 0.002  # seconds that one client's octets may take before others have their turn


async def read(sock: socket.socket) -> bytes:
    """Return what sock has, b"" at its end, when others have had their turn. Raises OSError."""
    await asyncio.sleep(0)
    return await asyncio.get_running_loop().sock_recv(sock, READ_SIZE)


class Turns:
    """Lets others have their turn now and then, whoever calls ``share`` between small pieces of work."""

    def __init__(self) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._until = self._loop.time() + TURN

    async def share(self) -> None:
        """Wait for the others where this has taken long enough."""
        if self._loop.time() >= self._until:
            await asyncio.sleep(0)
            self._until = self._loop.time() + TURN


class Stream:
    """One client's connection. What has been read and not been understood yet is in ``rest``.

    The socket is non-blocking, and whoever made the stream closes it.
    """

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.sock: Final = sock
        self.peer: Final = peer  # for people
        self.codec: Codec | None = None
        self.rest = b""
        self._loop: Final = asyncio.get_running_loop()

    @property
    def is_encrypted(self) -> bool:
        return self.codec is not None

    async def more(self) -> None:
        """Read until there is more in rest. Raises HungUp where the client says no more, OSError."""
        while True:
            data = await self._loop.sock_recv(self.sock, READ_SIZE)
            if not data:
                raise HungUp("the client hung up in the middle of its request")
            if self.codec is None:
                self.rest += data
                return
            clear = self.codec.decode(data)
            words = self.codec.answer()
            if words:
                await self._loop.sock_sendall(self.sock, words)
            if clear:
                self.rest += clear
                return
            if self.codec.has_ended():
                raise HungUp("the client ended TLS in the middle of its request")
            await asyncio.sleep(0)  # records with nothing in them may follow each other without end

    async def need(self, count: int) -> None:
        """Read until rest has at least count octets."""
        while len(self.rest) < count:
            await self.more()

    async def say(self, words: bytes) -> None:
        """Send words to the client, with patience for what it does not take at once."""
        unsaid = self.say_at_once(words)
        if unsaid:
            await self.say_rest(unsaid)

    def say_at_once(self, words: bytes) -> bytes:
        """Begin to send words; return what is left, for ``say_rest``. Raises OSError."""
        if self.codec is not None:
            words = self.codec.encode(words) + self.codec.flush()
        try:
            return words[self.sock.send(words) :]
        except (BlockingIOError, InterruptedError):
            return words

    async def say_rest(self, unsaid: bytes) -> None:
        """Send what is left, which the codec has been through."""
        await self._loop.sock_sendall(self.sock, unsaid)

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Shake hands as the server; from then on everything is inside. Raises ssl.SSLError, HungUp."""
        codec = ServerTls(context)
        data, self.rest = self.rest, b""
        while True:
            try:
                words, is_over = codec.advance_handshake(data)
            except ssl.SSLError:
                words = codec.last_words()
                if words:
                    await self._loop.sock_sendall(self.sock, words)
                raise
            if words:
                await self._loop.sock_sendall(self.sock, words)
            if is_over:
                break
            data = await self._loop.sock_recv(self.sock, READ_SIZE)
            if not data:
                raise HungUp("the client hung up in the middle of the TLS handshake")
        self.rest = codec.decode(b"")  # what came together with the end of the handshake
        self.codec = codec

    def finish(self) -> None:
        """Say that nothing follows."""
        try:
            if self.codec is not None:
                self.sock.send(self.codec.end())
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the client has gone: it need not be told
