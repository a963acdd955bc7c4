"""Which rule a flow meets first."""

import pytest

from tests.unit.rules.rulebook import TARGETS, compiled, flow, packed, rules
from tunproxy.rules.compile import compile_rules
from tunproxy.rules.facts import NEEDS_ADDRESS, NEEDS_NAME, NEEDS_PROCESS, NEEDS_TIME
from tunproxy.rules.policy import NO_MATCH, UNDECIDED

MIXED = (
    "DST-PORT,22,A",
    "DOMAIN-SUFFIX,a.com,B",
    "PROCESS-NAME,curl,C",
    "IP-CIDR,93.0.0.0/8,A",
    "DOMAIN-SUFFIX,a.com,C",
    "NETWORK,udp,B",
    "DOMAIN-KEYWORD,a,A",
    "SRC-PORT,50000,B",
    "SRC-IP-CIDR,192.168.0.0/16,C",
    "MATCH,A",
)


def test_first_rule_wins_whatever_its_kind() -> None:
    policy = compiled(*MIXED)
    assert policy.match(flow("a.com")) == 1
    assert policy.match(flow("a.com", port=22)) == 0
    assert policy.match(flow("b.com", process_name="curl")) == 2
    assert policy.match(flow("b.com")) == 3
    assert policy.match(flow("b.com", "1.1.1.1", network="udp")) == 5


def test_search_goes_on_after_a_rule() -> None:
    policy = compiled(*MIXED)
    facts = flow("a.com", network="udp")
    found = [policy.match(facts)]
    while found[-1] != len(MIXED) - 1:
        found.append(policy.match(facts, found[-1] + 1))
    assert found == [1, 3, 4, 5, 6, 7, 8, 9]
    assert policy.match(facts, len(MIXED)) == NO_MATCH


def test_nothing_met_is_no_match() -> None:
    assert compiled("DOMAIN,a.com,A").match(flow("b.com")) == NO_MATCH
    assert compiled().match(flow("b.com")) == NO_MATCH


def test_unknown_name_matters_only_before_the_rule_that_decides() -> None:
    facts = flow(host_asked=False)
    assert compiled("DST-PORT,443,A", "DOMAIN,a.com,B").match(facts) == 0
    assert facts.needs == 0
    assert compiled("DST-PORT,22,A", "DOMAIN,a.com,B", "MATCH,C").match(facts) == UNDECIDED
    assert facts.needs == NEEDS_NAME
    facts.host = "a.com"
    assert compiled("DST-PORT,22,A", "DOMAIN,a.com,B", "MATCH,C").match(facts) == 1


def test_process_is_not_asked_for_after_the_rule_that_decides() -> None:
    facts = flow("a.com", process_asked=False)
    assert compiled("DOMAIN,a.com,A", "PROCESS-NAME,curl,B").match(facts) == 0
    assert compiled("PROCESS-NAME,curl,B", "DOMAIN,a.com,A").match(facts) == UNDECIDED
    assert facts.needs == NEEDS_PROCESS


def test_only_what_stops_the_search_is_needed() -> None:
    facts = flow(host_asked=False, process_asked=False)
    policy = compiled("AND,((PROCESS-NAME,x),(DST-PORT,1)),A", "DOMAIN,a.com,B", "UID,0,C")
    assert policy.match(facts) == UNDECIDED
    assert facts.needs == NEEDS_NAME


def test_target_named_pass_changes_nothing() -> None:
    policy = compiled("DOMAIN,a.com,PASS", "PROCESS-NAME,curl,PASS", "MATCH,A")
    assert policy.match(flow("a.com", process_asked=False)) == 2


def test_target_named_pass_has_the_name_resolved_for_the_rules_after_it() -> None:
    lines = ("IP-CIDR,10.0.0.0/8,PASS", "IP-CIDR,1.2.3.0/24,A,no-resolve", "MATCH,B")
    facts = flow("a.com", target="", address_asked=False)
    assert compiled(*lines[1:]).match(facts) == 1
    assert compiled(*lines).match(facts) == UNDECIDED
    assert facts.needs == NEEDS_ADDRESS
    facts.target = packed("1.2.3.4")
    assert compiled(*lines).match(facts) == 1


