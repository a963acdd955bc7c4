"""Flows as they begin, open and end, for ``tunproxy flows --follow``: our own rows, not Clash's shapes."""

from collections.abc import AsyncGenerator
from typing import Final

import msgspec
from aiohttp import web

from tunproxy.control.clash.asking import Asking
from tunproxy.control.clash.flow_places import FROM_NOW_ON, Place, ask, row_for_people
from tunproxy.control.clash.shared import ticks
from tunproxy.control.clash.streams import Streams
from tunproxy.control.questions import NoAnswerError

SECONDS: Final = 0.5  # our choice: between two looks


class Following:
    """The handler."""

    def __init__(self, asking: Asking, streams: Streams) -> None:
        self._asking: Final = asking
        self._streams: Final = streams

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/flows/follow", self._follow)

    async def _follow(self, request: web.Request) -> web.StreamResponse:
        return await self._streams.send(request, self._rows())

    async def _rows(self) -> AsyncGenerator[bytes, None]:
        places: list[Place] = []
        async for _ in ticks(SECONDS):
            while len(places) < self._asking.count:
                places.append(Place(FROM_NOW_ON))
            try:
                answers = await ask(self._asking, places)
            except NoAnswerError:  # it may be busy: the next time
                continue
            for place, told in answers:
                if not place.note(told):
                    place.note(told)  # it is followed from here on
                    continue
                for row in (*told["rows"], *told["over"]):
                    yield msgspec.json.encode(row_for_people(place.run, row))
