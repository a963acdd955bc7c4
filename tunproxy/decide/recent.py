"""The flows that ended last, so that one may still ask why they went where they went.

A flow that ends costs one place in a ring: what is kept of it is its life, as the packet path has it.
Nothing is put into words.
"""

from typing import Final, final

from mypy_extensions import i64, mypyc_attr

from tunproxy.decide.trace import Trace
from tunproxy.flow.life import FlowLife
from tunproxy.flow.ports import FlowWatcher
from tunproxy.flow.tap import Tap
from tunproxy.flow.verdict import FlowInfo

# our choice: 1 MB where rules decide, a quarter of that where none do; longer ago nobody remembers, either
MAX_KEPT: Final = 1024


@final
@mypyc_attr(native_class=True)
class RecentFlows(FlowWatcher):
    """Keeps the flows that ended last, at most size. audience is told of all flows, too, and may tap them."""

    def __init__(self, size: int = MAX_KEPT) -> None:
        super().__init__()
        self.audience: FlowWatcher | None = None
        self.outlet: FlowWatcher | None = None  # is told as well, before the audience
        self.observes = False  # there are rules that count the octets of flows that are over
        self._ring: list[FlowLife | None] = [None] * size
        self._size: i64 = size
        self._next: i64 = 0
        self._count: i64 = 0

    def __len__(self) -> int:
        return int(self._count)

    def opened(self, life: FlowLife) -> None:
        if self.outlet is not None:
            self.outlet.opened(life)
        if self.audience is not None:
            self.audience.opened(life)

    def closed(self, life: FlowLife) -> None:
        """Keep a flow; the one that ended first makes room."""
        at = self._next
        self._ring[at] = life
        at += 1
        self._next = 0 if at == self._size else at
        if self._count < self._size:
            self._count += 1
        if self.observes:
            _count_octets(life)
        if self.outlet is not None:
            self.outlet.closed(life)
        if self.audience is not None:
            self.audience.closed(life)

    def tap(self, info: FlowInfo) -> Tap | None:
        return self.audience.tap(info) if self.audience is not None else None

    def find(self, number: i64) -> FlowLife | None:
        """Return the flow of that number; None where it is not kept."""
        for life in self._ring:
            if life is not None and life.number == number:
                return life
        return None

    def latest(self) -> list[FlowLife]:
        """Return all, the one that ended last first."""
        found = []
        at = self._next
        for _ in range(int(self._count)):
            at = (self._size if at == 0 else at) - 1
            life = self._ring[at]
            if life is not None:
                found.append(life)
        return found

    def forget_before(self, generation: int) -> None:
        """Let go of flows that older rules decided, and so of the rules; the others stay."""
        kept = [life for life in self.latest() if not _is_older(life, generation)]
        self._ring = [None] * int(self._size)
        self._next = 0
        self._count = 0
        for life in reversed(kept):
            self._ring[self._next] = life
            self._next = 0 if self._next + 1 == self._size else self._next + 1
            self._count += 1


def _count_octets(life: FlowLife) -> None:
    """Tell the rules that would have decided a flow what it has carried."""
    trace = life.info.trace
    if isinstance(trace, Trace) and trace.observed is not None:
        trace.ruling.hits.note_octets(trace.observed, life.up + life.down)


def _is_older(life: FlowLife, generation: int) -> bool:
    trace = life.info.trace
    return isinstance(trace, Trace) and trace.ruling.generation < generation