SUBS = {"web": rules("DOMAIN,a.com,B", "DOMAIN,p.com,PASS", "SUB-RULE,(NETWORK,udp),deep", "DOMAIN,p.com,C")}
SUBS["deep"] = rules("DOMAIN,d.com,C", "DOMAIN,e.com,PASS")
WITH_SUBS = ("SUB-RULE,(DST-PORT,443),web", "MATCH,A")


@pytest.mark.parametrize(
    ("host", "network", "port", "rule", "target"),
    [
        ("a.com", "tcp", 443, 0, "B"),
        ("a.com", "tcp", 80, 1, "A"),
        ("x.com", "tcp", 443, 1, "A"),  # met by no rule there: on after SUB-RULE
        ("p.com", "tcp", 443, 1, "A"),  # PASS leaves the list
        ("d.com", "udp", 443, 0, "C"),  # two lists deep
        ("e.com", "udp", 443, 1, "A"),
    ],
)
def test_sub_rule_leads_to_another_list(host: str, network: str, port: int, rule: int, target: str) -> None:
    policy = compiled(*WITH_SUBS, subs=SUBS)
    facts = flow(host, port=port, network=network)
    assert policy.match(facts) == rule
    assert policy.target(facts) == target


def test_fact_missing_within_a_sub_rule_is_needed() -> None:
    facts = flow(host_asked=False)
    assert compiled(*WITH_SUBS, subs=SUBS).match(facts) == UNDECIDED
    assert facts.needs == NEEDS_NAME


@pytest.mark.parametrize(
    ("line", "needs"),
    [
        ("DST-PORT,1,A", 0),
        ("DOMAIN,a.com,A", NEEDS_NAME),
        ("GEOIP,LAN,A", NEEDS_ADDRESS),
        ("IP-CIDR,1.0.0.0/8,A", NEEDS_ADDRESS),
        ("IP-CIDR,1.0.0.0/8,A,no-resolve", 0),
        ("SRC-IP-CIDR,1.0.0.0/8,A", 0),
        ("OR,((UNIT,x),(TIME,mon)),A", NEEDS_PROCESS | NEEDS_TIME),
        ("NOT,((DOMAIN-REGEX,x)),A", NEEDS_NAME),
        ("SUB-RULE,(UID,0),web", NEEDS_PROCESS | NEEDS_NAME),
    ],
)
def test_needs_of_all_rules_are_known_beforehand(line: str, needs: int) -> None:
    assert compiled(line, "MATCH,A", subs=SUBS).what_is_needed() == needs


def test_rule_that_only_counts_is_met_and_does_not_decide() -> None:
    policy = compiled("DST-PORT,22,A,observe", "DOMAIN,a.com,B,observe", "MATCH,C")
    assert policy.observed == {0, 1}
    facts = flow("a.com", port=22)
    assert policy.match(facts) == 0  # who asks goes on behind it
    assert (policy.deciding(facts), policy.target(facts), facts.observed) == (2, "C", [0, 1])
    assert compiled("MATCH,A,observe").deciding(flow()) == NO_MATCH


def test_rules_that_only_count_in_another_list() -> None:
    lines = rules("SUB-RULE,(NETWORK,tcp),web", "MATCH,C")
    web = rules("DST-PORT,443,A,observe", "DOMAIN,a.com,B", "MATCH,PASS,observe")
    policy = compile_rules(lines, {}, TARGETS, {"web": web})
    facts = flow("a.com", port=443)
    assert (policy.match(facts), policy.target(facts), facts.observed) == (0, "B", [2])
    facts = flow("b.com", port=443)
    assert (policy.match(facts), policy.target(facts), facts.observed) == (1, "C", [2, 4])


def test_whole_list_may_only_count() -> None:
    lines = rules("SUB-RULE,(NETWORK,tcp),web,observe", "MATCH,C")
    policy = compile_rules(lines, {}, TARGETS, {"web": rules("DST-PORT,443,A")})
    facts = flow("a.com", port=443)
    assert (policy.deciding(facts), policy.target(facts), facts.observed) == (1, "C", [0])
    facts = flow("a.com", port=80)
    assert (policy.deciding(facts), facts.observed) == (1, None)
