"""Plugins, then rules, then the default; and flows that have to be asked first."""

import asyncio

from tests.unit.decide.test_trace import Program, Programs
from tests.unit.decide.world import Names, World, flow, named, trace
from tunproxy.decide.deciding import RulesAfterwards, Sniffer
from tunproxy.decide.settling import Settler
from tunproxy.decide.stage import Stage
from tunproxy.decide.trace import DECIDED, SNIFFING, WAITING, Trace, note_asked, note_chosen
from tunproxy.flow.verdict import DIAL, OPEN, SNIFF, FlowInfo, Verdict


class Saying(Stage):
    """Answers what a test says."""

    def __init__(self, verdict: Verdict | None) -> None:
        self.verdict = verdict

    def decide(self, info: FlowInfo) -> Verdict | None:
        note_asked(info, "saying", 0.5, self.verdict)
        return self.verdict


class Reading(Sniffer):
    """Finds whatever stands behind "host:"; a client of port 22 is not worth waiting for."""

    def is_worth_waiting(self, protocol: str, port: int) -> bool:
        return port != 22

    def read(self, trace: Trace, data: bytes) -> tuple[str, str] | None:
        if not data:
            return "", ""
        return (data[5:].decode(), "test") if data.startswith(b"host:") else None


SNIFFED = ("DOMAIN,example.org,work", "MATCH,direct")


def test_plugin_decides_before_the_rules() -> None:
    verdict = Verdict(DIAL, "plugin's")
    info = flow()
    assert World("MATCH,work", stages=[Saying(None), Saying(verdict)]).decider.decide(info) is verdict
    assert trace(info).asked == (("saying", 0.5, None), ("saying", 0.5, verdict))


def test_plugins_without_an_opinion_leave_it_to_the_rules() -> None:
    assert World("MATCH,work", stages=[Saying(None)]).decide(flow()) == ("work", "rule 0")


def test_plugin_sends_a_fake_address_direct_and_its_name_is_resolved() -> None:
    names = Names({"198.18.0.7": named("example.org", "fake-ip")})
    world = World(names=names, wants_names=True, stages=[Saying(Verdict(DIAL, "plugin's"))])
    assert world.decider.decide(flow("198.18.0.7")).kind == OPEN


def test_rules_after_a_plugin_that_was_waited_for() -> None:
    waiting = Verdict(OPEN, "plugin")
    world = World("DOMAIN,example.org,REJECT", "MATCH,work", stages=[Saying(waiting)], sniffer=Reading())
    info = flow()
    assert world.decider.decide(info) is waiting
    note_chosen(info, None)
    assert RulesAfterwards(world.ruling).decide(info).upstream == "work"
    assert RulesAfterwards(world.ruling).decide(flow()).upstream == "work"


def test_plugin_that_was_waited_for_sends_a_fake_address_direct() -> None:
    names = Names({"198.18.0.7": named("example.org", "fake-ip")})
    world = World(names=names, wants_names=True, stages=[Saying(Verdict(OPEN, "plugin"))])
    info = flow("198.18.0.7")
    world.decider.decide(info)
    note_chosen(info, Verdict(DIAL, "direct"))
    assert RulesAfterwards(world.ruling).decide(info).opener is world.waiters


def test_unknown_name_is_sniffed_and_decides() -> None:
    world = World(*SNIFFED, sniffer=Reading())
    info = flow()
    assert world.decider.decide(info).kind == SNIFF
    assert trace(info).state == SNIFFING
    assert world.decider.decide_sniffed(info, b"ho") is None
    verdict = world.decider.decide_sniffed(info, b"host:example.org")
    assert verdict is not None
    assert (verdict.upstream, trace(info).state, trace(info).sniffed) == ("work", DECIDED, "test")


def test_client_that_says_nothing_goes_on_without_a_name() -> None:
    world = World(*SNIFFED, sniffer=Reading())
    info = flow()
    world.decider.decide(info)
    verdict = world.decider.decide_sniffed(info, b"")
    assert verdict is not None
    assert verdict.upstream == "direct"
    assert trace(info).facts.host_asked


def test_flow_that_nobody_decided_before_is_decided_with_what_it_says() -> None:
    verdict = World(*SNIFFED, sniffer=Reading()).decider.decide_sniffed(flow(), b"host:example.org")
    assert verdict is not None
    assert verdict.upstream == "work"


def test_client_is_heard_before_its_process_is_waited_for() -> None:
    programs = Programs(Program(), is_quick=False)
    world = World("PROCESS-NAME,wget,REJECT", *SNIFFED, processes=programs, sniffer=Reading())
    info = flow()
    assert world.decider.decide(info).kind == SNIFF
    verdict = world.decider.decide_sniffed(info, b"host:example.org")
    assert verdict is not None
    assert (verdict.opener, trace(info).state) == (world.waiters, WAITING)
    assert asyncio.run(Settler(None).settle(info)).upstream == "work"
    assert world.decider.decide(flow(port=22)).kind == OPEN  # never heard: its process is all there is


def test_client_that_waits_for_its_server_is_not_waited_for() -> None:
    assert World(*SNIFFED, sniffer=Reading()).decide(flow(port=22))[0] == "direct"


def test_without_a_sniffer_nobody_is_waited_for() -> None:
    assert World(*SNIFFED).decide(flow())[0] == "direct"


def test_reload_in_between_leaves_a_flow_its_rules() -> None:
    before, after = World(*SNIFFED, sniffer=Reading()), World("MATCH,REJECT", sniffer=Reading())
    info = flow()
    before.decider.decide(info)
    verdict = after.decider.decide_sniffed(info, b"host:example.org")
    assert verdict is not None
    assert verdict.upstream == "work"


def test_constant_needs_no_plugin_and_no_rule() -> None:
    assert World().decider.constant() is not None
    assert World(stages=[Saying(None)]).decider.constant() is None
