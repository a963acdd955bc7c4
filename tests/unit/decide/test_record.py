"""Records of why a flow went where it went."""

import json

import pytest

from tests.unit.decide.test_deciding import SNIFFED, Reading
from tests.unit.decide.test_trace import Program, Programs
from tests.unit.decide.world import Names, World, flow, named, trace
from tunproxy.decide.record import Dial, Ending, copy_of, record_of
from tunproxy.decide.trace import note_asked
from tunproxy.flow.verdict import DIAL, FlowInfo, Verdict
from tunproxy.rules.facts import Facts

KEYS = [
    "version", "number", "generation", "flow", "inputs", "plugins",
    "rules", "observed", "verdict", "dials", "open", "closed",
]  # fmt: skip


def record(world: World, info: FlowInfo | None = None, **more: object) -> dict[str, object]:
    """Decide a flow, and return its record, as JSON gives it back."""
    info = info or flow()
    verdict = world.decider.decide(info)
    document = record_of(info, verdict, world.book, **more)  # type: ignore[arg-type]
    assert json.loads(json.dumps(document)) == document
    return document


def test_keys_stay() -> None:
    names = Names({"93.184.216.34": named("a.example", "dns", "b.example")})
    document = record(World("DOMAIN,a.example,work", names=names), number=17)
    assert list(document) == KEYS
    assert (document["version"], document["number"], document["generation"]) == (1, 17, 7)
    assert document["flow"] == {
        "protocol": "tcp",
        "client": "10.0.0.2",
        "client_port": 40000,
        "target": "93.184.216.34",
        "target_port": 443,
    }
    assert document["inputs"]["name"] == {
        "value": "a.example", "from": "dns", "others": ["b.example"], "why": "",
    }  # fmt: skip
    assert list(document["inputs"]) == ["name", "address", "process", "time", "protocol_spoken"]
    assert document["verdict"] == {
        "kind": "converse",
        "upstream": "work",
        "chain": "work",
        "address": "192.0.2.1",
        "port": 1080,
        "decided_by": "rule",
        "why": "rule 0",
        "rule": {
            "number": 1, "list": None, "text": "DOMAIN,a.example,work", "file": "test.rules", "line": 1,
        },
        "needs": [],
    }  # fmt: skip


def test_every_rule_asked_with_its_answer() -> None:
    names = Names({"198.18.0.7": named("example.org", "fake-ip")})
    world = World(
        "DOMAIN,a.example,work",
        "IP-CIDR,1.0.0.0/8,work,no-resolve",
        "MATCH,work",
        names=names,
        wants_names=True,
    )
    document = record(world, flow("198.18.0.7"))
    assert [(rule["number"], rule["result"]) for rule in document["rules"]] == [
        (1, "not_matched"),
        (2, "skipped"),
        (3, "matched"),
    ]
    assert document["inputs"]["address"]["why"] == "not needed"


def test_rule_whose_upstream_cannot_carry_the_flow_is_skipped() -> None:
    document = record(World("MATCH,web", "MATCH,work"), flow(protocol="udp"))
    assert [(rule["result"], rule["why"]) for rule in document["rules"]] == [
        ("skipped", "always: but web cannot carry this flow"),
        ("matched", "always"),
    ]
    assert document["verdict"]["rule"]["number"] == 2


@pytest.mark.parametrize("rules", ["DST-PORT,443,work", "DST-PORT,443,work\nDST-PORT,80,work"])
def test_default_decides_where_the_first_rule_is_switched_off(rules: str) -> None:
    world = World(*rules.splitlines())
    world.ruling.hits.switch(0, True)
    document = record(world)
    assert [rule["result"] for rule in document["rules"]][:1] == ["skipped"]  # type: ignore[attr-defined]
    assert document["verdict"]["decided_by"] == "default"  # type: ignore[index]
    assert len(document["rules"]) == len(world.book.rules)  # type: ignore[arg-type]


def test_rule_that_is_switched_off_is_skipped() -> None:
    world = World("MATCH,web", "MATCH,work")
    world.ruling.hits.switch(0, True)
    document = record(world)
    assert [(rule["result"], rule["why"]) for rule in document["rules"]] == [
        ("skipped", "always: but it is switched off"),
        ("matched", "always"),
    ]


