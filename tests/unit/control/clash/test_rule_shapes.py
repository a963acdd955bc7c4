"""Rules in Clash's words: every kind, and hits that add up."""

from typing import Any

import pytest

from tunproxy.control.clash.rule_shapes import payload_of, rule_provider_of, rules_of, type_of
from tunproxy.rules.kinds import KINDS

REAL = (
    "Domain DomainSuffix DomainKeyword DomainWildcard DomainRegex GeoSite GeoIP SrcGeoIP IPASN SrcIPASN "
    "IPCIDR SrcIPCIDR IPSuffix SrcIPSuffix DstPort SrcPort InPort InType InUser InName RematchName "
    "ProcessName ProcessNameWildcard ProcessNameRegex ProcessPath ProcessPathWildcard ProcessPathRegex Uid "
    "Network DSCP RuleSet SubRules Match AND OR NOT"
)
OURS = {"Unit", "Cgroup", "App", "Time"}


def plain(kind: str, payload: str = "x", *params: str) -> list[Any]:
    return [kind, payload, list(params), []]


def test_every_kind_has_the_word_of_the_real_server() -> None:
    assert {type_of(plain(kind)) for kind in KINDS} == set(REAL.split()) | OURS
    assert type_of(plain("IP-CIDR", "x", "src")) == "SrcIPCIDR"
    assert type_of(plain("IP-CIDR6", "x", "no-resolve", "src")) == "SrcIPCIDR"
    assert type_of(plain("RULE-SET", "x", "src")) == "RuleSet"
    assert type_of(plain("MY-KIND")) == "MyKind"


@pytest.mark.parametrize(
    ("condition", "payload"),
    [
        (plain("GEOIP", "CN"), "cn"),
        (plain("NETWORK", "UDP"), "udp"),
        (plain("DOMAIN", "A.example"), "A.example"),
        (plain("MATCH", ""), ""),
        (["SUB-RULE", "(NETWORK,tcp)", [], [plain("NETWORK", "tcp")]], "(NETWORK,tcp)"),
        (["AND", "", [], [plain("DOMAIN", "a.com"), plain("NETWORK", "UDP")]],
         "((Domain,a.com) && (Network,udp))"),
        (["OR", "", [], [plain("DOMAIN", "a"), plain("UID", "0")]], "((Domain,a) || (Uid,0))"),
        (["NOT", "", [], [plain("DOMAIN", "b.com")]], "(!(Domain,b.com))"),
        (["NOT", "", [], [["OR", "", [], [plain("DOMAIN", "a"), plain("UID", "0")]]]],
         "(!(OR,((Domain,a) || (Uid,0))))"),
    ],
)  # fmt: skip
def test_payloads(condition: list[Any], payload: str) -> None:
    assert payload_of(condition) == payload


def test_hits_of_all_workers_add_up_and_misses_follow() -> None:
    told = {"rules": [[plain("DOMAIN", "a"), "direct", -1], [plain("UID", "0"), "x", -1]], "default": "drop"}
    answers = [
        {"hits": [[0, 2, 100.0], [-1, 1, 300.0]], "off": []},
        {"hits": [[0, 1, 50.0], [1, 4, 200.0], [9, 1, 1.0]], "off": [1]},
    ]
    found = rules_of(told, answers)
    assert [(rule["type"], rule["proxy"]) for rule in found] == [
        ("Domain", "DIRECT"),
        ("Uid", "x"),
        ("Match", "REJECT-DROP"),
    ]
    extras = [rule["extra"] for rule in found]
    assert [each["hitCount"] for each in extras] == [3, 4, 1]
    assert [each["missCount"] for each in extras] == [5, 1, 0]
    assert [each["hitAt"][-7:] for each in extras] == [":01:40Z", ":03:20Z", ":05:00Z"]
    assert [each["missAt"][-7:] for each in extras] == [":05:00Z", ":05:00Z", ":00:00Z"]
    assert [each["disabled"] for each in extras] == [False, True, False]


def test_rule_set() -> None:
    found = rule_provider_of("ads", "domain", "mrs", 7, 0.0)
    assert (found["behavior"], found["format"], found["ruleCount"]) == ("Domain", "MrsRule", 7)
    assert rule_provider_of("x", "classical", "", 0, None)["updatedAt"] == "0001-01-01T00:00:00Z"


def test_rule_that_only_counts_keeps_no_flow_from_those_behind_it() -> None:
    told = {
        "rules": [
            [plain("DOMAIN", "a"), "x", -1],
            [plain("UID", "0"), "x", -1],
            [plain("MATCH", ""), "y", -1],
        ],
        "default": "drop",
    }
    answers = [
        {"hits": [[0, 2, 1.0], [1, 3, 1.0], [2, 5, 1.0]], "off": [], "observed": [[1, 3, 700], [7, 1, 1]]}
    ]
    extras = [rule["extra"] for rule in rules_of(told, answers)]
    assert [each["hitCount"] for each in extras] == [2, 3, 5]
    assert [each["missCount"] for each in extras] == [5, 2, 0]
