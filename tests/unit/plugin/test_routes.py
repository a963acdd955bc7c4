"""Parts of the API that plugins contribute."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tests.unit.plugin.test_manager import plugin
from tunproxy.plugin.contributions import Route
from tunproxy.plugin.ledger import MAX_FAULTS
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.routes import api_routes

Handler = Callable[[Any], Awaitable[object]]


async def document(request: web.Request) -> object:
    return {"name": request.match_info.get("name", "")}


async def nothing(request: web.Request) -> None:
    pass


async def own(request: web.Request) -> web.Response:
    return web.Response(text="own", status=201)


async def elsewhere(request: web.Request) -> None:
    raise web.HTTPFound("/there")


async def breaks(request: web.Request) -> None:
    raise RuntimeError("broken")


async def unsayable(request: web.Request) -> object:
    return object()


def get(handler: Handler, *, path: str = "/x", asked: str = "/x", times: int = 1) -> tuple[int, str, Plugins]:
    """Return status and text of the last of some requests."""
    plugins = Plugins()
    assert plugins.register(plugin(contribute_routes=lambda: [Route("GET", path, handler)]), "p")

    async def ask() -> tuple[int, str]:
        app = web.Application()
        for method, at, guarded in api_routes(plugins):
            app.router.add_route(method, at, guarded)
        async with TestClient(TestServer(app)) as client:
            for _ in range(times):
                response = await client.get(f"/plugins/p{asked}", allow_redirects=False)
                found = response.status, await response.text()
            return found

    return *asyncio.run(ask()), plugins


@pytest.mark.parametrize(
    ("handler", "path", "asked", "status", "text"),
    [
        (document, "/of/{name}", "/of/me", 200, '{"name": "me"}'),
        (document, "", "", 200, '{"name": ""}'),
        (nothing, "/x", "/x", 200, "null"),
        (own, "/x", "/x", 201, "own"),
        (elsewhere, "/x", "/x", 302, "302: Found"),
    ],
)
def test_route_answers_below_the_plugins_name(
    handler: Handler, path: str, asked: str, status: int, text: str
) -> None:
    found_status, found_text, plugins = get(handler, path=path, asked=asked)
    assert (found_status, found_text) == (status, text)
    assert plugins.ledger.faults() == {}


@pytest.mark.parametrize("handler", [breaks, unsayable])
def test_route_that_fails_is_answered_for_and_counted(handler: Handler) -> None:
    status, text, plugins = get(handler)
    assert (status, text) == (500, '{"error": "plugin p failed (see the log)"}')
    assert plugins.ledger.faults() == {"p": 1}


def test_route_of_a_suspended_plugin_says_so() -> None:
    status, text, plugins = get(breaks, times=MAX_FAULTS + 1)
    assert (status, text) == (503, '{"error": "plugin p is suspended"}')
    assert plugins.ledger.faults() == {"p": MAX_FAULTS}
