"""Rule sets as conditions."""

import pytest

from tests.unit.rules.rulebook import compiled, flow, matches
from tunproxy.rules.facts import NEEDS_ADDRESS, NEEDS_NAME
from tunproxy.rules.model import Condition, RuleSetContent
from tunproxy.rules.policy import NO_MATCH, UNDECIDED

TEN = (4, 10 << 24, (11 << 24) - 1)
NAMES = RuleSetContent(
    exact=["a.com"],
    suffix=["b.com"],
    below=["c.com"],
    wildcard=["*.d.com"],
    keyword=["ads"],
    regex=["^x[0-9]$"],
)
BOTH = RuleSetContent(suffix=["b.com"], ranges=[TEN])


@pytest.mark.parametrize("host", ["a.com", "b.com", "x.b.com", "x.c.com", "x.d.com", "myads.org", "x7"])
def test_any_entry_is_enough(host: str) -> None:
    assert matches("RULE-SET,s,A", flow(host), {"s": NAMES})
    assert not matches("GEOSITE,!s,A", flow(host), {"geosite:s": NAMES})


@pytest.mark.parametrize("host", ["x.a.com", "c.com", "d.com", "y.x.d.com", "x77", ""])
def test_without_an_entry_it_is_not_met(host: str) -> None:
    assert not matches("RULE-SET,s,A", flow(host), {"s": NAMES})
    assert matches("GEOSITE,!S,A", flow(host), {"geosite:s": NAMES}) == bool(
        host
    )  # no name: in no list at all


@pytest.mark.parametrize(
    ("line", "condition", "changes", "expected"),
    [
        ("RULE-SET,s,A", Condition("DST-PORT", "443"), {}, True),
        ("RULE-SET,s,A", Condition("DST-PORT", "80"), {}, False),
        ("RULE-SET,s,A,src", Condition("DST-PORT", "50000"), {}, True),
        ("RULE-SET,s,A", Condition("PROCESS-NAME", "curl"), {"process_name": "Curl"}, True),
        ("RULE-SET,s,A", Condition("SRC-IP-CIDR", "192.168.0.0/16"), {}, True),
        ("RULE-SET,s,A", Condition("IP-CIDR", "93.0.0.0/8", ("no-resolve",)), {}, True),
        ("RULE-SET,s,A", Condition("DOMAIN-SUFFIX", "b.com"), {"host": "a.b.com"}, True),
        ("RULE-SET,s,A", Condition("DOMAIN-REGEX", "^a"), {"host": "a.b.com"}, True),
        (
            "RULE-SET,s,A",
            Condition("AND", "", (), (Condition("NETWORK", "tcp"), Condition("UID", "0"))),
            {},
            False,
        ),
    ],
)
def test_classical_entries_are_conditions(
    line: str, condition: Condition, changes: dict[str, object], expected: bool
) -> None:
    content = RuleSetContent(conditions=[condition])
    assert matches(line, flow(**changes), {"s": content}) == expected  # type: ignore[arg-type]


def test_ranges_are_of_the_target_or_with_src_of_the_source() -> None:
    assert matches("RULE-SET,s,A", flow(target="10.1.1.1"), {"s": BOTH})
    assert not matches("RULE-SET,s,A,src", flow(target="10.1.1.1"), {"s": BOTH})
    assert matches("RULE-SET,s,A,src", flow(source="10.1.1.1"), {"s": BOTH})
    assert matches("GEOIP,cn,A", flow(target="10.1.1.1"), {"geoip:cn": BOTH})
    assert matches("GEOIP,!cn,A", flow(target="11.1.1.1"), {"geoip:cn": BOTH})
    assert matches("SRC-IP-ASN,7,A", flow(source="10.1.1.1"), {"asn:7": BOTH})


def test_set_asks_for_a_name_only_while_nothing_else_fits() -> None:
    rules = compiled("RULE-SET,s,A", sets={"s": BOTH})
    assert rules.match(flow(target="10.1.1.1", host_asked=False)) == 0
    facts = flow(target="11.1.1.1", host_asked=False)
    assert rules.match(facts) == UNDECIDED
    assert facts.needs == NEEDS_NAME


def test_set_asks_for_an_address_unless_told_not_to() -> None:
    facts = flow("a.com", target="", address_asked=False)
    assert compiled("RULE-SET,s,A", sets={"s": BOTH}).match(facts) == UNDECIDED
    assert facts.needs == NEEDS_ADDRESS
    assert compiled("RULE-SET,s,A,no-resolve", sets={"s": BOTH}).match(facts) == NO_MATCH
    assert compiled("RULE-SET,s,A", sets={"s": BOTH}).match(flow("x.b.com", target="")) == 0


def test_set_that_is_empty_is_never_met() -> None:
    assert not matches("RULE-SET,s,A", flow("a.com"), {"s": RuleSetContent()})
