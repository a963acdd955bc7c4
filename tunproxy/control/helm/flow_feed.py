"""The flows of one worker, for those who look on all the time: what is new in words, the rest in numbers.

Whoever looks asks again and again, with the moment of the last answer. A flow that has begun, opened or ended
since is described; of all that are open there are three numbers. So that packets are not kept waiting, no
answer describes more than MOST flows: it says after which number the next one is to go on.
"""

import os
import time
from array import array
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Final  # Any: a document, as JSON has it

from tunproxy import clock
from tunproxy.control.flow_book import row_of
from tunproxy.control.helm.owner_search import OwnerSearch
from tunproxy.control.helm.rule_list import condition_of
from tunproxy.control.letters import About
from tunproxy.control.policy import RuleNames
from tunproxy.decide.recent import RecentFlows
from tunproxy.decide.trace import trace_of
from tunproxy.errors import ConfigError
from tunproxy.flow.life import FlowLife, begun_since, tallies

# our choice: descriptions of flows that are over, in one answer
MOST_OVER: Final = 500
MOST: Final = 500  # descriptions of open flows, 13 us each

Document = dict[str, Any]
End = Callable[[frozenset[int] | None], int]


class FlowFeed:
    """Knows live flows by lives, each a function that lists some, and recent ones; ends them with ends."""

    def __init__(
        self,
        lives: Sequence[Callable[[], list[FlowLife]]],
        ends: Sequence[End],
        recent: RecentFlows,
        owners: OwnerSearch,
    ) -> None:
        self._lives: Final = tuple(lives)
        self._ends: Final = tuple(ends)
        self._recent: Final = recent
        self._owners: Final = owners
        self._run: Final = os.urandom(6).hex()

    def news(self, about: About) -> Document:
        """Return what is new since about's moment, and the flows after its number; -1 for all, and for none.

        run is unlike that of any other worker; numbers are told apart by it. now and after are what to ask
        with the next time; rows are flows in words, and over those that have ended. Where after is -1, all
        that there is has been told, and tallies are of all open flows: number, octets up and octets down of
        each, in 64 bits, the low octet first, in hexadecimal. Octets are of payload.
        """
        since, after = about.get("since"), about.get("after", -1)
        if type(since) is not int or type(after) is not int:
            raise ConfigError("this is no moment")
        now = int(clock.now())
        alive = [life for lives in self._lives for life in lives()]
        new = begun_since(alive, since, after)
        self._owners.search(new, len(alive))
        found = self._owners.found_since(since) if since >= 0 else set()
        if found:
            known = {int(life.number) for life in new}
            new += [life for life in alive if int(life.number) in found and int(life.number) not in known]
        wall = time.time() - now / 1e6
        new.sort(key=_number)
        rows = [self._row(life, now, wall) for life in new[:MOST]]
        after = int(new[MOST - 1].number) if len(new) > MOST else -1
        if after >= 0:
            alive = []
        over = []
        if since >= 0:
            ended = (life for life in self._recent.latest() if life.ended_at > since)
            over = [self._row(life, now, wall) for life in islice(ended, MOST_OVER)]
        return {
            "run": self._run,
            "now": now,
            "after": after,
            "rows": rows,
            "over": over,
            "tallies": array("q", tallies(alive)).tobytes().hex(),
        }

    def end(self, about: About) -> Document:
        """End the flows that about numbers, all where it has no numbers; return how many it were.

        With a run that is not ours the numbers are another worker's.
        """
        numbers = about.get("numbers")
        if about.get("run", self._run) != self._run:
            return {"ended": 0}
        if numbers is not None and not isinstance(numbers, list):
            raise ConfigError("these are no flows")
        wanted = None if numbers is None else frozenset(each for each in numbers if type(each) is int)
        return {"ended": sum(end(wanted) for end in self._ends)}

    def _row(self, life: FlowLife, now: int, wall: float) -> Document:
        trace = trace_of(life.info)
        row = row_of(life, now)
        row["condition"] = None
        row["is_chosen"] = trace is not None and trace.chosen is not None  # by a plugin, or a mode
        if trace is not None and trace.chosen is None and trace.rule >= 0:
            naming = trace.ruling.naming
            if isinstance(naming, RuleNames):
                row["condition"] = condition_of(naming.rule(int(trace.rule)).condition)
        row["began"] = wall + int(life.began_at) / 1e6
        row["is_fake"] = trace is not None and trace.is_fake
        row["sniffed"] = trace is not None and life.info.name_from == "sniffed"
        owner = self._owners.owner(life)
        row["process"] = owner.name or "" if owner is not None else ""
        row["process_path"] = owner.path or "" if owner is not None else ""
        row["uid"] = owner.uid if owner is not None else -1
        return row


def _number(life: FlowLife) -> int:
    return int(life.number)
