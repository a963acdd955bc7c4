"""The flows as ``tunproxy top`` knows them: what the stream has told, with rates of it.

A rate is of the time between two looks. Flows that are over stay a few seconds, so that one sees how they
ended; what they have carried stays in ``before``, by process, rule and upstream.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final  # Any: a document, as JSON has it

from tunproxy.cli.flows_text import target_text
from tunproxy.cli.status_text import printable
from tunproxy.control.flow_filter import FlowFilter

# our choices
LINGER: Final = 5.0  # seconds that a flow is shown after its end
MOST_OVER: Final = 200  # flows that are over and shown, the last ones
KEPT: Final = 240  # rates of all flows that are drawn
KEPT_OF_FLOW: Final = 32
MOST_BEFORE: Final = 2000  # different owners, rules and ways of flows that are over

NOBODY: Final = "?"  # whose a flow is of which nobody knows whose it is

Owner = tuple[str, str, str]  # process, rule and upstream


class Flow:
    """One flow. up and down are octets, rates octets a second; ended is -1 while it lives."""

    __slots__ = (
        "_judged", "began", "down", "ended", "id", "number", "past", "process", "rate_down", "rate_up",
        "reason", "row", "rule", "seconds", "state", "target", "up", "upstream",
    )  # fmt: skip

    def __init__(self, number: int) -> None:
        self.number: Final = number
        self.id = ""
        self.up = self.down = 0
        self.rate_up = self.rate_down = 0.0
        self.past: list[tuple[int, float]] = []  # look, and octets a second both ways
        self.began = 0.0
        self.seconds = 0.0
        self.ended = -1.0
        self.state = self.reason = self.target = self.process = self.rule = self.upstream = ""
        self.row: Mapping[str, Any] = {}
        self._judged: tuple[FlowFilter, bool] | None = None

    @property
    def is_over(self) -> bool:
        return self.ended >= 0

    @property
    def owner(self) -> Owner:
        return self.process, self.rule, self.upstream

    def describe(self, row: Mapping[str, Any]) -> None:
        """Take what a row says, octets apart."""
        self.id = str(row["id"])
        self.state, self.reason = str(row["state"]), printable(str(row["reason"] or ""))
        self.target = printable(target_text(row))
        self.process = printable(str(row["process"] or "")) or NOBODY
        self.rule = printable(str(row["rule"] or row["why"]))
        self.upstream = printable(str(row["chain"]))
        self.began, self.seconds = float(row["began"]), float(row["seconds"])
        self.row = row
        self._judged = None

    def fits(self, filter: FlowFilter) -> bool:
        """Tell whether a filter lets it through; who asks again and again is answered from memory."""
        if self._judged is None or self._judged[0] is not filter:
            self._judged = filter, filter.fits(self.row)
        return self._judged[1]

    def rates(self, look: int, count: int) -> list[float]:
        """Return the octets a second of the last looks, the last one look itself."""
        found = [0.0] * count
        for at, octets in self.past:
            if 0 <= look - at < count:
                found[count - 1 - (look - at)] = octets
        return found


class LiveFlows:
    """What there is to show. up and down are the rates of all flows together, the newest last."""

    def __init__(self) -> None:
        self.begun = 0  # flows that began while we looked
        self.look = 0  # its number
        self.up: Final[deque[float]] = deque(maxlen=KEPT)
        self.down: Final[deque[float]] = deque(maxlen=KEPT)
        self.before: Final[dict[Owner, list[int]]] = {}  # what is over: how many, octets up and down
        self._open: Final[dict[int, Flow]] = {}
        self._over: Final[deque[Flow]] = deque(maxlen=MOST_OVER)
        self._moving: Final[set[Flow]] = set()
        self._at = -math.inf
        self._passed = 0.0  # seconds between this look and the last
        self._sum_up = self._sum_down = 0

    @property
    def open(self) -> int:
        """How many are not over."""
        return len(self._open)

    @property
    def passed(self) -> float:
        """How many seconds there were between the last two looks."""
        return self._passed

    def flows(self) -> Iterable[Flow]:
        """Return all that are shown, the newest first; those that are over last."""
        return [*reversed(self._open.values()), *reversed(self._over)]

    def find(self, number: int) -> Flow | None:
        """Return the flow of that number, None where it is not shown."""
        flow = self._open.get(number)
        return flow or next((each for each in self._over if each.number == number), None)

    def take(self, told: Mapping[str, Any]) -> bool:
        """Take an object of ``GET /flows/watch``; return whether the look is complete.

        Raises KeyError, TypeError or ValueError where it is none.
        """
        self._begin(float(told["seconds"]))
        for row in told["rows"]:
            self._take_row(row)
        for number, up, down in told["octets"]:
            flow = self._open.get(number)
            if flow is not None:
                self._carry(flow, up, down)
        for number in told["gone"]:
            flow = self._open.pop(number, None)
            if flow is not None:
                self._end(flow)
        if told["has_more"]:
            return False
        self._complete()
        return True

    def forget(self) -> None:
        """Forget the flows: another tunproxy has others. What was drawn, and carried before, stays."""
        for flow in self._open.values():
            self._note(flow)
        self._open.clear()
        self._over.clear()
        self._moving.clear()
        self._at = -math.inf

    def _begin(self, seconds: float) -> None:
        if seconds == self._at:
            return
        self._passed = seconds - self._at if math.isfinite(self._at) else 0.0
        self._at = seconds
        for flow in self._moving:
            flow.rate_up = flow.rate_down = 0.0
        self._moving.clear()
        self._sum_up = self._sum_down = 0
        while self._over and seconds - self._over[0].ended > LINGER:
            self._over.popleft()

    def _take_row(self, row: Mapping[str, Any]) -> None:
        number = int(row["number"])
        flow = self._open.get(number)
        if flow is None:
            flow = Flow(number)
            self._open[number] = flow
            self.begun += self._passed > 0
        flow.describe(row)
        self._carry(flow, int(row["octets_up"]), int(row["octets_down"]))
        if flow.state == "closed":
            del self._open[number]
            self._end(flow)

    def _carry(self, flow: Flow, up: int, down: int) -> None:
        more_up, more_down = max(up - flow.up, 0), max(down - flow.down, 0)
        flow.up, flow.down = up, down
        if self._passed <= 0 or not (more_up or more_down):
            return
        flow.rate_up += more_up / self._passed
        flow.rate_down += more_down / self._passed
        self._sum_up += more_up
        self._sum_down += more_down
        self._moving.add(flow)

    def _end(self, flow: Flow) -> None:
        flow.ended = self._at
        flow.state = "closed"
        self._over.append(flow)
        self._note(flow)

    def _note(self, flow: Flow) -> None:
        """Note what a flow has carried that is over."""
        owner = flow.owner
        if owner not in self.before and len(self.before) >= MOST_BEFORE:
            del self.before[next(iter(self.before))]
        noted = self.before.setdefault(owner, [0, 0, 0])
        noted[0] += 1
        noted[1] += flow.up
        noted[2] += flow.down

    def _complete(self) -> None:
        self.look += 1
        for flow in self._moving:
            flow.past.append((self.look, flow.rate_up + flow.rate_down))
            del flow.past[:-KEPT_OF_FLOW]
        if self._passed > 0:
            self.up.append(self._sum_up / self._passed)
            self.down.append(self._sum_down / self._passed)
