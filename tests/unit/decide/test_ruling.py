"""What rules say of a flow, and what is looked up for them."""

import time
from collections.abc import Callable

import pytest

from tests.unit.decide.world import Names, Way, World, flow, named, trace
from tunproxy.decide.sniffers import NameSniffer
from tunproxy.decide.trace import DECIDED, SNIFFING, WAITING
from tunproxy.flow.ports import Abilities
from tunproxy.flow.verdict import DIAL, OPEN, REJECT, SNIFF, FlowInfo, Verdict
from tunproxy.rules.facts import NEEDS_ADDRESS, NEEDS_NAME

FAKE = "198.18.0.7"


def test_first_rule_that_matches_decides() -> None:
    world = World("DST-PORT,22,REJECT", "IP-CIDR,93.0.0.0/8,work", "MATCH,direct")
    info = flow()
    assert world.decide(info) == ("work", "rule 1")
    assert (trace(info).rule, trace(info).state, trace(info).ruling) == (1, DECIDED, world.ruling)


def test_no_rule_matches_is_the_default() -> None:
    info = flow()
    assert World("DST-PORT,22,REJECT").decide(info) == ("direct", "default")
    assert trace(info).rule == -1


def test_verdicts_that_are_always_the_same_are_made_once() -> None:
    world = World("MATCH,work")
    assert world.decider.decide(flow()) is world.decider.decide(flow("192.0.2.9"))


def test_verdict_of_a_group_is_asked_for_each_flow() -> None:
    group = Way(Verdict(DIAL, "group"), varies=True)
    world = World("MATCH,group", more_ways={"group": group})
    world.decide(flow())
    world.decide(flow())
    assert group.asked == 2


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("MATCH,plain", "no rule is left whose target can carry it"),
        ("DST-PORT,1,work", "plain, the default, cannot carry it"),
    ],
)
def test_way_that_any_tcp_flow_can_go_is_not_asked_about_one(rule: str, why: str) -> None:
    plain = Way(Verdict(DIAL, "plain"), ())
    plain.abilities = Abilities()
    world = World(rule, default="plain", more_ways={"plain": plain})
    assert world.decide(flow())[0] == "plain"
    assert plain.doubted == 0
    world.decide(flow(protocol="udp"))
    assert plain.doubted > 0
    plain.abilities.any_tcp = False
    verdict = world.decider.decide(flow())
    assert (verdict.kind, verdict.why) == (REJECT, why)


@pytest.mark.parametrize("rule", ["MATCH,mixed", "DST-PORT,1,work"])
def test_verdict_may_be_the_same_for_tcp_alone(rule: str) -> None:
    class Mixed(Way):
        def tcp_constant(self, why: str = "") -> Verdict | None:
            return Verdict(OPEN, "for tcp", why=why)

    mixed = Mixed(Verdict(DIAL, "for others"), varies=True)
    world = World(rule, default="mixed", more_ways={"mixed": mixed})
    first = world.decider.decide(flow())
    assert first.upstream == "for tcp"
    assert world.decider.decide(flow("192.0.2.9")) is first
    assert mixed.asked == 0
    assert world.decide(flow(protocol="udp"))[0] == "for others"
    assert world.decider.decide(flow()) is first


class Faulty(Way):
    """Does what a test says when it is asked."""

    def __init__(self, act: Callable[[], object], *, is_able: bool = True) -> None:
        super().__init__(Verdict(DIAL, "odd"), varies=True)
        self.act = act
        self.is_able = is_able

    def carries(self, info: FlowInfo) -> bool:
        if not self.is_able:
            self.act()
        return True

    def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
        return self.act()  # type: ignore[return-value]  # on purpose


def fails() -> object:
    raise KeyError("k")


def leaves() -> object:
    raise SystemExit(1)


