"""Answers without an end: a line of JSON, or a message of a WebSocket, for each object.

Nothing piles up for who does not read: the next object is made when the last has gone into the socket's own
buffer, and who takes none for PATIENCE is hung up on.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any, Final  # Any: what coroutines are sent, which is nothing

from aiohttp import WSMsgType, web

from tunproxy.control.clash.refusals import JSON, Refusal, body_invalid

# our choices
PATIENCE: Final = 20.0  # seconds
MOST: Final = 256  # streams at a time
HEARTBEAT: Final = 30.0  # seconds after which a WebSocket must show that somebody is there
MAX_MESSAGE: Final = 4096  # octets of a message to us, which nobody needs
LOOK_SECONDS: Final = 0.5  # between two looks at whether a client is there
USUAL_INTERVAL: Final = 1.0  # seconds between two objects of a stream, where nobody says otherwise
LONGEST_INTERVAL: Final = 60.0


class Streams:
    """All streams of one server."""

    def __init__(self) -> None:
        self._tasks: Final[set[asyncio.Task[None]]] = set()

    async def send(self, request: web.Request, objects: AsyncGenerator[bytes, None]) -> web.StreamResponse:
        """Send objects, each in JSON, until they or the client end; raises Refusal for one too many."""
        if len(self._tasks) >= MOST:
            await objects.aclose()
            raise Refusal(503, "too many streams are open (close some)")
        response: web.StreamResponse
        if is_websocket(request):
            socket = web.WebSocketResponse(heartbeat=HEARTBEAT, compress=False, max_msg_size=MAX_MESSAGE)
            response, sending, ending = socket, _as_messages(socket, objects), _until_closed(socket)
        else:
            response = web.StreamResponse(headers={"Content-Type": JSON})
            response.enable_chunked_encoding()
            sending, ending = _as_lines(response, objects), _until_gone(request)
        task = asyncio.create_task(_first_of(request, response, sending, ending, objects), name="stream")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await task
        finally:
            task.cancel()
        return response

    async def close(self) -> None:
        """End all streams; returns when nothing of them goes on."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def interval_of(request: web.Request, least: float) -> float:
    """Return how many seconds apart objects are wanted (``?interval=MS``), not less than least.

    Raises Refusal.
    """
    text = request.query.get("interval") or str(round(USUAL_INTERVAL * 1000))
    if not (text.isascii() and text.isdigit() and 0 < len(text) < 10):
        raise body_invalid()
    return min(max(int(text) / 1000, least), LONGEST_INTERVAL)


def is_websocket(request: web.Request) -> bool:
    """Tell whether the client wants a WebSocket."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


async def _first_of(
    request: web.Request,
    response: web.StreamResponse,
    sending: Coroutine[Any, Any, None],
    ending: Coroutine[Any, Any, None],
    objects: AsyncGenerator[bytes, None],
) -> None:
    """Send until there is no more to send, or nobody to send it to."""
    try:
        await response.prepare(request)
    except BaseException:
        sending.close()
        ending.close()
        await objects.aclose()
        raise
    tasks = asyncio.create_task(sending), asyncio.create_task(ending)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await objects.aclose()
    error = None if tasks[0].cancelled() else tasks[0].exception()
    if isinstance(error, TimeoutError):
        if request.transport is not None:
            request.transport.abort()
    elif error is not None:
        raise error


async def _as_lines(response: web.StreamResponse, objects: AsyncIterator[bytes]) -> None:
    with contextlib.suppress(ConnectionError):
        async for each in objects:
            async with asyncio.timeout(PATIENCE):
                await response.write(each + b"\n")


async def _until_gone(request: web.Request) -> None:
    """Return when the client has gone, which a stream with nothing to say does not notice by itself."""
    while request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(LOOK_SECONDS)


async def _as_messages(socket: web.WebSocketResponse, objects: AsyncIterator[bytes]) -> None:
    with contextlib.suppress(ConnectionError):
        async for each in objects:
            async with asyncio.timeout(PATIENCE):
                await socket.send_frame(each, WSMsgType.TEXT)


async def _until_closed(socket: web.WebSocketResponse) -> None:
    """Return when the client has gone; what it says meanwhile is nothing to us."""
    async for _ in socket:
        pass
