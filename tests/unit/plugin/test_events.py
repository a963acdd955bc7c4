"""Plugins hear of flows in batches, later, and nobody waits for them."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from tests.unit.plugin.test_manager import plugin
from tests.unit.plugin.test_stage import FLOW
from tunproxy.plugin import events
from tunproxy.plugin.events import BATCH_SECONDS, MAX_KEPT, FlowEvents
from tunproxy.plugin.ledger import Ledger
from tunproxy.plugin.manager import Plugins
from tunproxy.plugin.records import FlowClosed, FlowOpened
from tunproxy.testkit.virtual import VirtualLoop


def opened(number: int) -> FlowOpened:
    return FlowOpened(number, FLOW, "direct", "dial", "default", 1e9)


def closed(number: int) -> FlowClosed:
    return FlowClosed(number, FLOW, "direct", 1e9, 1.5, 10, 20, "closed")


class Office:
    """Plugins that are told, on a virtual loop."""

    def __init__(self, **hooks: Callable[..., object]) -> None:
        self.loop = VirtualLoop()
        self.plugins = Plugins(ledger=Ledger(clock=self.loop.clock))
        self.heard: list[tuple[str, list[int]]] = []
        for name, function in hooks.items():
            assert self.plugins.register(plugin(**{name.partition("__")[0]: function}), name)
        self.events = FlowEvents(self.plugins, self.loop.call_later)

    def hears(self, what: str, flows: Sequence[FlowOpened | FlowClosed]) -> None:
        self.heard.append((what, [flow.number for flow in flows]))

    def after(self, seconds: float) -> None:
        self.loop.run(asyncio.sleep(seconds))


def test_flows_come_in_batches_and_openings_first() -> None:
    office = Office()
    both = plugin(
        flow_opened=lambda flows: office.hears("opened", flows),
        flow_closed=lambda flows: office.hears("closed", flows),
    )
    assert office.plugins.register(both, "both")
    told = FlowEvents(office.plugins, office.loop.call_later)
    told.closed(closed(1))
    told.opened(opened(2))
    told.opened(opened(3))
    assert office.heard == [], "never within the packet path"
    office.after(BATCH_SECONDS * 1.01)
    told.closed(closed(2))
    office.after(BATCH_SECONDS * 1.01)
    assert office.heard == [("opened", [2, 3]), ("closed", [1]), ("closed", [2])]
    office.loop.close()


def test_without_hooks_nobody_need_be_told() -> None:
    office = Office(decide_flow=lambda: None)
    assert not office.events.has_any
    office.events.opened(opened(1))
    office.loop.close()


def test_plugin_that_fails_loses_its_batch_and_nobody_elses() -> None:
    def fail(flows: Sequence[FlowOpened]) -> None:
        raise RuntimeError("disk full")

    office = Office(flow_opened__bad=fail, flow_opened__good=lambda flows: office.hears("good", flows))
    office.events.opened(opened(1))
    office.after(1)
    assert office.heard == [("good", [1])]
    assert office.plugins.ledger.faults() == {"flow_opened__bad": 1}
    office.loop.close()


def test_coroutine_gets_one_batch_at_a_time_and_misses_none() -> None:
    async def slowly(flows: Sequence[FlowOpened]) -> None:
        office.hears("begin", flows)
        await asyncio.sleep(1)
        office.hears("end", flows)

    office = Office(flow_opened=slowly)
    for number in range(1, 4):
        office.events.opened(opened(number))
        office.after(0.3)
    office.after(3)
    assert office.heard == [("begin", [1]), ("end", [1]), ("begin", [2, 3]), ("end", [2, 3])]
    office.loop.close()


def test_drain_waits_until_everything_is_told() -> None:
    async def slowly(flows: Sequence[FlowClosed]) -> None:
        await asyncio.sleep(1)
        office.hears("closed", flows)

    office = Office(flow_closed=slowly)
    office.events.closed(closed(1))
    office.loop.run(office.events.drain())
    assert office.heard == [("closed", [1])]
    office.loop.close()


def test_plugin_that_does_not_keep_up_loses_the_newest(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(events, "MAX_KEPT", 3)
    assert MAX_KEPT > 1000
    office = Office(flow_opened=lambda flows: office.hears("opened", flows))
    for number in range(5):
        office.events.opened(opened(number))
    office.after(1)
    assert office.heard == [("opened", [0, 1, 2])]
    assert office.events.lost == 2
    assert caplog.text.count("does not keep up") == 1
    office.loop.close()
