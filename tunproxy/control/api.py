"""The API of a running tunproxy: HTTP over its control socket.

    GET /status                    the document of ``status``
    GET /metrics                   the same in Prometheus's words
    POST /reload                   does what ``reload`` says; ?confirm=60: for as long, unless confirmed
    /generations…                  what was applied, and back to it (``generations.handlers``)
    GET /flows                     the flows that there are and were; ?limit=N, ?state=open or closed
    GET /flows/N/why               why flow N goes where it goes
    GET /explain?question=JSON     why a flow would go where it would (``decide.question``)
    GET /capture?filter=…          packets as they pass, a pcapng file (``packets.service``)
    any /plugins/NAME/…            what plugins contribute

Beside them stands the API that dashboards speak (``clash``), here and at a TCP port where one is wanted.

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
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from tunproxy.control.beside import beside
from tunproxy.control.clash.service import Clash
from tunproxy.control.generations.desk import Desk
from tunproxy.control.inquiry import Inquiry

NOTHING_LEFT: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

# our choices
CLOSE_SECONDS: Final = 0.5  # how long a client that is being answered may hold up our end
MOST_CLIENTS: Final = 512  # while that many are served, nobody else comes in over TCP
USUAL_FLOWS: Final = 100

Document = Callable[[], Awaitable[dict[str, object]]]
Beside = Callable[[], AbstractAsyncContextManager[None]]

_log: Final = logging.getLogger(__name__)


@contextlib.asynccontextmanager
async def serve(
    listener: socket.socket,
    status: Document,
    reload: Document | None = None,
    inquiry: Inquiry | None = None,
    clash: Clash | None = None,
    desk: Desk | None = None,
) -> AsyncIterator[None]:
    """Serve the API within the context; the listening sockets belong to the caller.

    clash adds what dashboards ask for, at its own port as well if it has one; desk answers for generations.
    """
    async with beside(_serve(listener, status, reload, inquiry, clash, desk), name="api"):
        yield


async def _serve(
    listener: socket.socket,
    status: Document,
    reload: Document | None,
    inquiry: Inquiry | None,
    clash: Clash | None,
    desk: Desk | None,
) -> None:
    listeners = [listener]
    if clash is not None and clash.listening is not None:
        listeners.append(clash.listening.listener)
    await _readable(listeners)
    from aiohttp import web

    app = _application(status, reload, inquiry, clash, desk)
    asyncio.get_running_loop().set_exception_handler(_Faults())
    runner = web.AppRunner(
        app, handle_signals=False, access_log=None, logger=_HttpLog(_log), shutdown_timeout=CLOSE_SECONDS
    )
    await runner.setup()
    port: asyncio.Server | None = None
    try:
        await web.SockSite(runner, listener).start()
        if clash is not None and clash.listening is not None:
            port = await _open_port(runner.server, clash.listening.listener)
        await asyncio.Event().wait()
    finally:
        if port is not None:
            port.close()
        await runner.cleanup()


def _application(
    status: Document,
    reload: Document | None,
    inquiry: Inquiry | None,
    clash: Clash | None,
    desk: Desk | None,
) -> Any:  # aiohttp's, which whoever asks first has us load
    """Return what answers, with a handler for each thing that there is to ask."""
    from aiohttp import web

    from tunproxy.control.generations.handlers import add_handlers as add_generations

    async def get_status(request: web.Request) -> web.Response:
        return web.json_response(await status())

    async def post_reload(request: web.Request) -> web.Response:
        assert reload is not None  # else nobody comes here
        if desk is not None:
            return web.json_response(await desk.reload(_seconds(request.query.get("confirm", ""))))
        if request.query.get("confirm"):
            why = "nothing could be taken back (only tunproxy up can: reload without --confirm)"
            return web.json_response({"is_reloaded": False, "error": why, "policy": None})
        return web.json_response(await reload())

    async def no_dashboard(request: web.Request) -> web.Response:
        return web.json_response({"error": "only tunproxy up has a dashboard"})

    app = clash.application() if clash is not None else web.Application()

    async def get_metrics(request: web.Request) -> web.Response:
        from tunproxy.control.metrics import CONTENT_TYPE, exposition

        measuring = clash.measures() if clash is not None else _nothing()
        document, measures = await asyncio.gather(status(), measuring)
        return web.Response(body=exposition(document, measures), headers={"Content-Type": CONTENT_TYPE})

    app.router.add_get("/status", get_status)
    app.router.add_get("/metrics", get_metrics)
    if clash is None:
        app.router.add_get("/dashboard", no_dashboard)
    if reload is not None:
        app.router.add_post("/reload", post_reload)
    add_generations(app.router, desk)
    if inquiry is not None:
        _add_flows(app.router, inquiry)
    return app


async def _nothing() -> dict[str, Any]:
    return {}


async def _open_port(server: Any, listener: socket.socket) -> asyncio.Server:  # Any: aiohttp's
    """Let server serve who comes over TCP, which anybody on this machine may: not all our descriptors."""

    def protocol() -> asyncio.BaseProtocol:
        made: asyncio.BaseProtocol = _TurnedAway()
        if len(server.connections) < MOST_CLIENTS:
            made = server()
        return made

    return await asyncio.get_running_loop().create_server(protocol, sock=listener)


class _TurnedAway(asyncio.Protocol):
    """A connection for which there is no room."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


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
        text = request.query.get("limit", str(USUAL_FLOWS))
        limit = _whole(text)
        if limit < 0:
            return web.json_response({"error": f"cannot show {text!r} flows: this is no whole number"})
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
    inquiry.packets.add_to(router)


def _whole(text: str) -> int:
    """Return a number; -1, which no flow has, for what is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else -1


def _seconds(text: str) -> float:
    """Return how many seconds text asks for, 0 for none, -1 for what is no number."""
    return float(_whole(text)) if text else 0.0


async def _readable(socks: Sequence[socket.socket]) -> None:
    """Return when somebody has connected to one of them, or sent something."""
    loop = asyncio.get_running_loop()
    happened = asyncio.Event()
    for sock in socks:
        loop.add_reader(sock, happened.set)
    try:
        await happened.wait()
    finally:
        for sock in socks:
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
        clash: Clash | None = None,
    ) -> None:
        """beside makes a context that is entered in the thread's loop as long as it runs."""
        self._clash: Final = clash
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
        api = serve(self._listener, self._status, self._reload, self._inquiry, self._clash)
        async with api, self._beside():
            await self._ended.wait()
