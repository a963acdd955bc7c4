"""Requests to plugins, from the supervisor's HTTP to the worker's handlers and back."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tests.unit.plugin.test_manager import plugin
from tunproxy.control import plugin_api
from tunproxy.control.inquiry import Inquiry
from tunproxy.control.plugin_api import PluginApi
from tunproxy.control.questions import Questions, answer_on, socket_pair
from tunproxy.plugin.api import Route
from tunproxy.plugin.manager import Plugins

Talk = Callable[[TestClient[Any, Any], PluginApi], Awaitable[None]]


async def tell(request: web.Request) -> object:
    return {"said": await request.text(), "q": request.query.get("q"), "type": request.content_type}


async def elsewhere(request: web.Request) -> object:
    raise web.HTTPFound("/other")


async def broken(request: web.Request) -> object:
    raise RuntimeError("broken")


async def much(request: web.Request) -> object:
    return web.Response(body=bytes(1000))


ROUTES = [Route("POST", "/tell", tell), Route("GET", "/elsewhere", elsewhere),
          Route("GET", "/broken", broken), Route("GET", "/much", much)]  # fmt: skip


def with_routes(routes: list[Route]) -> Plugins:
    plugins = Plugins()
    assert plugins.register(plugin(contribute_routes=lambda: routes), "mine")
    return plugins


def converse(talk: Talk, plugins: Plugins) -> None:
    """Let talk ask the supervisor, whose worker is on the same loop."""

    async def both() -> None:
        ours, theirs = socket_pair()
        api = PluginApi()
        api.adopt(plugins)
        answer_on(asyncio.get_running_loop(), theirs, {}, {"plugin-api": api.serve})
        app = web.Application()
        app.router.add_route("*", "/plugins/{rest:.*}", Inquiry([Questions(ours)]).plugin)
        async with TestClient(TestServer(app)) as client:
            await talk(client, api)
        await api.close()
        ours.close()
        theirs.close()

    asyncio.run(both())


def test_request_reaches_the_plugin_and_its_answer_comes_back() -> None:
    async def talk(client: TestClient[Any, Any], api: PluginApi) -> None:
        for _ in range(3):
            head = {"Content-Type": "text/x"}
            answer = await client.post("/plugins/mine/tell?q=1", data=b"hello", headers=head)
            assert answer.status == 200
            assert await answer.json() == {"said": "hello", "q": "1", "type": "text/x"}

    converse(talk, with_routes(ROUTES))


def test_plugin_s_own_statuses_come_back() -> None:
    async def talk(client: TestClient[Any, Any], api: PluginApi) -> None:
        answer = await client.get("/plugins/mine/elsewhere", allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (302, "/other")
        assert (await client.get("/plugins/mine/nothing")).status == 404
        assert (await client.get("/plugins/mine/tell")).status == 405
        answer = await client.get("/plugins/mine/broken")
        assert (answer.status, await answer.json()) == (500, {"error": "plugin mine failed (see the log)"})

    converse(talk, with_routes(ROUTES))


def test_what_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin_api, "MAX_BODY", 10)
    monkeypatch.setattr(plugin_api, "MAX_ANSWER", 100)

    async def talk(client: TestClient[Any, Any], api: PluginApi) -> None:
        assert (await client.post("/plugins/mine/tell", data=b"x" * 11)).status == 413
        assert (await client.post("/plugins/mine/tell", data=b"x" * 10)).status == 200
        answer = await client.get("/plugins/mine/much")
        assert answer.status == 502
        assert "more than 100 octets" in (await answer.json())["error"]

    converse(talk, with_routes(ROUTES))


def test_routes_are_those_of_the_plugins_that_there_are_now() -> None:
    async def talk(client: TestClient[Any, Any], api: PluginApi) -> None:
        assert (await client.get("/plugins/mine/much")).status == 200
        api.adopt(with_routes(ROUTES[:1]))
        assert (await client.get("/plugins/mine/much")).status == 404
        assert (await client.post("/plugins/mine/tell")).status == 200

    converse(talk, with_routes(ROUTES))


def test_path_that_cannot_be_costs_its_route_only() -> None:
    async def talk(client: TestClient[Any, Any], api: PluginApi) -> None:
        for _ in range(2):
            assert (await client.post("/plugins/mine/tell", data="x")).status == 200
            assert (await client.get("/plugins/mine/x")).status == 404

    plugins = with_routes([Route("GET", "/{x", tell), *ROUTES])
    converse(talk, plugins)
    assert plugins.problems["mine"].startswith(
        "has a route that cannot be: GET /plugins/mine/{x: Invalid path"
    )


def test_worker_that_is_gone_is_a_bad_gateway() -> None:
    async def talk() -> None:
        ours, theirs = socket_pair()
        theirs.close()
        app = web.Application()
        app.router.add_route("*", "/plugins/{rest:.*}", Inquiry([Questions(ours)]).plugin)
        async with TestClient(TestServer(app)) as client:
            answer = await client.get("/plugins/mine/tell")
            assert answer.status == 502
            assert "worker" in (await answer.json())["error"]
        ours.close()

    asyncio.run(talk())


def test_without_routes_nothing_is_loaded_and_all_is_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that has given its rights up may not be able to load anything."""

    def unreadable() -> object:
        raise ModuleNotFoundError("No module named 'netrc'")

    monkeypatch.setattr(plugin_api, "_aiohttp", unreadable)

    async def talk(client: TestClient[Any, Any], api: PluginApi) -> None:
        for _ in range(3):
            answer = await client.post("/plugins/mine/tell", data=b"x" * 100_000)
            assert (answer.status, await answer.json()) == (404, {"error": "no plugin has an api"})

    converse(talk, Plugins())


def test_what_cannot_be_loaded_any_more_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unreadable() -> object:
        raise ModuleNotFoundError("No module named 'netrc'")

    async def talk(client: TestClient[Any, Any], api: PluginApi) -> None:
        monkeypatch.setattr(plugin_api, "_aiohttp", unreadable)
        api.adopt(with_routes(ROUTES))
        assert (await client.get("/plugins/mine/much")).status == 502

    converse(talk, Plugins())
    assert "No module named 'netrc' (restart tunproxy" in caplog.text
