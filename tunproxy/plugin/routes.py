"""Parts of the API that plugins contribute, made safe to be handed to aiohttp.

aiohttp is imported by the first request only: it takes a fifth of a second to load.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from tunproxy.plugin.contributions import Route
from tunproxy.plugin.hook import Hook
from tunproxy.plugin.ledger import Ledger
from tunproxy.plugin.manager import Plugins

PREFIX: Final = "/plugins"

Handler = Callable[[Any], Awaitable[Any]]  # Any: aiohttp's Request and Response


def api_routes(plugins: Plugins) -> list[tuple[str, str, Handler]]:
    """Return (method, path, handler) of all routes, for ``aiohttp.web.Application.router.add_route``.

    Paths begin with ``/plugins/NAME``. Handlers never raise anything but aiohttp's own HTTP answers.
    """
    return [
        (route.method, f"{PREFIX}/{plugin}{route.path}", guarded(plugin, route, plugins.ledger))
        for plugin, route in plugins.routes()
    ]


def guarded(plugin: str, route: Route, ledger: Ledger) -> Handler:
    """Return the route's handler, which answers 500 where it fails and 503 where it is not asked."""

    async def answer(request: Any) -> object:
        from aiohttp import web

        try:
            found = await route.handler(request)
        except web.HTTPException as answered:  # an answer: "not found", "see other"
            return answered
        return web.json_response(None) if found is None else found

    hook = Hook(plugin, answer, ("request",), "contribute_routes")
    deed = f"answer {route.method} {route.path}".strip()

    async def handle(request: Any) -> Any:
        from aiohttp import web

        if not ledger.may_ask(plugin):
            return web.json_response({"error": f"plugin {plugin} is suspended"}, status=503)
        found = await ledger.wait_for(hook, {"request": request}, _response, deed=deed)
        if found is None:
            return web.json_response({"error": f"plugin {plugin} failed (see the log)"}, status=500)
        return found

    return handle


def _response(answer: object) -> object:
    """Return answer as what aiohttp sends; raises TypeError for what JSON cannot say."""
    from aiohttp import web

    if isinstance(answer, web.HTTPException):  # aiohttp no longer sends what is one and is returned
        headers = {key: answer.headers[key] for key in ("Location", "Allow") if key in answer.headers}
        return web.Response(status=answer.status, text=answer.text, headers=headers)
    return answer if isinstance(answer, web.StreamResponse) else web.json_response(answer)
