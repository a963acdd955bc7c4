"""The parts of the API that plugins contribute.

The supervisor has the control socket, the worker the plugins:

    client ── HTTP ──▶ supervisor ── one end of a socket pair ──▶ worker: aiohttp, and the plugin's handler
           ◀───────────           ◀── HTTP, as bounded as an answer ──

The supervisor passes on a request at a time, and believes no more of the answer than status, type and body.
"""

import asyncio
import contextlib
import http.client
import logging
import socket
from typing import Any, Final  # Any: what aiohttp has, which is loaded for the first request

from tunproxy.control.letters import aside
from tunproxy.control.questions import NoAnswerError, Questions
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.routes import PREFIX as PREFIX
from tunproxy.plugin.routes import api_routes

# our choices
MAX_BODY: Final = 1 << 20  # octets of a request
MAX_ANSWER: Final = 16 << 20
PATIENCE: Final = 10.0  # seconds; a handler has five
CLOSE_SECONDS: Final = 0.5
PASSED_ON: Final = ("Content-Type", "Location", "Allow", "Cache-Control")

_log: Final = logging.getLogger(__name__)


class PluginApi:
    """The worker's side: serves requests that come over sockets. adopt says whose routes there are."""

    def __init__(self) -> None:
        self._plugins: Plugins | None = None
        self._runner: Any = None
        self._retired: Final[list[Any]] = []
        self._tasks: Final[set[asyncio.Task[None]]] = set()

    def adopt(self, plugins: Plugins) -> None:
        """Serve the routes of these plugins from now on.

        Where the first ones have any, what serves them is loaded here: a worker that has given its rights up
        may not be able to read it.
        """
        if plugins is self._plugins:
            return
        if self._plugins is None and plugins.hooks("contribute_routes"):
            _aiohttp()
        self._plugins = plugins
        if self._runner is not None:
            self._retired.append(self._runner)
            self._runner = None

    def serve(self, fd: int) -> dict[str, object]:
        """Serve what comes over a socket, which is ours from now on; return at once."""
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._serve(sock), name="api of plugins")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return {}

    async def close(self) -> None:
        """Serve nobody any more."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for runner in (*self._retired, self._runner):
            if runner is not None:
                await runner.cleanup()

    async def _serve(self, sock: socket.socket) -> None:
        try:
            if self._plugins is None or not self._plugins.hooks("contribute_routes"):
                await _refuse(sock)
                return
            runner = await self._ready()
            await asyncio.get_running_loop().connect_accepted_socket(runner.server, sock)
        except BaseException as error:
            sock.close()
            if not isinstance(error, Exception):
                raise
            hint = " (restart tunproxy: it can be loaded then)" if isinstance(error, ImportError) else ""
            _log.error("cannot serve the api of plugins: %s: %s%s", type(error).__name__, error, hint)

    async def _ready(self) -> Any:
        """Return what serves connections, with the routes that there are now."""
        if self._runner is None:
            web = await aside(_aiohttp)
            app = web.Application(client_max_size=MAX_BODY)
            for method, path, handler in api_routes(self._plugins) if self._plugins is not None else ():
                try:
                    app.router.add_route(method, path, handler)
                except (ValueError, RuntimeError) as error:  # that one's, and no other's
                    name = path.removeprefix(f"{PREFIX}/").partition("/")[0]
                    if self._plugins is not None:
                        self._plugins.complain(name, f"has a route that cannot be: {method} {path}: {error}")
            runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=CLOSE_SECONDS)
            await runner.setup()
            self._runner = runner
        return self._runner


async def pass_on(worker: Questions, request: Any) -> Any:
    """Return the answer of a worker's plugin to an aiohttp request; raises NoAnswerError."""
    from aiohttp import web

    body = await request.content.read(MAX_BODY + 1)
    while not request.content.at_eof() and len(body) <= MAX_BODY:
        body += await request.content.read(MAX_BODY + 1 - len(body))
    if len(body) > MAX_BODY:
        return web.json_response({"error": f"more than {MAX_BODY} octets"}, status=413)
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            await worker.ask("plugin-api", theirs.fileno())
        head = {"Host": "localhost", "Connection": "close"}
        kind = request.headers.get("Content-Type")
        if kind is not None:
            head["Content-Type"] = kind
        status, headers, said = await asyncio.to_thread(
            _exchange, ours, request.method, request.path_qs, head, body
        )
    finally:
        ours.close()  # perhaps once more
    return web.Response(status=status, headers=headers, body=said)


def _exchange(
    sock: socket.socket, method: str, path: str, head: dict[str, str], body: bytes
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the answer; raises NoAnswerError. Blocks."""
    sock.settimeout(PATIENCE)
    connection = http.client.HTTPConnection("localhost")
    connection.sock = sock
    try:
        connection.request(method, path, body or None, head)
        response = connection.getresponse()
        said = response.read(MAX_ANSWER + 1)
    except TimeoutError:
        raise NoAnswerError(f"the plugin's api does not answer within {PATIENCE:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        raise NoAnswerError(f"the plugin's api cannot be asked: {error or type(error).__name__}") from error
    finally:
        connection.close()
    if len(said) > MAX_ANSWER:
        raise NoAnswerError(f"the plugin's api answers more than {MAX_ANSWER} octets")
    headers = {name: response.headers[name] for name in PASSED_ON if name in response.headers}
    return response.status, headers, said


async def _refuse(sock: socket.socket) -> None:
    """Answer that there is no such thing. aiohttp is not loaded for that, and perhaps cannot be any more."""
    body = b'{"error": "no plugin has an api"}'
    head = "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nConnection: close\r\n"
    with sock:
        said = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        await asyncio.get_running_loop().sock_sendall(sock, said)
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(TimeoutError):  # closed with a request unread, it would be reset
            async with asyncio.timeout(CLOSE_SECONDS):
                while await asyncio.get_running_loop().sock_recv(sock, 65536):
                    pass


def _aiohttp() -> Any:
    """Load it, which takes a fifth of a second."""
    from aiohttp import web

    return web
