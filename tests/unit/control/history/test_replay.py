"""A replay agrees with what was decided live, and says what it cannot say."""

import ipaddress
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.control.history.world import entry, live, replay_by, targets
from tunproxy.control.history.changes import Changes
from tunproxy.control.history.replay import Answer, meant
from tunproxy.host.process import Process

RULES = (
    "DOMAIN-SUFFIX,example.com,work",
    "IP-CIDR,192.0.2.0/28,REJECT,no-resolve",
    "DST-PORT,22/80,REJECT-DROP,observe",
    "AND,((NETWORK,udp),(DST-PORT,443)),REJECT",
    "DST-PORT,1000-2000,work",
)


def test_same_rules_change_nothing_and_others_exactly_what_they_change(tmp_path: Path) -> None:
    with live(tmp_path, *RULES) as world:
        entries = [
            world.entry("198.51.100.1", name="www.example.com"),
            world.entry("192.0.2.3"),
            world.entry("192.0.2.99", 22),
            world.entry("198.51.100.7", 443, "udp"),
            world.entry("198.51.100.7", 1500),
            world.entry("198.51.100.7", 9999),
        ]
    entries = json.loads(json.dumps(entries))
    assert [each["way"] for each in entries] == ["work", "REJECT", "direct", "REJECT", "work", "direct"]
    same = Changes(replay_by(tmp_path, *RULES))
    assert [same.take(each) for each in entries] == [None] * 6
    assert (same.changed, same.flows, dict(same.unknown)) == (0, 6, {})
    other = Changes(replay_by(tmp_path, *(rule.removesuffix(",observe") for rule in RULES)))
    changed = [found for found in map(other.take, entries) if found is not None]
    assert [(found["target_port"], found["from"], found["to"]) for found in changed] == [
        (22, "direct", "drop")
    ]
    assert changed[0]["rule"] == "DST-PORT,22/80,REJECT-DROP"