def test_default_decides_where_no_rule_does() -> None:
    document = record(World("DST-PORT,22,work"))
    assert (document["verdict"]["decided_by"], document["verdict"]["rule"]) == ("default", None)


def test_plugin_decides_and_no_rule_was_asked() -> None:
    world = World("MATCH,work")
    info = flow()
    verdict = Verdict(DIAL, "mine", why="because")
    found = world.ruling.trace(info)
    note_asked(info, "silent", 0.1234, None)
    note_asked(info, "broken", 1.0, "failed: KeyError: 'x'")
    note_asked(info, "mine", 2.0, verdict)
    found.chosen = verdict
    world.ruling.judge(info, found, False, True)
    document = record_of(info, verdict, world.book)
    assert document["plugins"] == [
        {"name": "silent", "milliseconds": 0.123, "answer": "no opinion"},
        {"name": "broken", "milliseconds": 1.0, "answer": "failed: KeyError: 'x'"},
        {"name": "mine", "milliseconds": 2.0, "answer": "mine (dial, because)"},
    ]
    assert (document["rules"], document["verdict"]["decided_by"]) == ([], "plugin")


def test_flow_that_is_not_decided_yet_says_what_it_waits_for() -> None:
    document = record(World(*SNIFFED, sniffer=Reading()))
    assert (document["verdict"]["decided_by"], document["verdict"]["needs"]) == ("nobody yet", ["name"])
    assert document["inputs"]["name"]["why"] == "the client has not said anything yet"
    assert document["rules"][-1]["result"] == "indeterminate"
    names = Names({"198.18.0.7": named("example.org", "fake-ip")})
    document = record(World(names=names, wants_names=True), flow("198.18.0.7"))
    assert document["verdict"]["needs"] == ["address"]


def test_process_is_told_with_what_facts_have_no_place_for() -> None:
    program = Program(why="it is shy")
    program.pid, program.container = 77, "c0ffee"  # type: ignore[attr-defined]
    document = record(World("UID,1000,work", processes=Programs(program)))
    assert document["inputs"]["process"] == {
        "name": "curl", "path": "/usr/bin/curl", "uid": 1000, "cgroup": "/user.slice/app.scope",
        "unit": "app.scope", "app": None, "pid": 77, "argv0": None, "slice": None, "container": "c0ffee",
        "container_name": None,
        "why": "it is shy",
    }  # fmt: skip
    assert record(World("MATCH,work"))["inputs"]["process"]["why"] == "no rule has asked"


def test_process_that_no_rule_has_asked_for_is_told_where_it_is_known() -> None:
    program = Program(why="it is shy")
    program.pid, program.uid = 77, -1  # type: ignore[attr-defined]
    told = {
        "name": "curl", "path": "/usr/bin/curl", "uid": None, "cgroup": "/user.slice/app.scope",
        "unit": "app.scope", "app": None, "pid": 77, "argv0": None, "slice": None, "container": None,
        "container_name": None,
        "why": "it is shy",
    }  # fmt: skip
    assert record(World("MATCH,work"), owner=program)["inputs"]["process"] == told
    asked = record(World("UID,1000,work", processes=Programs(Program())), owner=program)
    assert asked["inputs"]["process"]["uid"] == 1000, "what the rules went by"
    plain = record_of(flow(), Verdict(DIAL, "direct"), World().book, owner=program)
    assert plain["inputs"]["process"] == told


def test_attempts_and_the_end() -> None:
    dials = [Dial("192.0.2.1:1080", 12.34, "refused"), Dial("192.0.2.2:1080", 5.0)]
    document = record(World(), dials=dials, ending=Ending("closed", 1.23456, 10, 20))
    assert document["dials"] == [
        {"where": "192.0.2.1:1080", "milliseconds": 12.3, "failure": "refused"},
        {"where": "192.0.2.2:1080", "milliseconds": 5.0, "failure": ""},
    ]
    assert document["closed"] == {"reason": "closed", "seconds": 1.235, "octets_up": 10, "octets_down": 20}


