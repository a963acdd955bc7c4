"""What a decision leaves behind, and whose flow it is."""

import asyncio
from dataclasses import dataclass

from tests.unit.decide.world import CLIENT, World, flow, trace
from tunproxy.decide.trace import WAITING, FlowLookup, note_asked, note_chosen, search_process, trace_of
from tunproxy.flow.verdict import DIAL, OPEN, Verdict
from tunproxy.rules.facts import Facts


@dataclass
class Program:
    """A process as a source tells it."""

    name: str | None = "curl"
    path: str | None = "/usr/bin/curl"
    uid: int = 1000
    cgroup: str | None = "/user.slice/app.scope"
    unit: str | None = "app.scope"
    app: str | None = None
    why: str = ""


class Programs:
    """Knows one process: at once, or only after a search."""

    def __init__(self, found: Program, *, is_quick: bool = True) -> None:
        self.found = found
        self.is_quick = is_quick
        self.asked: list[tuple[object, ...]] = []

    def look(self, *ends: object) -> Program | None:
        self.asked.append(ends)
        return self.found if self.is_quick else None

    async def search(self, *ends: object) -> Program:
        self.asked.append(ends)
        return self.found


def test_process_is_looked_up_when_a_rule_comes_to_it_and_once() -> None:
    programs = Programs(Program())
    world = World("DST-PORT,22,REJECT", "PROCESS-NAME,wget,REJECT", "UID,1000,work", processes=programs)
    assert world.decide(flow(port=22))[0] == "reject"
    assert programs.asked == []
    info = flow()
    assert world.decide(info)[0] == "work"
    assert programs.asked == [("tcp", CLIENT, 40000, info.target, 443)]
    facts = trace(info).facts
    assert (facts.process_path, facts.unit, facts.app) == ("/usr/bin/curl", "app.scope", None)
    assert isinstance(facts.lookup, FlowLookup)
    assert facts.lookup.found is programs.found


def test_process_that_takes_longer_is_waited_for() -> None:
    programs = Programs(Program(), is_quick=False)
    world = World("PROCESS-NAME,curl,work", processes=programs)
    info = flow()
    verdict = world.decider.decide(info)
    assert (verdict.kind, verdict.why) == (OPEN, "a rule needs the process")
    found = trace(info)
    assert found.state == WAITING
    asyncio.run(search_process(found.facts))
    assert world.ruling.judge(info, found, False, True).upstream == "work"


def test_process_that_nobody_can_wait_for_is_unknown() -> None:
    programs = Programs(Program(), is_quick=False)
    info = flow(protocol="icmp", port=0)
    assert World("PROCESS-NAME,curl,work", processes=programs).decide(info)[0] == "direct"
    assert trace(info).facts.process_why == "nobody could wait for it"


def test_search_without_a_source_ends_the_asking() -> None:
    facts = Facts("tcp", CLIENT, 1, CLIENT, 2)
    asyncio.run(search_process(facts))
    assert facts.process_asked


def test_notes_need_a_trace() -> None:
    info = flow()
    note_asked(info, "plugin", 1.0, None)
    note_chosen(info, None)
    assert trace_of(info) is None
    World().decider.decide(info)
    verdict = Verdict(DIAL, "direct")
    note_asked(info, "plugin", 1.0, verdict)
    note_chosen(info, verdict)
    assert (trace(info).asked, trace(info).chosen) == ((("plugin", 1.0, verdict),), verdict)
    assert trace_of(info) is trace(info)
