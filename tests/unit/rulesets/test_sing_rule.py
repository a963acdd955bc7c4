"""One rule of sing-box as entries of a set."""

import pytest

from tests.unit.rulesets.flows import To, holds
from tunproxy.rules.model import RuleSetContent
from tunproxy.rulesets.notes import Notes
from tunproxy.rulesets.sing_rule import MAX_DEPTH, Unusable, add_rule, understood


def test_names_and_addresses_go_into_lists() -> None:
    rule = {
        "domain": "A.b",
        "domain_suffix": ["c.d", ".e.f"],
        "domain_keyword": ["kw"],
        "domain_regex": "^r$",
    }
    assert understood({**rule, "ip_cidr": ["1.2.3.4", "::/0"]}, 0) == RuleSetContent(
        exact=["a.b"], suffix=["c.d"], below=["e.f"], keyword=["kw"], regex=["^r$"],
        ranges=[(4, 0x1020304, 0x1020304), (6, 0, 2**128 - 1)],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "inside", "outside"),
    [
        ({"domain": "a.b", "port": 443}, To("a.b", port=443), To("a.b", port=80)),
        ({"port": 80, "port_range": ["1000:2000", ":10"]}, To(port=5), To(port=900)),
        ({"port_range": "60000:"}, To(port=65535), To(port=59999)),
        ({"source_port": [53], "source_port_range": "1:2"}, To(source_port=2), To(source_port=3)),
        (
            {"source_ip_cidr": "10.0.0.0/8", "domain": "a.b"},
            To("a.b", source="10.1.1.1"),
            To("a.b", source="11.0.0.1"),
        ),
        (
            {"domain": "a.b", "ip_cidr": "1.0.0.0/8", "network": "udp"},
            To("c", "1.1.1.1", network="udp"),
            To("a.b"),
        ),
        (
            {"process_name": ["curl"], "process_path": ["/x/y"]},
            To(process="z", path="/x/y"),
            To(process="z", path="/y"),
        ),
        ({"domain": "a.b", "invert": True}, To("c.d"), To("a.b")),
        (
            {"type": "logical", "mode": "or", "rules": [{"domain": "a"}, {"port": 1}]},
            To("b", port=1),
            To("b", port=2),
        ),
        (
            {"type": "logical", "mode": "and", "rules": [{"domain": "a"}, {"port": 1}]},
            To("a", port=1),
            To("a", port=2),
        ),
        (
            {
                "type": "logical",
                "mode": "and",
                "rules": [{"domain_suffix": "a"}, {"domain": "x.a", "invert": True}],
            },
            To("y.a"),
            To("x.a"),
        ),
        (
            {"type": "logical", "mode": "or", "rules": [{"domain": "a"}, {"port": 1}], "invert": True},
            To("b", port=2),
            To("b", port=1),
        ),
    ],
)
def test_rule_is_met_as_sing_box_says(rule: dict[str, object], inside: To, outside: To) -> None:
    found = understood(rule, 0)
    assert holds(found, inside)
    assert not holds(found, outside)


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (5, "not an object"),
        ({}, "no condition"),
        ({"invert": True}, "no condition"),
        ({"type": "other"}, "unknown type"),
        ({"domain": ["a..b"]}, "empty label"),
        ({"domain": [5]}, "no text"),
        ({"domain": {"a": 1}}, "no text"),
        ({"domain_regex": "("}, "bad expression"),
        ({"domain": "a", "wifi_ssid": "b"}, "wifi_ssid is nothing that is known"),
        ({"domain": "a", "future": 1}, "unknown field 'future'"),
        ({"port": 70000}, "no port"),
        ({"port": True}, "no port"),
        ({"port": "80"}, "no port"),
        ({"port_range": "1-2"}, "no range"),
        ({"ip_cidr": "1.2.3"}, "no address"),
        ({"network": "sctp"}, "unknown network"),
        ({"domain": "a", "invert": 1}, "neither true nor false"),
        ({"type": "logical", "mode": "xor", "rules": [{}]}, "mode"),
        ({"type": "logical", "mode": "and", "rules": []}, "mode"),
    ],
)
def test_unusable_rule_says_why(rule: object, why: str) -> None:
    with pytest.raises(Unusable, match=why):
        understood(rule, 0)


def test_nesting_has_a_limit() -> None:
    rule: dict[str, object] = {"domain": "a"}
    for _ in range(MAX_DEPTH):
        rule = {"type": "logical", "mode": "or", "rules": [rule]}
    assert understood(rule, 0).exact == ["a"]
    with pytest.raises(Unusable, match="nested"):
        understood({"type": "logical", "mode": "or", "rules": [rule]}, 0)


def test_rule_that_is_left_out_is_noted() -> None:
    content = RuleSetContent()
    add_rule(content, {"wifi_ssid": "a"}, Notes(content, "x"), "rules[3]")
    assert str(content.skipped[0][0]) == "x:1:1"
    assert content.skipped[0][1].startswith("rules[3]: wifi_ssid")


@pytest.mark.parametrize(
    ("rule", "faults"),
    [
        ({"domain": ["a.b", "no name"], "domain_suffix": ["c..d", ".e.f"]}, ["'no name'", "'c..d'"]),
        ({"domain": "a.b", "domain_suffix": ".e.f", "domain_regex": ["("]}, ["bad expression '('"]),
        (
            {"type": "logical", "mode": "or", "rules": [{"domain": ["a.b", "a b"], "domain_suffix": ".e.f"}]},
            ["'a b'"],
        ),
    ],
)
def test_name_that_cannot_be_read_does_not_take_the_others_with_it(
    rule: dict[str, object], faults: list[str]
) -> None:
    content = RuleSetContent()
    add_rule(content, rule, Notes(content, "x"), "rules[3]")
    assert (content.exact, content.below, content.suffix, content.regex) == (["a.b"], ["e.f"], [], [])
    assert [why.startswith("rules[3]: ") for _, why in content.skipped] == [True] * len(faults)
    assert all(fault in why for fault, (_, why) in zip(faults, content.skipped, strict=True))


def test_condition_of_which_nothing_is_left_does_not_leave_the_others_alone() -> None:
    content = RuleSetContent()
    add_rule(content, {"domain": "no name", "port": 443}, Notes(content, "x"), "rules[0]")
    assert content == RuleSetContent(skipped=content.skipped)
    assert [why for _, why in content.skipped] == ["rules[0]: 'no name' is no name"]


@pytest.mark.parametrize(
    "rule",
    [
        {"domain": "a.b", "domain_regex": "(", "invert": True},
        {
            "type": "logical",
            "mode": "and",
            "rules": [{"domain_suffix": "b"}, {"domain": "a.b", "domain_regex": "(", "invert": True}],
        },
    ],
)
def test_exception_that_cannot_be_read_makes_the_whole_rule_unusable(rule: dict[str, object]) -> None:
    """Without it the rule would be met by flows that it excepts."""
    content = RuleSetContent()
    add_rule(content, rule, Notes(content, "x"), "rules[0]")
    assert content == RuleSetContent(skipped=content.skipped)
    assert len(content.skipped) == 1
