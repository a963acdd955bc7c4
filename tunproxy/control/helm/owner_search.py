"""Whose flows are, for those who look on: rules need not ask for it.

Only as long as somebody looks, and few at a time: the supervisor, or a thread, has to read /proc for each.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable
from itertools import takewhile
from typing import Final

from tunproxy import clock
from tunproxy.clock import Micros
from tunproxy.decide.trace import FlowLookup, Owner, ProcessSource, trace_of
from tunproxy.flow.life import FlowLife

# our choices
AT_ONCE: Final = 8  # searches
MOST: Final = 64  # that have begun; the rest is looked at the next time
WAITING: Final = 4096  # flows that wait for that, the newest
SPARE: Final = 1024  # owners that are known of flows that are over


class OwnerSearch:
    """Finds the owners of flows; source None knows nobody's. For the loop only."""

    def __init__(self, source: ProcessSource | None) -> None:
        self._source: Final = source
        self._known: Final[OrderedDict[int, Owner | None]] = OrderedDict()  # None while it is searched for
        self._waiting: Final[deque[FlowLife]] = deque(maxlen=WAITING)  # the newest last
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._room: Final = asyncio.Semaphore(AT_ONCE)
        self._found: Final[dict[int, int]] = {}  # of those, when, the last one last

    def owner(self, life: FlowLife) -> Owner | None:
        """Return the owner of a flow as far as it is known."""
        trace = trace_of(life.info)
        lookup = trace.facts.lookup if trace is not None else None
        if isinstance(lookup, FlowLookup) and lookup.found is not None:
            return lookup.found
        return self._known.get(int(life.number))

    async def find(self, life: FlowLife) -> Owner | None:
        """Return the owner of a flow, searched for where it is not over; None where nobody can say."""
        known = self.owner(life)
        if known is not None or self._source is None or life.ended_at >= 0:
            return known
        return await self._search(self._source, life)

    def is_searching(self, life: FlowLife) -> bool:
        """Tell whether a flow's owner is being searched for, or will be."""
        number = int(life.number)
        return number in self._known and self._known[number] is None

    def search(self, lives: Iterable[FlowLife], count: int) -> None:
        """Search for owners of these flows too, where nobody has; count is how many flows are open.

        Of those that were known first, more than that are forgotten.
        """
        if self._source is None:
            return
        self._waiting.extend(life for life in lives if int(life.number) not in self._known)
        while self._waiting and len(self._tasks) < MOST:
            life = self._waiting.pop()
            number = int(life.number)
            if number in self._known or life.ended_at >= 0 or self.owner(life) is not None:
                continue
            self._known[number] = None
            task = asyncio.get_running_loop().create_task(self._find(life), name=f"owner of flow {number}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        while len(self._known) > count + SPARE:
            number, _ = self._known.popitem(last=False)
            self._found.pop(number, None)

    def found_since(self, since: Micros) -> set[int]:
        """Return the flows whose owners were found at since or after: everybody who looks on is told."""
        return set(takewhile(lambda number: self._found[number] >= since, reversed(self._found)))

    def close(self) -> None:
        """Search no more."""
        for task in self._tasks:
            task.cancel()

    async def _find(self, life: FlowLife) -> None:
        assert self._source is not None
        async with self._room:
            owner = await self._search(self._source, life)
        number = int(life.number)
        if number in self._known:
            self._known[number] = owner
            self._found[number] = int(clock.now())

    async def _search(self, source: ProcessSource, life: FlowLife) -> Owner:
        info = life.info
        return await source.search(
            info.protocol, info.client, int(info.client_port), info.target, int(info.target_port)
        )
