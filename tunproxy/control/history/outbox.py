"""A worker's flows that are over, until somebody who records them has them.

Nobody who records: nothing is kept here, and the packet path does not know of us. Else a flow that ends costs
it one entry in a list. What is asked for is put into words aside, in short turns with the packet path.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Final  # Any: a document, as JSON has it

from tunproxy import clock
from tunproxy.control.helm.owner_search import OwnerSearch
from tunproxy.control.history.entry import entry_of
from tunproxy.control.letters import About, aside
from tunproxy.decide.recent import RecentFlows
from tunproxy.flow.life import FlowLife
from tunproxy.flow.ports import FlowWatcher

# our choices
MOST_KEPT: Final = 8192  # flows that wait to be recorded; what is more is counted
MOST_TOLD: Final = 500  # in one answer
MOST_REASONS: Final = 100  # why-records a second, 0.2 ms each; more flows are recorded without one
LOOK_SECONDS: Final = 0.2  # after so long a flow is worth finding out whose it is
FORGET_SECONDS: Final = 30.0  # without a question nobody records any more

Document = dict[str, Any]


class Outbox(FlowWatcher):
    """Has flows that ended, since somebody has asked for the first time. For the loop only."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        recent: RecentFlows,
        lives: Sequence[Callable[[], list[FlowLife]]],
        owners: OwnerSearch,
    ) -> None:
        super().__init__()
        self._loop: Final = loop
        self._recent: Final = recent
        self._lives: Final = tuple(lives)
        self._owners: Final = owners
        self._run: Final = os.urandom(6).hex()
        self._over: list[FlowLife] = []
        self._new: list[FlowLife] = []
        self._missed = 0
        self._batch: list[Document] = []  # told, and not yet acknowledged
        self._sequence = 0
        self._batch_missed = 0
        self._asked_at = 0.0
        self._refilled_at = -1.0
        self._reasons = 0
        self._timer: asyncio.TimerHandle | None = None

    # what the packet path tells

    def opened(self, life: FlowLife) -> None:
        if len(self._new) < MOST_TOLD:
            self._new.append(life)

    def closed(self, life: FlowLife) -> None:
        if len(self._over) < MOST_KEPT:
            self._over.append(life)
        else:
            self._missed += 1

    # what whoever records asks

    async def take(self, about: About) -> Document:
        """Return entries of flows that are over, the oldest first, each once if all goes well.

        got says which answer has arrived, by its sequence and run; another one than the last is told again.
        missed is how many flows were not kept, since the last answer that arrived; is_more that there are
        some left. With whole, the first answer has flows that ended before it, too; with last, flows that
        are open count as over. With stop, nobody records any more.
        """
        if about.get("stop"):
            self.close()
            return {
                "run": self._run,
                "sequence": self._sequence,
                "entries": [],
                "missed": 0,
                "is_more": False,
            }
        self._begin(is_whole=bool(about.get("whole")))
        if about.get("got") == self._sequence and about.get("run") == self._run:
            self._batch = []
        if not self._batch:
            flows, self._over = self._over[:MOST_TOLD], self._over[MOST_TOLD:]
            if about.get("last") and not self._over:
                flows += [life for lives in self._lives for life in lives() if life.ended_at < 0]
            missed, self._missed = self._missed, 0
            self._batch = await aside(self._words, flows) if flows else []
            self._sequence += 1
            self._batch_missed = missed
        return {
            "run": self._run,
            "sequence": self._sequence,
            "entries": self._batch,
            "missed": self._batch_missed,
            "is_more": bool(self._over),
        }

    def close(self) -> None:
        """Keep nothing any more."""
        self._recent.outlet = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._over, self._new, self._batch, self._missed = [], [], [], 0

    def _begin(self, *, is_whole: bool) -> None:
        self._asked_at = time.monotonic()
        if self._timer is None:
            if is_whole and not self._sequence:
                self._over = self._recent.latest()[::-1]
            self._recent.outlet = self
            self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """Find out whose the flows are that have begun: later nobody can."""
        if time.monotonic() - self._asked_at > FORGET_SECONDS:
            self.close()
            return
        new, self._new = self._new, []
        if new:
            self._owners.search(new, MOST_KEPT)
        self._timer = self._loop.call_later(LOOK_SECONDS, self._look)

    def _take_reasons(self, wanted: int) -> int:
        """Return for how many flows there is the time to say why."""
        now = time.monotonic()
        if now - self._refilled_at >= 1.0:
            self._refilled_at, self._reasons = now, MOST_REASONS
        taken = min(wanted, self._reasons)
        self._reasons -= taken
        return taken

    def _words(self, flows: Sequence[FlowLife]) -> list[Document]:
        now = int(clock.now())
        wall = time.time() - now / 1e6
        reasons = self._take_reasons(len(flows))
        return [
            entry_of(life, now, wall, self._owners.owner(life), reasons=at < reasons)
            for at, life in enumerate(flows)
        ]
