"""Open flows, as Clash's connections: one list, once or again and again, and how to end them.

What workers tell is kept as it is shown, and brought up to date by what is new: however many look on, workers
are asked once a tick. When nobody has looked for a while, it is forgotten.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final  # Any: documents

import msgspec
from aiohttp import web

from tunproxy.control.clash.asking import Asking
from tunproxy.control.clash.flow_places import Place, ask, octets_of
from tunproxy.control.clash.flow_shapes import connection_of, flow_of, log_line
from tunproxy.control.clash.refusals import JSON, done
from tunproxy.control.clash.shared import Shared, ticks
from tunproxy.control.clash.streams import Streams, interval_of, is_websocket
from tunproxy.control.questions import NoAnswerError

# our choices
STALE_SECONDS: Final = 30.0
LINES: Final = 1024  # of the log that flows make
MOST_ROUNDS: Final = 50  # of questions in a row, where there is very much to tell
LEAST: Final = 0.1  # seconds between two lists of a stream

Totals = Callable[[], Awaitable[tuple[int, int, int]]]


class _Told(Place):
    """What one worker has told."""

    def start_over(self) -> None:
        super().start_over()
        self.is_known = False  # whether everything has been told once
        self.shown: dict[int, dict[str, Any]] = {}  # by number
        self.logged: set[int] = set()


class FlowList:
    """The flows of all workers. lines are (number, level, text), the last ones, for the log."""

    def __init__(self, asking: Asking) -> None:
        self._asking: Final = asking
        self._told: Final[list[_Told]] = []
        self._asked_at = float("-inf")
        self.lines: Final[deque[tuple[int, str, str]]] = deque(maxlen=LINES)
        self.number = 0  # of the last line
        self._shared: Final = Shared(self._refresh)

    async def current(self) -> list[dict[str, Any]]:
        """Return all open flows, which whoever gets them must not change. Raises NoAnswerError."""
        return await self._shared.get()

    def forget(self) -> None:
        """Ask anew the next time."""
        self._shared.forget()

    async def close(self) -> None:
        """Give up what is under way."""
        await self._shared.close()

    async def _refresh(self) -> list[dict[str, Any]]:
        now = asyncio.get_running_loop().time()
        if now - self._asked_at > STALE_SECONDS or len(self._told) != self._asking.count:
            self._told[:] = [_Told() for _ in range(self._asking.count)]
        self._asked_at = now
        for _ in range(MOST_ROUNDS):
            for told, found in await ask(self._asking, self._told):
                if told.note(found):
                    self._take(told, found)
            if not any(each.has_more for each in self._told):
                break
        return [shown for each in self._told for shown in each.shown.values()]

    def _take(self, told: _Told, found: dict[str, Any]) -> None:
        for row in (*found["rows"], *found["over"]):
            number = int(row["number"])
            if row["state"] != "opening" and number not in told.logged:
                told.logged.add(number)
                if told.is_known:
                    self.number += 1
                    self.lines.append((self.number, *log_line(row)))
        for row in found["rows"]:
            told.shown[int(row["number"])] = connection_of(told.run, row)
        if told.has_more:
            return
        told.is_known = True
        numbers = octets_of(found)
        told.shown = {number: shown for number, shown in told.shown.items() if number in numbers}
        told.logged &= numbers.keys()
        for number, shown in told.shown.items():
            shown["upload"], shown["download"] = numbers[number]


class Connections:
    """Handlers; totals returns the octets up and down since the start, and the memory of all workers."""

    def __init__(self, asking: Asking, flows: FlowList, totals: Totals, streams: Streams) -> None:
        self._asking: Final = asking
        self._flows: Final = flows
        self._totals: Final = totals
        self._streams: Final = streams
        self._document: Final = Shared(self._encode)

    async def close(self) -> None:
        """Give up what is under way."""
        await self._document.close()

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/connections", self._list)
        router.add_delete("/connections", self._end_all)
        router.add_delete("/connections/{id}", self._end)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        if not is_websocket(request):
            return web.Response(body=await self._document.get(), content_type=JSON)
        return await self._streams.send(request, self._again(interval_of(request, LEAST)))

    async def _again(self, seconds: float) -> AsyncGenerator[bytes, None]:
        async for _ in ticks(seconds):
            with contextlib.suppress(NoAnswerError):  # busy, or replaced: the next time
                yield await self._document.get()

    async def _encode(self) -> bytes:
        up, down, memory = await self._totals()
        flows = await self._flows.current()
        document = {
            "downloadTotal": down,
            "uploadTotal": up,
            "connections": flows or None,
            "memory": memory,
        }
        return msgspec.json.encode(document)

    async def _end_all(self, request: web.Request) -> web.Response:
        return await self._end_those({})

    async def _end(self, request: web.Request) -> web.Response:
        found = flow_of(request.match_info["id"])
        if found is not None:
            run, number = found
            await self._end_those({"numbers": [number], "run": run})
        return done()

    async def _end_those(self, about: dict[str, Any]) -> web.Response:
        await self._asking.each("helm-end", about)
        self._flows.forget()
        self._document.forget()
        return done()
