"""The API of a running tunproxy: HTTP over its control socket.

    GET /status                    the document of ``status``
    POST /reload                   does what ``reload`` says
    GET /flows                     the flows that there are and were; ?limit=N, ?state=open or closed
    GET /flows/N/why               why flow N goes where it goes
    GET /explain?question=JSON     why a flow would go where it would (``decide.question``)
    any /plugins/NAME/…            what plugins contribute

Until somebody connects, the API is a listening socket and nothing else: aiohttp, which takes a fifth of a
second to load and 20 MB to hold, is imported for the first client. A supervisor that is an asyncio program
runs ``serve`` beside what it does; one that has to wait for signals in its own way has a thread run it.
"""

import asyncio
import contextlib
import errno
import json
import logging
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from tunproxy.control.inquiry import Inquiry

# our choice: how long a client that is being answered may hold up our end
CLOSE_SECONDS: Final = 0.5

_log: Final = logging.getLogger(__name__)

Document = Callable[[], Awaitable[dict[str, object]]]
USUAL_FLOWS: Final = 100
NOTHING_LEFT: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

Beside = Callable[[], AbstractAsyncContextManager[None]]


@contextlib.asynccontextmanager
async def serve(
    listener: socket.socket,
    status: Document,
    reload: Document | None = None,
    inquiry: Inquiry | None = None,
) -> AsyncIterator[None]:
    """Serve the API within the context; the listening socket belongs to the caller."""
    task = asyncio.create_task(_serve(listener, status, reload, inquiry))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _serve(
    listener: socket.socket, status: Document, reload: Document | None, inquiry: Inquiry | None
) -> None:
    await _readable(listener)
    from aiohttp import web

    async def get_status(request: web.Request) -> web.Response:
        return web.json_response(await status())

    async def post_reload(request: web.Request) -> web.Response:
        assert reload is not None
        return web.json_response(await reload())

    app = web.Application()
    app.router.add_get("/status", get_status)
    if reload is not None:
        app.router.add_post("/reload", post_reload)
    if inquiry is not None:
        _add_flows(app.router, inquiry)
    asyncio.get_running_loop().set_exception_handler(_Faults())
    runner = web.AppRunner(
        app, handle_signals=False, access_log=None, logger=_HttpLog(_log), shutdown_timeout=CLOSE_SECONDS
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


class _HttpLog(logging.LoggerAdapter[logging.Logger]):
    """Where aiohttp tells of faults: ours are errors, what is no HTTP is its sender's affair, who is told."""

    def exception(self, msg: object, *args: object, exc_info: Any = True, **more: Any) -> None:
        from aiohttp.http_exceptions import HttpProcessingError

        fault = exc_info if isinstance(exc_info, BaseException) else sys.exc_info()[1]
        if isinstance(fault, HttpProcessingError):
            self.debug("no HTTP at the control socket: %s", fault)
        else:
            super().exception(msg, *args, exc_info=exc_info, **more)


class _Faults:
    """Handles what asyncio reports; that there is no descriptor for a client is told once."""

    def __init__(self) -> None:
        self._is_told = False

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        fault = context.get("exception")
        if not isinstance(fault, OSError) or fault.errno not in NOTHING_LEFT:
            loop.default_exception_handler(context)
        elif not self._is_told:
            self._is_told = True
            _log.warning("clients of the control socket have to wait: %s", (fault.strerror or "").lower())


def _add_flows(router: Any, inquiry: Inquiry) -> None:  # Any: aiohttp's
    """Add what is told of flows."""
    from aiohttp import web

    async def get_flows(request: web.Request) -> web.Response:
        limit = _whole(request.query.get("limit", str(USUAL_FLOWS)))
        return web.json_response(await inquiry.flows(limit, request.query.get("state", "")))

    async def get_flow(request: web.Request) -> web.Response:
        return web.json_response(await inquiry.flow(_whole(request.match_info["number"])))

    async def get_explanation(request: web.Request) -> web.Response:
        try:
            question = json.loads(request.query.get("question", ""))
        except ValueError:
            return web.json_response({"error": "this is no question: no JSON"})
        return web.json_response(await inquiry.explanation(question))

    router.add_get("/flows", get_flows)
    router.add_get("/flows/{number}/why", get_flow)
    router.add_get("/explain", get_explanation)
    router.add_route("*", "/plugins/{rest:.*}", inquiry.plugin)


def _whole(text: str) -> int:
    """Return a number; -1, which no flow has, for what is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1


async def _readable(sock: socket.socket) -> None:
    """Return when somebody has connected, or sent something."""
    loop = asyncio.get_running_loop()
    happened = asyncio.Event()
    loop.add_reader(sock, happened.set)
    try:
        await happened.wait()
    finally:
        loop.remove_reader(sock)


class ApiThread:
    """Serves the API in a thread of its own, beside a program that is not asyncio's.

    Start it after the last fork. It takes no signal: all are blocked in it.
    """

    def __init__(
        self,
        listener: socket.socket,
        status: Document,
        reload: Document | None = None,
        beside: Beside = contextlib.nullcontext,
        inquiry: Inquiry | None = None,
    ) -> None:
        """beside makes a context that is entered in the thread's loop as long as it runs."""
        self._listener: Final = listener
        self._status: Final = status
        self._reload: Final = reload
        self._beside: Final = beside
        self._inquiry: Final = inquiry
        self._loop: Final = asyncio.new_event_loop()
        self._ended: Final = asyncio.Event()
        self._thread: Final = threading.Thread(target=self._run, name="api", daemon=True)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # threads inherit it
        try:
            self._thread.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def close(self) -> None:
        """End the thread, if it does within 2 * CLOSE_SECONDS; else it ends with the process."""
        with contextlib.suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(2 * CLOSE_SECONDS)

    def _run(self) -> None:
        with contextlib.closing(self._loop):
            self._loop.run_until_complete(self._until_ended())

    async def _until_ended(self) -> None:
        async with serve(self._listener, self._status, self._reload, self._inquiry), self._beside():
            await self._ended.wait()
