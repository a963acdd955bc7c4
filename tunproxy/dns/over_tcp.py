"""DNS over TCP (RFC 7766) and over TLS (RFC 7858): one connection, many queries on it at a time."""

import asyncio
import contextlib
import secrets
import ssl
from typing import Final

from tunproxy.dns.answers import GarbageError
from tunproxy.dns.message import is_answer_to
from tunproxy.dns.transport import Endpoint, Transport
from tunproxy.upstream.base import Dialer

# our choices
IDLE_LIMIT: Final = 10.0  # seconds that a connection stays without a query (RFC 7766 §6.2.3: a few seconds)
MAX_PIPELINED: Final = 1000  # queries on one connection; more get a second one
PATIENCE: Final = 1.5  # seconds of silence after which a query that is given up takes the connection with it


class TcpTransport(Transport):
    """Keeps one connection to the resolver, made by dialer when it is needed; with context it is TLS.

    server_name is who the resolver has to prove to be.
    """

    def __init__(
        self,
        dialer: Dialer,
        endpoint: Endpoint,
        context: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> None:
        self.is_private = context is not None
        self._dialer: Final = dialer
        self._endpoint: Final = endpoint
        self._context: Final = context
        self._server_name: Final = server_name or endpoint.host
        self._pipe: _Pipe | None = None
        self._full: list[_Pipe] = []  # those before it, with queries that wait
        self._opening: Final = asyncio.Lock()

    async def exchange(self, query: bytes) -> bytes:
        pipe, is_new = await self._open()
        try:
            return await pipe.exchange(query)
        except (OSError, EOFError):
            if is_new:
                raise
        # The resolver has closed a connection that was idle, which it may do any time.
        pipe, _ = await self._open()
        return await pipe.exchange(query)

    async def close(self) -> None:
        for pipe in (self._pipe, *self._full):
            if pipe is not None:
                pipe.close()
        self._pipe = None
        self._full.clear()

    async def _open(self) -> tuple["_Pipe", bool]:
        """Return the connection, and whether it is new."""
        async with self._opening:
            pipe = self._pipe
            if pipe is not None and pipe.takes_more:
                return pipe, False
            self._full = [each for each in (*self._full, pipe) if each is not None and not each.is_closed]
            self._pipe = None
            last: OSError | None = None
            for address in await self._endpoint.addresses():
                try:
                    self._pipe = pipe = await self._connect(address)
                    return pipe, True
                except OSError as error:
                    last = error
            raise last or OSError(f"no address for the resolver {self._endpoint.host}")

    async def _connect(self, address: str) -> "_Pipe":
        sock = await self._dialer.connect(address, self._endpoint.port)
        try:
            if self._context is None:
                reader, writer = await asyncio.open_connection(sock=sock)
            else:
                reader, writer = await asyncio.open_connection(
                    sock=sock, ssl=self._context, server_hostname=self._server_name
                )
        except BaseException:
            sock.close()
            raise
        return _Pipe(reader, writer)


class _Pipe:
    """One connection: queries go out as they come, responses are told apart by their ids."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader: Final = reader
        self._writer: Final = writer
        self._waiting: Final[dict[int, tuple[bytes, asyncio.Future[bytes]]]] = {}
        self.is_closed = False
        self._heard = 0  # responses so far
        self._used_at = 0.0
        self._task: Final = asyncio.get_running_loop().create_task(self._read(), name="dns responses")

    @property
    def takes_more(self) -> bool:
        return not self.is_closed and len(self._waiting) < MAX_PIPELINED

    async def exchange(self, query: bytes) -> bytes:
        if self.is_closed:
            raise ConnectionResetError("the resolver has closed the connection")
        loop = asyncio.get_running_loop()
        number = int.from_bytes(query[:2], "big")
        while number in self._waiting:
            number = secrets.randbelow(0x10000)
        sent = number.to_bytes(2, "big") + query[2:]
        answer: asyncio.Future[bytes] = loop.create_future()
        self._waiting[number] = sent, answer
        self._used_at = began_at = loop.time()
        heard = self._heard
        try:
            self._writer.write(len(sent).to_bytes(2, "big") + sent)
            await self._writer.drain()
            return query[:2] + (await answer)[2:]
        except asyncio.CancelledError:
            if heard == self._heard and loop.time() - began_at >= PATIENCE:
                self.close()  # nobody is there any more
            raise
        except OSError:
            self.close()
            raise
        finally:
            # The id of a query that was given up stays taken: a late response must not answer another one.
            if answer.done() and not answer.cancelled():
                self._waiting.pop(number, None)

    async def _read(self) -> None:
        """Hand out responses until the connection ends, or has been idle for too long."""
        loop = asyncio.get_running_loop()
        why: BaseException = ConnectionResetError("the resolver has closed the connection")
        try:
            while True:
                try:
                    async with asyncio.timeout(IDLE_LIMIT):
                        head = await self._reader.readexactly(2)
                except TimeoutError:
                    if loop.time() - self._used_at < IDLE_LIMIT:
                        continue
                    return
                async with asyncio.timeout(IDLE_LIMIT):
                    wire = await self._reader.readexactly(int.from_bytes(head, "big"))
                number = int.from_bytes(wire[:2], "big")
                sent, answer = self._waiting.get(number, (b"", None))
                if answer is None or not is_answer_to(sent, wire):
                    why = GarbageError(f"it sent {len(wire)} octets that are no response to any query")
                    return
                self._heard += 1
                if answer.done():  # its asker has given up
                    del self._waiting[number]
                else:
                    answer.set_result(wire)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                why = GarbageError("it ended the connection in the middle of a response")
        except OSError as error:  # a TimeoutError is one
            why = error
        finally:
            self._end(why)

    def _end(self, why: BaseException) -> None:
        self.is_closed = True
        for _, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(why)
                answer.exception()  # its asker may have gone, and nobody needs to be told
        self._waiting.clear()
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            self._writer.transport.abort()

    def close(self) -> None:
        self._end(ConnectionResetError("the connection to the resolver has been closed"))
        self._task.cancel()
