"""What goes on all the time: traffic, memory and the log, as streams."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final  # Any: documents

import msgspec
from aiohttp import web

from tunproxy.control.clash.asking import Asking
from tunproxy.control.clash.basics import LEVELS
from tunproxy.control.clash.connections import FlowList
from tunproxy.control.clash.refusals import body_invalid
from tunproxy.control.clash.shared import Shared, ticks
from tunproxy.control.clash.streams import Streams
from tunproxy.control.helm.log_ring import LogRing
from tunproxy.control.questions import NoAnswerError

# our choices
SECOND: Final = 1.0
LOG_SECONDS: Final = 0.5

_ORDER: Final = ("debug", "info", "warning", "error", "silent")


class Totals:
    """Octets both ways since the start, and memory, of all workers together."""

    def __init__(self, asking: Asking) -> None:
        self._asking: Final = asking
        self._shared: Final = Shared(self._ask)

    async def __call__(self) -> tuple[int, int, int]:
        """Return up, down, memory, all in octets. Raises NoAnswerError."""
        return await self._shared.get()

    async def close(self) -> None:
        """Give up what is under way."""
        await self._shared.close()

    async def _ask(self) -> tuple[int, int, int]:
        told = await self._asking.each("helm-totals")
        up, down, memory = (sum(int(each[key]) for each in told) for key in ("up", "down", "memory"))
        return up, down, memory


class Log:
    """The log of all workers, of the supervisor, and of flows: the last lines, numbered by whoever reads."""

    def __init__(self, asking: Asking, flows: FlowList) -> None:
        self._asking: Final = asking
        self._flows: Final = flows
        self._own: LogRing | None = None

    async def lines(self, level: str) -> AsyncGenerator[list[tuple[float, str, str]], None]:
        """Yield what is new, of a level and above, now and then: seconds since 1970, level and text."""
        if self._own is None:
            self._own = LogRing(asyncio.get_running_loop().call_later, logging.getLogger("tunproxy"))
        since: list[int | None] = []
        own: int | None = None
        flow = -1
        async for _ in ticks(LOG_SECONDS):
            found: list[tuple[float, str, str]] = []
            since += [None] * (self._asking.count - len(since))
            try:
                answers = await self._asking.every(
                    [("helm-log", {"level": level, "since": each}) for each in since]
                )
                await self._flows.current()
            except NoAnswerError:  # it may be busy: the next time
                answers = []
            for place, told in enumerate(answers):
                if told is not None:
                    since[place] = told["number"]
                    found += [(at, name, text) for at, name, text in told["lines"]]
            told = self._own.lines({"level": level, "since": own})
            own = told["number"]
            found += [(at, name, text) for at, name, text in told["lines"]]
            if flow >= 0:
                now = time.time()
                found += [(now, name, text) for number, name, text in self._flows.lines if number > flow]
            flow = self._flows.number
            found.sort(key=lambda line: line[0])
            yield [line for line in found if _ORDER.index(line[1]) >= _ORDER.index(level)]


class Live:
    """Handlers; level returns the level of who names none."""

    def __init__(self, totals: Totals, log: Log, streams: Streams, level: Callable[[], str]) -> None:
        self._totals: Final = totals
        self._log: Final = log
        self._streams: Final = streams
        self._level: Final = level

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/traffic", self._traffic)
        router.add_get("/memory", self._memory)
        router.add_get("/logs", self._logs)

    async def _traffic(self, request: web.Request) -> web.StreamResponse:
        return await self._streams.send(request, self._rates())

    async def _memory(self, request: web.Request) -> web.StreamResponse:
        return await self._streams.send(request, self._sizes())

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        level = LEVELS.get((request.query.get("level") or self._level()).lower())
        if level is None:
            raise body_invalid()
        is_structured = request.query.get("format") == "structured"
        return await self._streams.send(request, self._told(level, is_structured))

    async def _rates(self) -> AsyncGenerator[bytes, None]:
        before: tuple[float, int, int] | None = None
        async for now in ticks(SECOND):
            try:
                up, down, _ = await self._totals()
            except NoAnswerError:
                continue
            rates = (0, 0)
            if before is not None and now > before[0]:
                passed = now - before[0]
                rates = tuple(max(round(each / passed), 0) for each in (up - before[1], down - before[2]))  # type: ignore[assignment]
            before = now, up, down
            yield _encoded({"up": rates[0], "down": rates[1], "upTotal": up, "downTotal": down})

    async def _sizes(self) -> AsyncGenerator[bytes, None]:
        yield _encoded({"inuse": 0, "oslimit": 0})  # as mihomo begins, for charts
        async for _ in ticks(SECOND):
            try:
                yield _encoded({"inuse": (await self._totals())[2], "oslimit": 0})
            except NoAnswerError:
                continue

    async def _told(self, level: str, is_structured: bool) -> AsyncGenerator[bytes, None]:
        if level == "silent":
            await asyncio.Event().wait()
        async for lines in self._log.lines(level):
            for at, name, text in lines:
                if is_structured:
                    moment = time.strftime("%H:%M:%S", time.localtime(at))
                    document: dict[str, Any] = {
                        "time": moment,
                        "level": name,
                        "message": text,
                        "fields": [],
                    }
                else:
                    document = {"type": name, "payload": text}
                yield _encoded(document)


def _encoded(document: dict[str, Any]) -> bytes:
    return msgspec.json.encode(document)
