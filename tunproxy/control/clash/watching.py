"""All flows at a glance, again and again, for ``tunproxy top``; and how it ends some of them.

The first objects of the stream tell of every open flow; those that follow, of what is new: a flow that began,
opened or ended, or whose process has been found, and the octets of those that have carried some. So what it
costs follows what happens, not how many flows there are.
"""

from collections.abc import AsyncGenerator
from typing import Any, Final  # Any: documents

import msgspec
from aiohttp import web

from tunproxy.control.clash.asking import Asking
from tunproxy.control.clash.flow_places import Octets, Place, ask, octets_of, row_for_people
from tunproxy.control.clash.flow_shapes import flow_of
from tunproxy.control.clash.refusals import answer, body_invalid, body_of
from tunproxy.control.clash.shared import ticks
from tunproxy.control.clash.streams import Streams, interval_of
from tunproxy.control.questions import NoAnswerError

# our choices
LEAST: Final = 0.5  # seconds between two looks
MOST_ROUNDS: Final = 100  # of questions in a row, where there is very much to tell


class _Place(Place):
    """What one worker has told."""

    def start_over(self) -> None:
        super().start_over()
        self.octets: Octets = {}

    def take(self, told: dict[str, Any]) -> dict[str, Any]:
        """Return what is new, as ``Watching`` tells it."""
        before = self.octets
        if not self.note(told):
            return {"rows": [], "octets": [], "gone": list(before)}
        rows = [row_for_people(self.run, row) for row in (*told["rows"], *told["over"])]
        if self.has_more:
            return {"rows": rows, "octets": [], "gone": []}
        self.octets = octets_of(told)
        moved = [[number, *now] for number, now in self.octets.items() if before.get(number) != now]
        over = {int(row["number"]) for row in told["over"]}
        gone = [number for number in before.keys() - self.octets.keys() if number not in over]
        return {"rows": rows, "octets": moved, "gone": gone}


class Watching:
    """Handlers: ``GET /flows/watch?interval=MS``, and ``POST /flows/end`` with ids."""

    def __init__(self, asking: Asking, streams: Streams) -> None:
        self._asking: Final = asking
        self._streams: Final = streams

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/flows/watch", self._watch)
        router.add_post("/flows/end", self._end)

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        return await self._streams.send(request, self._looks(interval_of(request, LEAST)))

    async def _looks(self, seconds: float) -> AsyncGenerator[bytes, None]:
        """Yield what is new: rows, octets as [number, up, down], and gone, numbers of which nothing is known.

        seconds is when, by a clock that goes on; has_more says that the next object comes at once.
        """
        places: list[_Place] = []
        async for now in ticks(seconds):
            while len(places) < self._asking.count:
                places.append(_Place())
            for remaining in reversed(range(MOST_ROUNDS)):
                try:
                    answers = await ask(self._asking, places)
                except NoAnswerError:  # it may be busy: the next time
                    break
                found: dict[str, Any] = {"rows": [], "octets": [], "gone": []}
                for place, told in answers:
                    for key, new in place.take(told).items():
                        found[key] += new
                has_more = remaining > 0 and any(place.has_more for place in places)
                yield msgspec.json.encode({"seconds": now, "has_more": has_more, **found})
                if not has_more:
                    break

    async def _end(self, request: web.Request) -> web.Response:
        ids = (await body_of(request)).get("ids")
        if not isinstance(ids, list):
            raise body_invalid()
        numbers: dict[str, list[int]] = {}
        for each in ids:
            found = flow_of(each) if isinstance(each, str) else None
            if found is None:
                raise body_invalid()
            numbers.setdefault(found[0], []).append(found[1])
        ended = 0
        for run, those in numbers.items():
            for told in await self._asking.each("helm-end", {"run": run, "numbers": those}):
                ended += int(told["ended"])
        return answer({"ended": ended})