def test_flow_that_goes_on_tells_what_it_has_carried() -> None:
    document = record(World("MATCH,work"), so_far=Ending("", 2.5, 10, 20))
    assert document["open"] == {"seconds": 2.5, "octets_up": 10, "octets_down": 20}
    assert document["closed"] is None


def test_flow_that_nobody_was_asked_about() -> None:
    document = record_of(flow(), Verdict(DIAL, "direct", why="default"), World().book)
    assert list(document) == KEYS
    assert (document["rules"], document["generation"], document["verdict"]["decided_by"]) == (
        [],
        None,
        "default",
    )


def test_asking_for_a_record_changes_nothing() -> None:
    world = World("PROCESS-NAME,curl,work", processes=Programs(Program(), is_quick=False))
    info = flow()
    world.decider.decide(info)
    before = {name: getattr(trace(info).facts, name) for name in ("needs", "process_asked", "decided")}
    record_of(info, Verdict(DIAL, "direct"), world.book)
    assert {name: getattr(trace(info).facts, name) for name in before} == before


@pytest.mark.interpreted_only("an object of a compiled class has no list of what it holds")
def test_copy_has_every_fact() -> None:
    facts = Facts("udp", bytes(4), 1, bytes(16), 2)
    own = {"lookup", "needs", "memo", "memo_lower", "decided", "resume", "no_resolve", "observed"}
    facts.resolved_for = {0: 3}
    for number, (name, value) in enumerate(sorted(vars(facts).items())):
        if name not in own and isinstance(value, bool):
            setattr(facts, name, True)
        elif name not in own and isinstance(value, int):
            setattr(facts, name, number)
        elif name not in own and not isinstance(value, (bytes, dict)):
            setattr(facts, name, f"text {number}")
    copy = copy_of(facts)
    assert {key: value for key, value in vars(copy).items() if key not in own} == {
        key: value for key, value in vars(facts).items() if key not in own
    }


def test_what_rules_would_have_done_is_told_and_why() -> None:
    world = World("DST-PORT,22,work", "DST-PORT,443,REJECT,observe", "MATCH,work")
    document = record(world)
    assert [(rule["result"], rule["why"]) for rule in document["rules"]] == [  # type: ignore[attr-defined]
        ("not_matched", "port 443"),
        ("observed", "port 443: would have gone to REJECT"),
        ("matched", "always"),
    ]
    assert document["observed"] == [
        {
            "number": 2,
            "list": None,
            "text": "DST-PORT,443,REJECT,observe",
            "target": "REJECT",
            "file": "test.rules",
            "line": 2,
        }
    ]
    assert document["verdict"]["rule"]["number"] == 3  # type: ignore[index]


def test_last_rule_that_only_counts_leaves_it_to_the_default() -> None:
    document = record(World("MATCH,REJECT,observe"))
    assert document["verdict"]["decided_by"] == "default"  # type: ignore[index]


def test_only_the_nearest_rules_are_asked_where_that_is_enough() -> None:
    world = World(*(f"DST-PORT,{port},REJECT" for port in range(1, 100)), "MATCH,work", "MATCH,REJECT")
    document = record(world, nearest=3)
    assert [rule["number"] for rule in document["rules"]] == [97, 98, 99, 100]  # type: ignore[attr-defined]
    whole = record(world)
    assert document["verdict"] == whole["verdict"]
    by_default = record(World("DST-PORT,1,work", "DST-PORT,2,work"), nearest=1)
    assert [rule["number"] for rule in by_default["rules"]] == [2]  # type: ignore[attr-defined]


def test_first_rule_that_was_passed_over_is_asked_once_where_the_default_decides() -> None:
    world = World("IP-CIDR,93.0.0.0/8,web", "DST-PORT,22,REJECT")
    document = record(world, flow(protocol="udp"))
    assert [rule["result"] for rule in document["rules"]] == ["skipped", "not_matched"]  # type: ignore[attr-defined]
    assert document["verdict"]["decided_by"] == "default"  # type: ignore[index]
