"""Plugins hear of flows as records, and see octets of TCP flows only."""

import time
from collections.abc import Callable

from tests.unit.plugin.test_manager import plugin
from tests.unit.plugin.test_observing import Notes
from tunproxy import clock
from tunproxy.flow.life import FlowLife
from tunproxy.flow.verdict import CONVERSE, FlowInfo, Verdict
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.records import FlowClosed, FlowOpened
from tunproxy.plugin.telling import Telling

INFO = FlowInfo("tcp", bytes(4), 1, bytes([192, 0, 2, 1]), 443)
UDP = FlowInfo("udp", bytes(4), 1, bytes([192, 0, 2, 1]), 443)


def life() -> FlowLife:
    """Return a flow that opened two seconds ago, half a second after it began."""
    now = clock.now()
    made = FlowLife(7, INFO, Verdict(CONVERSE, "work", "192.0.2.9", 1080, why="rule 3"), now - 2_500_000)
    made.opened_at = now - 2_000_000
    return made


class Office:
    """Plugins with some hooks, and what they were told when it was time."""

    def __init__(self, **hooks: Callable[..., object]) -> None:
        self.plugins = Plugins()
        assert self.plugins.register(plugin(**hooks), "mine")
        self.calls: list[Callable[[], None]] = []
        self.telling = Telling(self.plugins, lambda seconds, function: self.calls.append(function))

    def wait(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


def test_records_say_when_where_and_how() -> None:
    opened: list[FlowOpened] = []
    closed: list[FlowClosed] = []
    office = Office(
        flow_opened=lambda flows: opened.extend(flows), flow_closed=lambda flows: closed.extend(flows)
    )
    before = time.time()
    flow = life()
    office.telling.opened(flow)
    flow.up, flow.down, flow.reason, flow.ended_at = 10, 20, "reset by client", flow.opened_at + 1_500_000
    office.telling.closed(flow)
    assert (opened, closed) == ([], [])
    office.wait()
    (first,), (last,) = opened, closed
    assert (first.number, first.info, first.upstream, first.verdict, first.why) == (
        7, INFO, "work", "converse", "rule 3",
    )  # fmt: skip
    assert before - 2.1 < first.at < time.time() - 1.9
    assert (last.number, last.upstream, last.lasted, last.up, last.down, last.reason) == (
        7, "work", 1.5, 10, 20, "reset by client",
    )  # fmt: skip
    assert abs(last.at - first.at - 1.5) < 0.1


def test_flow_that_never_opened_lasted_as_long_as_it_was_tried() -> None:
    closed: list[FlowClosed] = []
    office = Office(flow_closed=lambda flows: closed.extend(flows))
    flow = life()
    flow.opened_at = -1
    flow.ended_at = flow.began_at + 250_000
    office.telling.closed(flow)
    office.wait()
    assert [each.lasted for each in closed] == [0.25]


def test_tap_is_for_streams_only() -> None:
    notes = Notes(4, 4)
    office = Office(observe_flow=lambda: notes)
    tap = office.telling.tap(INFO)
    assert tap is not None
    assert (tap.up_left, tap.down_left) == (4, 4)
    assert office.telling.tap(UDP) is None
    assert office.telling.has_any


def test_plugins_that_want_nothing_are_told_nothing() -> None:
    office = Office(decide_flow=lambda: None)
    assert not office.telling.has_any
    office.telling.opened(life())
    assert office.telling.tap(INFO) is None
    assert office.calls == []
