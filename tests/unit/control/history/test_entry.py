"""What is kept of a flow."""

import json
from pathlib import Path

from tests.unit.control.history.world import live
from tunproxy import clock
from tunproxy.cli.history_text import describe_entry
from tunproxy.control.history.entry import NEAREST, entry_of, facts_from
from tunproxy.flow.life import ENDED
from tunproxy.host.process import Process

KEYS = [
    "version", "began", "ended", "number", "protocol", "client", "client_port", "target", "target_port",
    "name", "name_from", "verdict", "upstream", "chain", "rule", "seconds", "reason", "generation", "up",
    "down", "process", "decided_by", "way", "place", "observed", "why", "facts",
]  # fmt: skip


def test_keys_stay_and_are_json(tmp_path: Path) -> None:
    with live(tmp_path, "DST-PORT,22,REJECT", "DST-PORT,443,work") as world:
        found = world.entry(name="www.example.com")
    assert list(found) == KEYS
    assert json.loads(json.dumps(found)) == found
    assert (found["way"], found["upstream"], found["decided_by"]) == ("work", "work", "rule")
    assert (found["rule"], found["place"]) == ("DST-PORT,443,work", f"{tmp_path / 'tunproxy.toml'}:1")
    assert (found["up"], found["down"], found["reason"], found["seconds"]) == (10, 2000, "closed", 1.0)
    assert found["ended"] - found["began"] == 1.0
    assert [rule["result"] for rule in found["why"]["rules"]] == ["not_matched", "matched"]
    assert found["process"]["why"] == "nobody looked in time"


def test_default_and_rules_that_only_count(tmp_path: Path) -> None:
    with live(tmp_path, "DST-PORT,443,REJECT,observe") as world:
        found = world.entry()
    assert (found["way"], found["decided_by"], found["rule"], found["place"]) == (
        "direct",
        "default",
        None,
        None,
    )
    assert found["observed"] == [
        {
            "rule": "DST-PORT,443,REJECT,observe",
            "place": f"{tmp_path / 'tunproxy.toml'}:1",
            "target": "REJECT",
        }
    ]


def test_flow_without_rules_has_no_facts(tmp_path: Path) -> None:
    with live(tmp_path) as world:
        found = world.entry(name="a.example")
    assert (found["way"], found["decided_by"], found["facts"]) == ("direct", "default", None)
    facts = facts_from(found)
    assert (facts.host, facts.host_from, facts.target) == ("a.example", "dns", bytes([192, 0, 2, 1]))


def test_reasons_are_those_of_the_nearest_rules_and_may_be_left_out(tmp_path: Path) -> None:
    with live(tmp_path, *(f"DST-PORT,{port},REJECT" for port in range(1, 41)), "MATCH,work") as world:
        assert len(world.entry()["why"]["rules"]) == NEAREST + 1
        assert world.entry(reasons=False)["why"] is None


def test_facts_come_back_as_they_were(tmp_path: Path) -> None:
    owner = Process(uid=1000, name="curl", path="/usr/bin/curl", cgroup="/a", unit="a.service")
    with live(tmp_path, "DOMAIN,a.example,work") as world:
        found = world.entry(name="a.example", owner=owner)
    facts = facts_from(json.loads(json.dumps(found)))
    assert (facts.host, facts.host_from, facts.network, facts.target_port) == ("a.example", "dns", "tcp", 443)
    assert (facts.process_asked, facts.process_name, facts.uid, facts.unit) == (
        True,
        "curl",
        1000,
        "a.service",
    )
    assert found["process"]["path"] == "/usr/bin/curl"


def test_reasons_have_the_process_that_no_rule_asked_for(tmp_path: Path) -> None:
    owner = Process(uid=1000, pid=77, name="curl", path="/usr/bin/curl")
    with live(tmp_path, "MATCH,work") as world:
        text = describe_entry(world.entry(owner=owner)).splitlines()
    assert [line for line in text if line.startswith(("process", "program"))] == [
        "process    curl (/usr/bin/curl), pid 77, user 1000"
    ]


def test_flow_that_is_open_is_written_down_as_over_now(tmp_path: Path) -> None:
    with live(tmp_path, "MATCH,work") as world:
        life = world.life()
    life.ended_at, life.reason = -1, ""
    found = entry_of(life, life.began_at + 5_000_000, 100.0, None, reasons=True)
    assert (found["reason"], found["seconds"]) == (ENDED, 5.0)
    assert found["ended"] == 100.0 + (life.began_at + 5_000_000) / 1e6
    assert life.began_at < clock.now()
