"""The API's part: what is asked about generations over the control socket.

GET  /generations               which there are
GET  /generations/diff          ?old=7&new=disk: what is other; &secrets=1 shows secrets to who runs us
POST /generations/undo          ?number=7&keep_files=1
POST /generations/confirm       lets what runs stay

``POST /reload?confirm=60`` is ``api``'s, and asks the desk, too.
"""

import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, Final  # Any: documents

from aiohttp import web

from tunproxy.control.generations.desk import Desk, number_of
from tunproxy.errors import ConfigError, TunproxyError

_PEER: Final = struct.Struct("3i")  # struct ucred: pid, uid, gid

Handler = Callable[[Desk, web.Request], Awaitable[dict[str, Any]]]


def add_handlers(router: web.UrlDispatcher, desk: Desk | None) -> None:
    """Add what answers; desk None: nothing is kept here."""

    def answering(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            try:
                if desk is None:
                    raise ConfigError("this tunproxy keeps no generations (tunproxy up does)")
                return web.json_response(await handler(desk, request))
            except TunproxyError as error:
                return web.json_response({"error": str(error)})

        return answer

    router.add_get("/generations", answering(_generations))
    router.add_get("/generations/diff", answering(_diff))
    router.add_post("/generations/undo", answering(_undo))
    router.add_post("/generations/confirm", answering(_confirm))


async def _generations(desk: Desk, request: web.Request) -> dict[str, Any]:
    return await desk.generations()


async def _diff(desk: Desk, request: web.Request) -> dict[str, Any]:
    query = request.query
    wants_secrets = query.get("secrets") == "1"
    if wants_secrets and not may_see_secrets(request):
        raise ConfigError("secrets are shown to nobody but who runs tunproxy, at its control socket")
    return await desk.diff(query.get("old", ""), query.get("new", ""), with_secrets=wants_secrets)


async def _undo(desk: Desk, request: web.Request) -> dict[str, Any]:
    query = request.query
    number = number_of(query["number"]) if query.get("number") else 0
    return await desk.undo(number, keep_files=query.get("keep_files") == "1")


async def _confirm(desk: Desk, request: web.Request) -> dict[str, Any]:
    return await desk.confirm()


def may_see_secrets(request: web.Request) -> bool:
    """Tell whether the kernel says that who asks is root, or who we are."""
    sock = request.transport.get_extra_info("socket") if request.transport is not None else None
    if sock is None or sock.family != socket.AF_UNIX:
        return False
    _, uid, _ = _PEER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return uid in (0, os.geteuid())
