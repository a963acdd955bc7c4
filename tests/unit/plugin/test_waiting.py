"""A flow that waits for a plugin ends the way that the plugin says."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

from tests.unit.decide.world import World, flow
from tests.unit.plugin.test_stage import FLOW, UPSTREAMS
from tunproxy.flow.static_decider import StaticDecider
from tunproxy.flow.verdict import DROP, OPEN, REJECT, FlowInfo, Verdict
from tunproxy.plugin.hook import Hook
from tunproxy.plugin.ledger import Budgets, Ledger
from tunproxy.plugin.stage import PluginStage
from tunproxy.plugin.waiting import Waiting
from tunproxy.testkit.network import SimulatedNetwork
from tunproxy.testkit.script import Script
from tunproxy.testkit.virtual import VirtualLoop
from tunproxy.upstream.base import Dialer, DialUpstream, OpenError, OpenUpstream

UDP = FlowInfo("udp", FLOW.client, FLOW.client_port, FLOW.target, FLOW.target_port)
PING = FlowInfo("icmp", FLOW.client, 0, FLOW.target, 0)
LOOPBACK = FlowInfo("tcp", FLOW.client, FLOW.client_port, bytes([127, 0, 0, 1]), 80)


class Tunnel(OpenUpstream):
    """Opens by way of 192.0.2.9."""

    async def open(self, info: FlowInfo, dialer: Dialer) -> socket.socket:
        return await dialer.connect("192.0.2.9", 1)


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    made = VirtualLoop()
    yield made
    made.close()


def hook(name: str, answer: object, seconds: float = 1.0) -> Hook:
    async def decide(info: FlowInfo) -> object:
        await asyncio.sleep(seconds)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return Hook(name, decide, ("info",), "decide_flow")


def sync(name: str, answer: object) -> Hook:
    return Hook(name, lambda: answer, (), "decide_flow")


def network() -> SimulatedNetwork:
    made = SimulatedNetwork()
    for place in ("192.0.2.7:80", "192.0.2.8:8080", "192.0.2.9:1"):
        made.serve(place, Script())
    return made


def dialled(loop: VirtualLoop, stage: PluginStage, info: FlowInfo = FLOW) -> list[str]:
    """Return where the flow went; raises what its opening raises."""
    verdict = stage.decide(info)
    assert verdict is not None
    assert verdict.kind == OPEN
    assert isinstance(verdict.opener, OpenUpstream)
    net = network()
    try:
        opened = loop.run(verdict.opener.open(info, net))
        assert isinstance(opened, socket.socket)
        opened.close()
    finally:
        loop.run(net.close())
    return net.dialled


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        (UPSTREAMS["direct"].verdict_for(FLOW), "192.0.2.7:80"),
        (DialUpstream("other", "192.0.2.8", 8080).verdict_for(FLOW), "192.0.2.8:8080"),
        (Tunnel("tunnel").verdict_for(FLOW), "192.0.2.9:1"),
    ],
)
def test_waiting_flow_goes_where_the_coroutine_says(loop: VirtualLoop, answer: Verdict, place: str) -> None:
    assert dialled(loop, PluginStage([hook("slow", answer)], UPSTREAMS)) == [place]
    assert loop.clock.now == 1.0


@pytest.mark.parametrize(("kind", "error"), [(REJECT, ConnectionRefusedError), (DROP, TimeoutError)])
def test_waiting_flow_may_be_refused(loop: VirtualLoop, kind: int, error: type[OSError]) -> None:
    stage = PluginStage([hook("slow", Verdict(kind, "no", why="closed"))], UPSTREAMS)
    with pytest.raises(error, match="closed") as raised:
        dialled(loop, stage)
    assert raised.value.errno


def test_waiting_flow_to_the_hosts_loopback_is_not_dialled(loop: VirtualLoop) -> None:
    stage = PluginStage([hook("slow", UPSTREAMS["direct"].verdict_for(FLOW))], UPSTREAMS)
    with pytest.raises(OpenError, match="no address that a flow may go to"):
        dialled(loop, stage, LOOPBACK)


@pytest.mark.parametrize("answer", [None, RuntimeError("broken"), "direct"])
def test_waiting_for_nothing_goes_on_with_those_who_come_after(loop: VirtualLoop, answer: object) -> None:
    other = DialUpstream("other", "192.0.2.8", 8080).verdict_for(FLOW)
    stage = PluginStage([hook("slow", answer), sync("silent", None), sync("firm", other)], UPSTREAMS)
    assert dialled(loop, stage) == ["192.0.2.8:8080"]
    assert sum(stage.faults().values()) == (answer is not None)


def test_waiting_for_a_second_coroutine_costs_no_second_upstream(loop: VirtualLoop) -> None:
    stage = PluginStage([hook("a", None), hook("b", Tunnel("t").verdict_for(FLOW))], UPSTREAMS)
    assert dialled(loop, stage) == ["192.0.2.9:1"]
    assert loop.clock.now == 2.0


def test_waiting_with_no_opinion_in_the_end_is_for_the_rest(loop: VirtualLoop) -> None:
    rest = StaticDecider(DialUpstream("other", "192.0.2.8", 8080).verdict_for(FLOW))
    assert dialled(loop, PluginStage([hook("slow", None)], UPSTREAMS, rest=rest)) == ["192.0.2.8:8080"]
    assert dialled(loop, PluginStage([hook("slow", None)], UPSTREAMS)) == ["192.0.2.7:80"]
    with pytest.raises(ConnectionRefusedError, match="nobody decided"):
        dialled(loop, PluginStage([hook("slow", None)], {}))


def test_waiting_too_long_is_a_fault_and_the_flow_goes_on(loop: VirtualLoop) -> None:
    ledger = Ledger(Budgets(wait=5.0), clock=loop.clock)
    stage = PluginStage([hook("stuck", None, seconds=60)], UPSTREAMS, ledger)
    assert dialled(loop, stage) == ["192.0.2.7:80"]
    assert loop.clock.now == 5.0
    assert stage.faults() == {"stuck": 1}


def test_stage_does_not_wait_for_pings_or_before_a_firm_answer() -> None:
    firm = Verdict(REJECT, "no")
    assert PluginStage([hook("slow", firm)], UPSTREAMS).decide(PING) is None
    assert PluginStage([sync("firm", firm), hook("slow", None)], UPSTREAMS).decide(FLOW) is firm


def test_datagrams_wait_as_well(loop: VirtualLoop) -> None:
    firm = Verdict(REJECT, "no")
    verdict = PluginStage([hook("slow", firm)], UPSTREAMS).decide(UDP)
    assert verdict is not None
    assert isinstance(verdict.opener, Waiting)
    settled = loop.run_until_complete(verdict.opener.settled(UDP))
    assert settled is firm
    with pytest.raises(ConnectionRefusedError):
        verdict.opener.directed(UDP, settled)


def test_stage_waits_under_the_plugins_name() -> None:
    verdict = PluginStage([hook("slow", None)], UPSTREAMS).decide(FLOW)
    assert verdict is not None
    assert verdict.upstream == "plugin slow"
    assert isinstance(verdict.opener, Waiting)


def test_record_tells_why_a_coroutine_has_no_answer(loop: VirtualLoop) -> None:
    """Also that it was not asked: it is suspended."""
    ledger = Ledger(clock=loop.clock)
    stage = PluginStage([hook("a", RuntimeError("broken")), sync("b", None)], UPSTREAMS, ledger)

    def said() -> list[object]:
        info = flow()
        found = World().ruling.trace(info)
        if stage.decide(info) is not None:
            loop.run(stage.wait(info, 0))
        return [answer for _, _, answer in found.asked]

    assert said() == ["failed: RuntimeError: broken", None]
    while ledger.may_ask("a"):
        said()
    assert said() == ["suspended for its faults", None]


@pytest.mark.parametrize("answer", [UPSTREAMS["direct"].verdict_for(FLOW), None])
def test_whoever_explains_a_flow_gets_what_the_coroutine_answers(
    loop: VirtualLoop, answer: Verdict | None
) -> None:
    stage = PluginStage([hook("slow", answer), sync("silent", None)], UPSTREAMS)
    verdict = stage.decide(FLOW)
    assert verdict is not None
    assert loop.run(stage.settled(FLOW, verdict)) is answer


def test_verdict_that_waits_for_nobody_is_settled(loop: VirtualLoop) -> None:
    verdict = UPSTREAMS["direct"].verdict_for(FLOW)
    assert loop.run(PluginStage([sync("firm", verdict)], UPSTREAMS).settled(FLOW, verdict)) is verdict
