"""Every rule's answer, and that asking one by one and asking the indexes come to the same."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.rules.rulebook import TARGETS, compiled, flow, rules
from tunproxy.decide.record import copy_of
from tunproxy.rules.compile import compile_rules
from tunproxy.rules.explain import OBSERVED, explain
from tunproxy.rules.facts import need_names
from tunproxy.rules.model import RuleSetContent
from tunproxy.rules.policy import NO_MATCH, UNDECIDED

SETS = {"s": RuleSetContent(suffix=["b.com"], ranges=[(4, 1 << 24, (2 << 24) - 1)])}


def answers(*lines: str, facts=None, **more) -> list[tuple[str, str]]:
    result = explain(rules(*lines), SETS, facts or flow("a.com", host_from="dns"), **more)
    return [(record.result, record.why) for record in result.records]


def test_each_rule_says_what_it_saw_up_to_the_first_match() -> None:
    lines = ("DOMAIN,b.com,A", "DST-PORT,22,A", "IP-CIDR,93.0.0.0/8,B", "MATCH,C")
    assert answers(*lines) == [
        ("not_matched", "host a.com (dns)"),
        ("not_matched", "port 443"),
        ("matched", "target 93.184.216.34"),
    ]
    assert answers(*lines, beyond=True)[3:] == [("matched", "always")]
    assert answers(*lines, start=3) == [("matched", "always")]


def test_missing_fact_is_named_and_ends_the_search() -> None:
    facts = flow(host_asked=False, process_asked=False)
    result = explain(rules("UID,0,A", "MATCH,B"), {}, facts)
    assert (result.number, result.needs) == (UNDECIDED, ["process"])
    assert [record.why for record in result.records] == ["unknown yet: process"]


def test_process_that_stays_unknown_says_why() -> None:
    facts = flow(process_why="it has ended")
    assert answers("PROCESS-NAME,x,A", facts=facts) == [
        ("not_matched", "process unknown because it has ended")
    ]
    assert answers("UNIT,x,A", facts=flow(cgroup="/y")) == [("not_matched", "unit /y")]


def test_skipped_rule_is_told_apart() -> None:
    facts = flow("a.com", target="", address_asked=False)
    assert answers("IP-CIDR,1.0.0.0/8,A,no-resolve", facts=facts) == [("skipped", "no target address")]


def test_set_names_the_entry() -> None:
    assert answers("RULE-SET,s,A", facts=flow("x.b.com")) == [
        ("matched", "host x.b.com, target 93.184.216.34: entry 'b.com'")
    ]


def test_logic_says_what_each_part_saw() -> None:
    assert answers("AND,((NETWORK,udp),(TIME,mon)),A") == [
        ("not_matched", "NETWORK not_matched (network tcp); TIME matched (mon 00:00)")
    ]


def test_sub_rules_and_pass_are_followed() -> None:
    subs = {"web": rules("DOMAIN,x.com,B", "DOMAIN,a.com,PASS", "MATCH,C")}
    result = explain(rules("SUB-RULE,(NETWORK,tcp),web", "MATCH,A"), {}, flow("a.com"), sub_rules=subs)
    assert [(record.within, record.number, record.result) for record in result.records] == [
        ("", 0, "matched"), ("web", 0, "not_matched"), ("web", 1, "matched"), ("", 1, "matched"),
    ]  # fmt: skip
    assert (result.number, result.target) == (1, "A")


HOSTS = st.sampled_from(["", "a.com", "b.a.com", "c.b.com", "ab.org", "org"])
V4 = st.sampled_from(["1.2.3.4", "1.2.9.9", "10.0.0.1", "93.184.216.34"])
ADDRESSES = st.one_of(V4, st.sampled_from(["2001:db8::1", "::ffff:1.2.3.4"]))
PORTS = st.sampled_from([22, 80, 443, 1000])
LEAF = st.one_of(
    st.tuples(
        st.sampled_from(["DOMAIN", "DOMAIN-SUFFIX", "DOMAIN-KEYWORD"]),
        st.sampled_from(["a.com", "com", "b.com", "b", "a.com.", ".com", "+.com"]),
    ),
    st.tuples(st.just("DOMAIN-WILDCARD"), st.sampled_from(["*.com", "?.com", "*"])),
    st.tuples(st.just("DOMAIN-REGEX"), st.sampled_from(["^a", "o(r|m)", ".*"])),
    st.tuples(
        st.sampled_from(["IP-CIDR", "SRC-IP-CIDR", "IP-CIDR6"]),
        st.sampled_from(["1.2.0.0/16", "1.2.3.0/24", "0.0.0.0/0", "::/0", "2001:db8::/32", "10.0.0.1/32"]),
        st.sampled_from(["", "no-resolve", "src"]),
    ),
    st.tuples(st.sampled_from(["DST-PORT", "SRC-PORT"]), st.sampled_from(["22", "80/443", "1-500", "70000"])),
    st.tuples(st.just("NETWORK"), st.sampled_from(["tcp", "UDP", "icmp"])),
    st.tuples(st.just("PROCESS-NAME"), st.sampled_from(["curl", "ssh"])),
    st.tuples(st.just("RULE-SET"), st.just("s"), st.sampled_from(["", "no-resolve", "src"])),
    st.tuples(st.just("TIME"), st.sampled_from(["mon", "tue-sun"])),
).map(lambda parts: ",".join(parts))
NESTED = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["AND", "OR"]), st.lists(inner, min_size=1, max_size=3)),
        st.tuples(st.just("NOT"), st.lists(inner, min_size=1, max_size=1)),
    ).map(lambda parts: f"{parts[0]},({','.join(f'({child})' for child in parts[1])})"),
    max_leaves=4,
)


def with_target(condition: str, target: str) -> str:
    """Return a rule line; the target comes before the parameters."""
    kind, payload = condition.split(",", 1)
    if kind in ("AND", "OR", "NOT", "DOMAIN-REGEX"):
        return f"{condition},{target}"
    payload, _, params = payload.partition(",")
    return f"{kind},{payload},{target}" + (f",{params}" if params else "")


TARGET = st.sampled_from([*TARGETS, "PASS", "DIRECT"])
LINES = st.lists(st.tuples(NESTED, TARGET).map(lambda pair: with_target(*pair)), max_size=12)
SUB_LINES = st.tuples(LEAF.filter(lambda text: "REGEX" not in text), st.just("deep")).map(
    lambda pair: f"SUB-RULE,({pair[0]}),{pair[1]}"
)
FLOWS = st.builds(
    flow,
    host=HOSTS,
    target=ADDRESSES,
    port=PORTS,
    source=ADDRESSES,
    source_port=PORTS,
    network=st.sampled_from(["tcp", "udp", "icmp"]),
    host_asked=st.booleans(),
    address_asked=st.booleans(),
    process_asked=st.booleans(),
    process_name=st.sampled_from([None, "curl"]),
    minute_of_week=st.sampled_from([-1, 0, 5000]),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(LINES, st.lists(SUB_LINES, max_size=2)), max_size=3),
    LINES,
    FLOWS,
    st.booleans(),
    st.integers(0, 5),
)
def test_indexes_and_asking_one_by_one_come_to_the_same(parts, deep, facts, nameless, start) -> None:
    lines = rules(*(line for part in parts for line in part))
    subs = {"deep": rules(*deep)}
    if nameless and facts.host:
        facts.target = b""
    policy = compile_rules(lines, SETS, TARGETS, subs)
    slow = explain(lines, SETS, facts, sub_rules=subs, start=start)
    found = policy.match(facts, start)
    assert found == slow.number
    if found >= 0:
        assert policy.target(facts) == slow.target
    if found == UNDECIDED:
        assert need_names(facts.needs) == slow.needs
        assert facts.needs & ~policy.what_is_needed() == 0


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.one_of(LINES, st.lists(SUB_LINES, max_size=2)), max_size=3),
    LINES,
    FLOWS,
    st.integers(0, (1 << 40) - 1),
)
def test_rules_that_only_count_decide_nothing_and_are_noted(found_lines, deep, facts, marks) -> None:
    parts = [line for part in found_lines for line in part]
    everything = [
        replace(rule, observe=bool(marks >> at & 1))
        for at, rule in enumerate([*rules(*parts), *rules(*deep)])
    ]
    lines, subs = everything[: len(parts)], {"deep": everything[len(parts) :]}
    policy = compile_rules(lines, SETS, TARGETS, subs)
    found = policy.deciding(facts)
    slow = explain(lines, SETS, copy_of(facts), sub_rules=subs)
    assert found == slow.number
    if found == UNDECIDED:
        return
    counted = {record.text for record in slow.records if record.result == OBSERVED}
    assert {everything[number].text for number in facts.observed or []} == counted
    others = [rule for rule in lines if not rule.observe]
    rest = {"deep": [rule for rule in subs["deep"] if not rule.observe]}
    without = compile_rules(others, SETS, TARGETS, rest)
    again = copy_of(facts)
    decided = without.match(again)
    if decided != UNDECIDED:  # it may have to know more than rules that are not asked
        assert (decided < 0) == (found < 0)
        if found >= 0:
            assert policy.target(facts) == without.target(again)


def test_nothing_met_is_no_match_in_both() -> None:
    assert explain([], {}, flow()).number == compiled().match(flow()) == NO_MATCH
