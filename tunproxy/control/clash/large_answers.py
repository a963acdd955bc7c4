"""Answers that are large, to who may read them slowly, or not at all.

What does not fit into a socket stays with us until it is read. So a large answer goes out in pieces, the next
when the last has gone into the socket; who takes none for PATIENCE is hung up on; and all that is on its way
together has a bound, however many ask. An answer that many get counts once.
"""

import asyncio
from typing import Final

from aiohttp import web

from tunproxy.control.clash.guard import Handler
from tunproxy.control.clash.refusals import Refusal, refused
from tunproxy.control.clash.streams import PATIENCE

# our choices
PIECE: Final = 1 << 16  # octets; what is no larger is sent as it is
MOST: Final = 64 << 20  # octets of answers that are on their way


class LargeAnswers:
    """Sends the answers of one application."""

    def __init__(self, most: int = MOST, patience: float = PATIENCE) -> None:
        self._most: Final = most
        self._patience: Final = patience
        self._readers: Final[dict[int, int]] = {}  # of each answer, by its identity
        self._octets = 0

    @property
    def octets(self) -> int:
        """How much is on its way."""
        return self._octets

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer a request, in pieces where the answer is large; refuse where there is no room for it."""
        answer = await handler(request)
        if not isinstance(answer, web.Response) or answer.prepared or request.method == "HEAD":
            return answer
        body = answer.body
        if not isinstance(body, bytes) or len(body) <= PIECE:
            return answer
        if id(body) not in self._readers and self._octets + len(body) > self._most:
            return refused(Refusal(503, "too much is being read by others (try again)"))
        self._hold(body)
        try:
            return await self._send(request, answer, body)
        finally:
            self._release(body)

    async def _send(self, request: web.Request, answer: web.Response, body: bytes) -> web.StreamResponse:
        sent = web.StreamResponse(status=answer.status, reason=answer.reason, headers=answer.headers)
        sent.content_length = len(body)
        await sent.prepare(request)
        try:
            for begin in range(0, len(body), PIECE):
                async with asyncio.timeout(self._patience):
                    await sent.write(body[begin : begin + PIECE])
            async with asyncio.timeout(self._patience):
                await sent.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # it has gone
        return sent

    def _hold(self, body: bytes) -> None:
        readers = self._readers.get(id(body), 0)
        self._readers[id(body)] = readers + 1
        if not readers:
            self._octets += len(body)

    def _release(self, body: bytes) -> None:
        readers = self._readers.pop(id(body)) - 1
        if readers:
            self._readers[id(body)] = readers
        else:
            self._octets -= len(body)
