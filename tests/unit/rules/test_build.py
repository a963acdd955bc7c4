"""Sets are compiled once; entries that cannot be used are left out and told."""

from tests.unit.rules.rulebook import flow
from tunproxy.rules.build import Builder, ascii_name, gather, range_of
from tunproxy.rules.facts import MATCHED
from tunproxy.rules.model import Condition, RuleSetContent


def test_set_is_compiled_once() -> None:
    builder = Builder({"s": RuleSetContent(exact=["a.com"])})
    assert builder.members("s") is builder.members("s")


def test_entry_that_cannot_be_used_is_left_out_and_told() -> None:
    content = RuleSetContent(
        regex=["(", "^a"], conditions=[Condition("GEOIP", "cn"), Condition("DST-PORT", "443")]
    )
    builder = Builder({"s": content})
    assert builder.matcher(Condition("RULE-SET", "s")).test(flow()) == MATCHED
    assert builder.members("s").has_name("a.com")
    assert [line.split(": ")[0] for line in builder.skipped] == ["s", "s"]


def test_conditions_that_are_alike_are_gathered() -> None:
    content = RuleSetContent(
        exact=["a.com"],
        conditions=[
            Condition("DOMAIN", "B.com"),
            Condition("IP-CIDR", "1.0.0.0/8"),
            Condition("IP-CIDR", "2.0.0.0/8", ("no-resolve",)),
            Condition("DST-PORT", "1/2"),
            Condition("DST-PORT", "3"),
            Condition("DOMAIN-WILDCARD", "*.a"),
        ],
    )
    entries = gather(content)
    assert entries.exact == ["a.com", "b.com"]
    assert content.exact == ["a.com"]
    assert entries.ranges == [range_of("1.0.0.0/8")]
    assert entries.other_ranges == {(False, True): [range_of("2.0.0.0/8")]}
    assert entries.numbers == {"DST-PORT": [(1, 1), (2, 2), (3, 3)]}
    assert [condition.kind for condition in entries.rest] == ["DOMAIN-WILDCARD"]


def test_names_are_compared_in_punycode() -> None:
    assert ascii_name("Bücher.DE") == "xn--bcher-kva.de"
    assert ascii_name("ü" * 70) == "ü" * 70