HOSTS = st.sampled_from(["", "www.example.com", "example.org", "a.b.example.net"])
ADDRESSES = st.integers(0, 15).map(lambda low: str(ipaddress.IPv4Address(0xC0000200 + low * 17)))
PORTS = st.sampled_from([22, 25, 53, 80, 443, 1500])
LINES = st.builds(
    lambda condition, target, observe: f"{condition},{target}{observe}",
    st.one_of(
        st.sampled_from(["www.example.com", "example.org"]).map(lambda name: f"DOMAIN,{name}"),
        st.just("DOMAIN-SUFFIX,example.net"),
        st.integers(24, 32).map(lambda bits: f"IP-CIDR,192.0.2.17/{bits}"),
        PORTS.map(lambda port: f"DST-PORT,{port}"),
        st.sampled_from(["NETWORK,tcp", "NETWORK,udp"]),
        st.just("NOT,((DOMAIN,example.org))"),
    ),
    st.sampled_from(["work", "DIRECT", "REJECT", "REJECT-DROP"]),
    st.sampled_from(["", ",observe"]),
)
FLOWS = st.lists(st.tuples(ADDRESSES, PORTS, st.sampled_from(["tcp", "udp", "icmp"]), HOSTS), max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(lines=st.lists(LINES, min_size=1, max_size=5), flows=FLOWS)
def test_replay_agrees_with_live(
    lines: list[str], flows: list[tuple[str, int, str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("replay")
    with live(folder, *lines) as world:
        entries = [world.entry(target, port, protocol, name=name) for target, port, protocol, name in flows]
    replay = replay_by(folder, *lines)
    for each in json.loads(json.dumps(entries)):
        answer = replay.answer(each)
        assert (answer.needs, answer.target) == ((), meant(each["way"])), each


@pytest.mark.parametrize(
    ("rule", "changes", "needs"),
    [
        ("DOMAIN,a.example,REJECT", {"facts": {"host": "", "host_from": ""}, "name": None}, ("name",)),
        ("PROCESS-NAME,curl,REJECT", {"facts": {"process_asked": False}}, ("process",)),
        ("IP-CIDR,10.0.0.0/8,REJECT", {"facts": {"is_fake": True, "target": ""}}, ("address",)),
    ],
)
def test_what_nobody_found_out_is_not_made_up(
    tmp_path: Path, rule: str, changes: dict[str, Any], needs: tuple[str, ...]
) -> None:
    assert replay_by(tmp_path, rule).answer(entry(**changes)) == Answer(needs=needs)


def test_what_nobody_can_know_counts_as_no_match(tmp_path: Path) -> None:
    replay = replay_by(tmp_path, "DOMAIN,a.example,REJECT", "IP-CIDR,10.0.0.0/8,REJECT", "MATCH,REJECT-DROP")
    nameless: dict[str, Any] = {"host": "", "host_from": ""}
    heard = entry(name=None, facts={**nameless, "host_asked": True})
    server_first = entry(name=None, target_port=22, facts=nameless)
    ping = entry(name=None, protocol="icmp", target_port=0, facts=nameless)
    unresolved = entry(facts={"is_fake": True, "target": "", "address_asked": True})
    assert targets(replay, [heard, server_first, ping, unresolved]) == ["drop"] * 4


def test_name_that_the_client_said_is_known_when_a_rule_asks(tmp_path: Path) -> None:
    said = entry(facts={"host_from": "sniffed", "host_asked": True})
    assert targets(replay_by(tmp_path, "DOMAIN,www.example.com,work"), [said]) == ["work"]


def test_address_that_had_to_be_resolved_is_unknown_before(tmp_path: Path) -> None:
    resolved = entry(target="198.18.0.7", facts={"is_fake": True, "host_from": "fake-ip"})
    passes_over = replay_by(tmp_path, "IP-CIDR,192.0.2.0/24,REJECT,no-resolve", "IP-CIDR,192.0.2.1/32,work")
    assert targets(passes_over, [resolved]) == ["work"]
    assert targets(replay_by(tmp_path, "IP-CIDR,198.18.0.0/15,REJECT", "MATCH,work"), [resolved]) == ["work"]


def test_fake_address_that_lost_its_name_goes_nowhere(tmp_path: Path) -> None:
    lost = entry(name=None, facts={"host": "", "host_from": "", "is_fake": True, "target": ""}, way="nobody")
    changes = Changes(replay_by(tmp_path, "MATCH,work"))
    assert changes.take(lost) is None
    assert changes.changed == 0


def test_rules_about_time_go_by_the_time_of_the_flow(tmp_path: Path) -> None:
    began = time.mktime((2026, 11, 23, 9, 30, 0, 0, 0, -1))  # a Monday
    replay = replay_by(tmp_path, "TIME,mon 09:00-10:00,work")
    assert targets(replay, [entry(began=began), entry(began=began + 3600)]) == ["work", "direct"]


def test_upstream_that_could_not_carry_a_flow_still_cannot(tmp_path: Path) -> None:
    replay = replay_by(tmp_path, "DST-PORT,443,work", "MATCH,REJECT")
    assert targets(replay, [entry(), entry(facts={"cannot": ["work"]}), entry()]) == [
        "work",
        "reject",
        "work",
    ]


def test_process_of_a_flow_is_asked(tmp_path: Path) -> None:
    owner = Process(uid=1000, name="curl", path="/usr/bin/curl")
    with live(tmp_path, "MATCH,direct") as world:
        found = json.loads(json.dumps(world.entry(owner=owner)))
    answer = replay_by(tmp_path, "PROCESS-NAME,wget,REJECT", "PROCESS-PATH,/usr/bin/curl,work").answer(found)
    assert (answer.target, answer.rule) == ("work", "PROCESS-PATH,/usr/bin/curl,work")
    assert answer.place.endswith("tunproxy.toml:1")


def test_targets_have_one_name() -> None:
    assert [meant(name) for name in ("DIRECT", "direct", "REJECT-DROP", "work")] == [
        "direct", "direct", "drop", "work",
    ]  # fmt: skip
