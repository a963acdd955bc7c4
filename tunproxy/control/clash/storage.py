"""What dashboards want to be kept for them, by key: any JSON, of which we read nothing."""

from typing import Any, Final  # Any: what JSON can say

import msgspec
from aiohttp import web

from tunproxy.control.clash.refusals import Refusal, answer, body_invalid, done
from tunproxy.control.clash.state_files import StateFiles

MAX_VALUE: Final = 1 << 20  # octets, as in mihomo
# our choices
MAX_KEY: Final = 200  # letters
MAX_KEYS: Final = 8


class Storage:
    """Handlers. What is stored stays in state, all in one file, whatever keys are called."""

    def __init__(self, state: StateFiles) -> None:
        self._state: Final = state
        self._stored: dict[str, Any] | None = None

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/storage/{key}", self._get)
        router.add_put("/storage/{key}", self._put)
        router.add_delete("/storage/{key}", self._delete)

    def _all(self) -> dict[str, Any]:
        if self._stored is None:
            self._stored = self._state.dashboards()
        return self._stored

    async def _get(self, request: web.Request) -> web.Response:
        return answer(self._all().get(request.match_info["key"]))

    async def _put(self, request: web.Request) -> web.Response:
        key = request.match_info["key"]
        data = await request.read()
        if len(data) > MAX_VALUE:
            raise Refusal(413, f"more than {MAX_VALUE} octets")
        try:
            value = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise body_invalid() from None
        stored = self._all()
        if len(key) > MAX_KEY or (key not in stored and len(stored) >= MAX_KEYS):
            raise Refusal(507, f"no room for {key[:MAX_KEY]!r}: {MAX_KEYS} keys are kept (delete one)")
        stored[key] = value
        self._state.keep_dashboards(stored)
        return done()

    async def _delete(self, request: web.Request) -> web.Response:
        if self._all().pop(request.match_info["key"], None) is not None:
            self._state.keep_dashboards(self._all())
        return done()
