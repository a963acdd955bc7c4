"""What upstreams do that no upstream may do: told with the traceback once, and then how often.

Whoever wrote the upstream needs the traceback; a browser behind it would print it hundreds of times a second.
"""

import logging
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from tunproxy import clock
from tunproxy.logs.about import about

# our choices
QUIET: Final = 10_000_000  # µs in which the same fault is counted only
MAX_KEPT: Final = 64  # faults that are told apart; beyond, the oldest is forgotten and told anew

_log: Final = logging.getLogger(__name__)


class Faults:
    """Counts the faults of upstreams, and logs each: the same one of an upstream once in QUIET.

    Two faults are the same if one line of code raised the same kind of exception. Must be used by one thread.
    """

    def __init__(self) -> None:
        self.counts: Final[Counter[str]] = Counter()  # by upstream, also those that were not told
        self._told: Final[dict[_Key, _Told]] = {}

    def take(self, flow: object, upstream: str, error: BaseException, *, rule: str = "") -> None:
        """Count that an upstream has failed a flow with an exception that is its mistake; maybe tell so."""
        self.counts[upstream] += 1
        now = clock.now()
        key = upstream, type(error), _place(error.__traceback__)
        told = self._told.pop(key, None)
        if told is not None and now < told.quiet_until:
            self._told[key] = told
            told.since += 1
            return
        if len(self._told) >= MAX_KEPT:
            del self._told[next(iter(self._told))]
        self._told[key] = _Told(now + QUIET)
        more = told.since if told is not None else 0
        since = f", and was so {more} times since the last line" if more else ""
        fields = about(flow=flow, upstream=upstream, rule=rule)
        _log.error("%s: upstream %s is faulty%s", flow, upstream, since, exc_info=error, extra=fields)


@dataclass
class _Told:
    quiet_until: clock.Micros
    since: int = 0  # the same fault, which nobody was told of


_Key = tuple[str, type[BaseException], tuple[str, int]]


def _place(trace: TracebackType | None) -> tuple[str, int]:
    """Return file and line that raised."""
    place = "", 0
    while trace is not None:
        place = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next
    return place
