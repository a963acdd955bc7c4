"""What rules refer to must exist."""

import pytest

from tests.unit.rules.rulebook import TARGETS, compiled, rules
from tunproxy.rules.compile import compile_rules, needed_sets, unknown_references
from tunproxy.rules.model import RuleErrors, RuleSetContent
from tunproxy.rules.parse import MAX_HINTS


def errors_of(*lines: str, subs: dict[str, list[str]] | None = None) -> list[str]:
    lists = {name: rules(*more) for name, more in (subs or {}).items()}
    with pytest.raises(RuleErrors) as raised:
        compile_rules(rules(*lines), {"ads": RuleSetContent()}, ["Work", *TARGETS], lists)
    return str(raised.value).splitlines()


def test_everything_unknown_is_told_with_its_place() -> None:
    assert errors_of(
        "DOMAIN,a.com,Wrok", "RULE-SET, adz,A", "SUB-RULE,(NETWORK,tcp),wbe", subs={"web": []}
    ) == [
        "test.rules:1:14: unknown target 'Wrok' (did you mean 'Work'?)",
        "test.rules:2:11: unknown rule set 'adz' (did you mean 'ads'?)",
        "test.rules:3:24: unknown sub-rule 'wbe' (did you mean 'web'?)",
    ]


def test_unknown_name_like_no_other_is_told_where_it_should_be() -> None:
    assert errors_of("DOMAIN,a.com,Zurich", "RULE-SET,zoo,A", "SUB-RULE,(NETWORK,tcp),zoo") == [
        "test.rules:1:14: unknown target 'Zurich' "
        "(it needs a table in [upstreams] or [groups], or write DIRECT or REJECT)",
        "test.rules:2:10: unknown rule set 'zoo' (it needs a table in [rule-sets])",
        "test.rules:3:24: unknown sub-rule 'zoo' (it needs a list in [sub-rules])",
    ]


def test_target_is_case_sensitive() -> None:
    assert errors_of("MATCH,direct") == ["test.rules:1:7: unknown target 'direct' (did you mean 'DIRECT'?)"]


def test_sets_within_logic_and_sub_rules_must_exist() -> None:
    assert len(errors_of("NOT,((GEOSITE,cn)),A", "MATCH,A", subs={"web": ["GEOIP,de,A"]})) == 2


def test_sub_rules_may_not_lead_back_to_themselves() -> None:
    circle = {"x": ["SUB-RULE,(NETWORK,tcp),y"], "y": ["SUB-RULE,(NETWORK,tcp),x"]}
    assert errors_of("MATCH,A", subs=circle) == [
        "test.rules:1:1: sub-rule 'x' leads back to itself",
        "test.rules:1:1: sub-rule 'y' leads back to itself",
    ]


@pytest.mark.parametrize("target", ["DIRECT", "REJECT", "REJECT-DROP", "PASS", "COMPATIBLE", "GLOBAL"])
def test_built_in_targets_are_known(target: str) -> None:
    compiled(f"MATCH,{target}")


def test_needed_sets_have_names_by_kind() -> None:
    lines = rules(
        "RULE-SET,Ads,A",
        "GEOSITE,!CN@ads,A",
        "GEOIP,!cn,A",
        "SRC-GEOIP,DE,A",
        "IP-ASN,13335,A",
        "GEOIP,LAN,A",
        "OR,((GEOSITE,x),(NETWORK,tcp)),A",
    )
    expected = {"Ads", "geosite:cn@ads", "geoip:cn", "geoip:de", "asn:13335", "geosite:x", "asn:1"}
    assert needed_sets(lines, {"s": rules("SRC-IP-ASN,1,A")}) == expected


def test_ten_thousand_rules_compile_in_no_time() -> None:
    lines = [f"DOMAIN-SUFFIX,s{number}.com,A" for number in range(10_000)]
    policy = compiled(*lines, "MATCH,B")
    assert policy.targets[-1] == "B"


def test_after_many_unknown_targets_nobody_is_told_what_was_meant() -> None:
    wrong = rules(*(f"DOMAIN,{number}.com,Wrok" for number in range(MAX_HINTS + 5)))
    meant = [error.suggestion for error in unknown_references(wrong, {}, ["Work"], {})]
    assert meant == ["Work"] * MAX_HINTS + [""] * 5