@pytest.mark.parametrize("act", [fails, leaves, lambda: None, lambda: "direct"])
@pytest.mark.parametrize("rule", ["MATCH,odd", "DST-PORT,1,work"])
@pytest.mark.parametrize("is_able", [True, False])
def test_way_that_is_at_fault_is_named_and_its_flows_are_refused(
    act: Callable[[], object], rule: str, is_able: bool, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(rule, "MATCH,direct" if "odd" in rule else "DST-PORT,2,work", default="odd",
                  more_ways={"odd": Faulty(act, is_able=is_able)})  # fmt: skip
    verdict = world.decider.decide(flow())
    assert (verdict.kind, verdict.upstream) == (REJECT, "odd")
    assert verdict.why.endswith("; odd is faulty")
    assert all("upstream odd is faulty" in record.getMessage() for record in caplog.records)
    assert caplog.records[-1].exc_info is not None


def test_udp_goes_on_to_the_next_rule_where_the_upstream_has_none() -> None:
    world = World("IP-CIDR,93.0.0.0/8,web", "DST-PORT,443,work")
    assert world.decide(flow())[0] == "web"
    info = flow(protocol="udp")
    assert world.decide(info) == ("work", "rule 1")
    assert trace(info).passed_over == [0]


@pytest.mark.parametrize("protocol", ["udp", "icmp"])
@pytest.mark.parametrize("rules", [["MATCH,web"], ["DST-PORT,443/0,web", "IP-CIDR,10.0.0.0/8,direct"]])
def test_flow_that_no_target_of_its_rules_carries_is_refused_and_does_not_leak(
    rules: list[str], protocol: str
) -> None:
    world = World(*rules, default="direct")
    info = flow(port=443 if protocol == "udp" else 0, protocol=protocol)
    verdict = world.decider.decide(info)
    assert (verdict.kind, verdict.why) == (REJECT, "no rule is left whose target can carry it")
    assert (trace(info).rule, trace(info).state, trace(info).passed_over) == (-1, DECIDED, [0])
    assert world.decide(flow())[0] == "web"


def test_rule_that_is_switched_off_keeps_no_flow_from_the_default() -> None:
    world = World("MATCH,web", default="direct")
    world.ruling.hits.switch(0, is_off=True)
    assert world.decide(flow(protocol="udp"))[0] == "direct"


def test_udp_that_the_default_does_not_carry_is_refused() -> None:
    world = World("DST-PORT,1,work", default="web")
    verdict = world.decider.decide(flow(protocol="udp"))
    assert (verdict.kind, verdict.why) == (REJECT, "web, the default, cannot carry it")


def test_names_are_looked_up_only_where_a_rule_asks_for_one() -> None:
    names = Names({"93.184.216.34": named("example.org")})
    World("IP-CIDR,93.0.0.0/8,work", "MATCH,direct", names=names).decide(flow())
    assert names.asked == 0
    info = flow()
    assert World("DOMAIN,example.org,work", names=names).decide(info)[0] == "work"
    assert (names.asked, info.name, info.name_from, info.host) == (1, "example.org", "dns", "")


def test_names_are_looked_up_where_somebody_else_wants_them() -> None:
    info = flow()
    names = Names({"93.184.216.34": named("example.org", "dns", "example.com")})
    World("MATCH,direct", names=names, wants_names=True).decide(info)
    assert info.name == "example.org"
    assert trace(info).names == ("example.org", "example.com")


def test_name_by_dns_changes_nothing_about_what_is_dialled() -> None:
    names = Names({"93.184.216.34": named("example.org")})
    verdict = World("DOMAIN,example.org,direct", names=names).decider.decide(flow())
    assert (verdict.kind, verdict.address) == (DIAL, "")


def test_fake_address_hands_the_name_to_a_proxy() -> None:
    info = flow(FAKE)
    world = World("DOMAIN,example.org,work", names=Names({FAKE: named("example.org", "fake-ip")}))
    assert world.decide(info)[0] == "work"
    assert (info.host, info.name_from) == ("example.org", "fake-ip")


def test_fake_address_that_goes_direct_waits_for_the_name_to_be_resolved() -> None:
    info = flow(FAKE)
    world = World(names=Names({FAKE: named("example.org", "fake-ip")}), wants_names=True)
    verdict = world.decider.decide(info)
    assert (verdict.kind, verdict.opener) == (OPEN, world.waiters)
    assert trace(info).state == WAITING
    trace(info).addresses = ["192.0.2.9"]
    verdict = world.ruling.judge(info, trace(info), False, True)
    assert (verdict.kind, verdict.address, verdict.upstream) == (DIAL, "192.0.2.9", "direct")


def test_fake_address_that_has_lost_its_name_is_refused() -> None:
    names = Names({FAKE: named("", "fake-ip")})
    verdict = World("MATCH,direct", names=names, wants_names=True).decider.decide(flow(FAKE))
    assert (verdict.kind, verdict.why) == (REJECT, "this fake address has lost its name")


def test_ping_of_a_fake_address_that_would_have_to_wait_is_refused() -> None:
    info = flow(FAKE, 0, "icmp")
    world = World(names=Names({FAKE: named("example.org", "fake-ip")}), wants_names=True)
    verdict = world.decider.decide(info)
    assert (verdict.kind, verdict.why) == (REJECT, "default; example.org has no address")
    assert trace(info).is_unresolved


def test_address_that_a_rule_needs_of_a_fake_one_is_waited_for() -> None:
    info = flow(FAKE)
    names = Names({FAKE: named("example.org", "fake-ip")})
    world = World("IP-CIDR,10.0.0.0/8,REJECT", "MATCH,work", names=names, wants_names=True)
    verdict = world.decider.decide(info)
    assert (verdict.kind, verdict.why) == (OPEN, "a rule needs the address")
    assert trace(info).facts.needs == NEEDS_ADDRESS


def test_rule_that_resolves_nothing_does_not_wait() -> None:
    names = Names({FAKE: named("example.org", "fake-ip")})
    world = World("IP-CIDR,10.0.0.0/8,REJECT,no-resolve", "MATCH,work", names=names, wants_names=True)
    assert world.decide(flow(FAKE))[0] == "work"


def test_unknown_address_is_no_match_where_nobody_can_wait() -> None:
    names = Names({FAKE: named("example.org", "fake-ip")})
    lines = ("IP-CIDR,10.0.0.0/8,REJECT", "MATCH,work")
    assert World(*lines, names=names, wants_names=True, has_waiters=False).decide(flow(FAKE))[0] == "work"


def test_unknown_name_may_be_sniffed() -> None:
    world = World("DST-PORT,22,REJECT", "DOMAIN,example.org,work", "MATCH,direct")
    info = flow()
    found = world.ruling.trace(info)
    assert world.ruling.judge(info, found, True, True).kind == SNIFF
    assert (found.state, found.facts.needs) == (SNIFFING, NEEDS_NAME)
    world.ruling.sniffed(info, found, "example.org", "tls")
    verdict = world.ruling.judge(info, found, False, True)
    assert (verdict.upstream, verdict.address, info.name_from, info.host) == (
        "work",
        "192.0.2.1",
        "sniffed",
        "",
    )


def test_name_that_a_rule_before_does_not_need_is_not_sniffed() -> None:
    world = World("DST-PORT,443,work", "DOMAIN,example.org,direct")
    info = flow()
    assert world.ruling.judge(info, world.ruling.trace(info), True, True).upstream == "work"


@pytest.mark.interpreted_only("compiled code does not see a clock that a test puts in")
@pytest.mark.parametrize(
    ("day", "hour", "minute", "expected"), [(0, 0, 0, 0), (2, 13, 5, 3665), (6, 23, 59, 10079)]
)
def test_minute_of_the_week_counts_from_monday(monkeypatch, day, hour, minute, expected) -> None:
    at = time.struct_time((2026, 11, 16 + day, hour, minute, 0, day, 320, 0))
    monkeypatch.setattr("tunproxy.decide.ruling._localtime", lambda: at)
    assert World().ruling.minute(5) == expected


@pytest.mark.interpreted_only("compiled code does not see a clock that a test puts in")
def test_clock_on_the_wall_is_read_once_a_second(monkeypatch) -> None:
    looks = []
    at = time.struct_time((2026, 11, 16, 8, 0, 0, 0, 320, 0))
    monkeypatch.setattr("tunproxy.decide.ruling._localtime", lambda: looks.append(1) or at)
    ruling = World("TIME,mon,work").ruling
    for now in (0, 999_999, 1_000_000, 1_500_000):
        ruling.minute(now)
    assert len(looks) == 2


def test_rule_about_the_time_gets_it() -> None:
    assert World("TIME,mon-sun,work").decide(flow())[0] == "work"


def test_process_that_cannot_be_found_out_is_no_match_and_says_why() -> None:
    info = flow()
    assert World("PROCESS-NAME,curl,work").decide(info)[0] == "direct"
    assert trace(info).facts.process_why == "processes cannot be looked up here"


def test_constant_only_where_nothing_could_change_it() -> None:
    assert str(World().decider.constant()) == "direct (dial, default)"
    assert World("MATCH,direct").ruling.constant() is None
    assert World(default="REJECT").ruling.constant() is None
    assert World(wants_names=True).ruling.constant() is None


def test_rule_that_only_counts_leaves_the_flow_to_the_next_and_is_counted_once() -> None:
    world = World("DST-PORT,443,REJECT,observe", "MATCH,REJECT-DROP,observe", "DST-PORT,443,work")
    for _ in range(2):
        info = flow()
        assert world.decide(info) == ("work", "rule 2")
        assert (trace(info).rule, trace(info).observed, trace(info).passed_over) == (2, [0, 1], None)
    hits = world.ruling.hits
    assert (hits.seen, hits.counts) == ({0: 2, 1: 2}, {2: 2})
    assert world.decide(flow(port=80)) == ("direct", "default")
    assert (hits.seen, hits.counts) == ({0: 2, 1: 3}, {2: 2, -1: 1})


def test_rule_that_only_counts_finds_out_what_it_has_to_know_and_counts_when_it_is_decided() -> None:
    world = World("DOMAIN,a.example,REJECT,observe", sniffer=NameSniffer())
    info = flow()
    assert world.decider.decide(info).kind == SNIFF
    assert world.ruling.hits.seen == {}
    hello = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
    verdict = world.decider.decide_sniffed(info, hello)
    assert verdict is not None
    assert (verdict.upstream, world.ruling.hits.seen) == ("direct", {0: 1})


def test_rule_that_only_counts_and_is_switched_off_does_nothing() -> None:
    world = World("MATCH,REJECT,observe")
    world.ruling.hits.switch(0, True)
    info = flow()
    assert world.decide(info) == ("direct", "default")
    assert (trace(info).observed, world.ruling.hits.seen) == (None, {})
