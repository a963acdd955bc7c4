"""Passes on to the plugins what the packet path tells of flows: as records, and as copies of octets."""

import time
from typing import Final

from tunproxy import clock
from tunproxy.decide.trace import trace_of
from tunproxy.flow.life import FlowLife
from tunproxy.flow.ports import FlowWatcher
from tunproxy.flow.verdict import KIND_NAMES, FlowInfo, Verdict
from tunproxy.plugin.events import FlowEvents, Later
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.observing import Observers, StreamTap
from tunproxy.plugin.records import FlowClosed, FlowOpened


class Telling(FlowWatcher):
    """What the plugins of one generation hear and see. has_any: whether any of them wants to."""

    def __init__(self, plugins: Plugins, later: Later) -> None:
        super().__init__()
        self.events: Final = FlowEvents(plugins, later)
        self._observers: Final = Observers(plugins, later)
        self.has_any: Final = self.events.has_any or self._observers.has_any

    def opened(self, life: FlowLife) -> None:
        if self.events.has_any:
            verdict = verdict_of(life)
            kind = KIND_NAMES[verdict.kind]
            at = wall_time(life.opened_at)
            self.events.opened(FlowOpened(life.number, life.info, verdict.upstream, kind, verdict.why, at))

    def closed(self, life: FlowLife) -> None:
        if self.events.has_any:
            began = life.opened_at if life.opened_at >= 0 else life.began_at
            lasted = int(life.ended_at - began) / 1e6
            record = FlowClosed(
                life.number,
                life.info,
                verdict_of(life).upstream,
                wall_time(life.ended_at),
                lasted,
                life.up,
                life.down,
                life.reason,
            )
            self.events.closed(record)

    def tap(self, info: FlowInfo) -> StreamTap | None:
        # copies of datagrams are not offered
        return self._observers.tap(info) if self._observers.has_any and info.protocol == "tcp" else None

    async def drain(self) -> None:
        """Return when the plugins have been told everything so far."""
        self._observers.flush()
        await self.events.drain()


def verdict_of(life: FlowLife) -> Verdict:
    """Return where a flow goes, also where that had to be awaited."""
    trace = trace_of(life.info)
    return trace.verdict if trace is not None and trace.verdict is not None else life.verdict


def wall_time(at: clock.Micros) -> float:
    """Return a time of the packet path's clock in seconds since 1970."""
    return time.time() - int(clock.now() - at) / 1e6
