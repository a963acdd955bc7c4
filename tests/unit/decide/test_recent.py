"""The flows that ended last."""

from tests.unit.decide.world import World, flow
from tunproxy.decide.recent import RecentFlows
from tunproxy.flow.life import FlowLife
from tunproxy.flow.ports import FlowWatcher
from tunproxy.flow.tap import Tap
from tunproxy.flow.verdict import DIAL, FlowInfo, Verdict


def life(number: int, info: FlowInfo | None = None) -> FlowLife:
    return FlowLife(number, info or flow(), Verdict(DIAL, "direct"), 0)


def kept(recent: RecentFlows) -> list[int]:
    return [each.number for each in recent.latest()]


def test_the_oldest_make_room() -> None:
    recent = RecentFlows(3)
    for number in range(1, 6):
        recent.closed(life(number))
    assert kept(recent) == [5, 4, 3]
    assert len(recent) == 3
    assert recent.find(2) is None
    found = recent.find(4)
    assert found is not None
    assert found.number == 4


def test_few_flows_are_all_there() -> None:
    recent = RecentFlows(3)
    assert recent.latest() == []
    recent.closed(life(1))
    recent.closed(life(2))
    assert (kept(recent), len(recent)) == ([2, 1], 2)


def test_flows_of_old_rules_are_let_go_of_and_others_stay_in_order() -> None:
    world = World("MATCH,work")
    old = flow()
    world.decider.decide(old)
    recent = RecentFlows(3)
    for number, info in ((1, flow()), (2, old), (3, flow()), (4, old), (5, flow())):
        recent.closed(life(number, info))
    recent.forget_before(world.ruling.generation)
    assert kept(recent) == [5, 4, 3]
    recent.forget_before(world.ruling.generation + 1)
    assert kept(recent) == [5, 3]
    for number in (6, 7):
        recent.closed(life(number))
    assert kept(recent) == [7, 6, 5]


class Audience(FlowWatcher):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[tuple[str, int]] = []
        self.mine = Tap()

    def opened(self, life: FlowLife) -> None:
        self.heard.append(("opened", life.number))

    def closed(self, life: FlowLife) -> None:
        self.heard.append(("closed", life.number))

    def tap(self, info: FlowInfo) -> Tap | None:
        return self.mine


def test_audience_hears_of_flows_and_may_tap_them() -> None:
    recent = RecentFlows(3)
    recent.opened(life(1))
    assert recent.tap(flow()) is None
    recent.audience = audience = Audience()
    recent.opened(life(2))
    recent.closed(life(2))
    assert audience.heard == [("opened", 2), ("closed", 2)]
    assert recent.tap(flow()) is audience.mine
    assert kept(recent) == [2]


def test_octets_of_a_flow_are_counted_for_the_rules_that_would_have_decided_it() -> None:
    world = World("MATCH,REJECT,observe")
    info = flow()
    one = FlowLife(1, info, world.decider.decide(info), 0)
    one.up, one.down = 3, 40
    recent = RecentFlows(3)
    recent.closed(one)
    assert world.ruling.hits.octets == {}  # nobody has said that rules observe
    recent.observes = True
    recent.closed(one)
    recent.closed(life(2))
    assert world.ruling.hits.octets == {0: 43}


def test_outlet_is_told_of_flows_besides_the_audience() -> None:
    class Ear(FlowWatcher):
        def __init__(self) -> None:
            super().__init__()
            self.heard: list[tuple[str, int]] = []

        def opened(self, life: FlowLife) -> None:
            self.heard.append(("opened", life.number))

        def closed(self, life: FlowLife) -> None:
            self.heard.append(("closed", life.number))

    recent = RecentFlows(3)
    recent.audience, recent.outlet = Ear(), Ear()
    recent.opened(life(1))
    recent.closed(life(1))
    assert recent.outlet.heard == recent.audience.heard == [("opened", 1), ("closed", 1)]
