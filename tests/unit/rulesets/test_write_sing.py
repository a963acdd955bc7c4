"""Sets written for sing-box. What sing-box makes of them is tested with .srs."""

import pytest

from tests.unit.rulesets.flows import To, holds
from tunproxy.rules.model import Condition, RuleSetContent
from tunproxy.rulesets.logic import all_of, negated
from tunproxy.rulesets.sing_json import read_sing_json
from tunproxy.rulesets.srs import read_srs
from tunproxy.rulesets.write_sing import rule_of, write_sing_json, write_srs

CONTENT = RuleSetContent(
    ["e.x"],
    ["s.x"],
    ["b.x"],
    ["*.w.x"],
    ["kw"],
    [r"^r\d$"],
    [(4, 5, 9), (6, 7, 7)],
    [
        all_of([Condition("DOMAIN", "p.x"), negated(Condition("DST-PORT", "80/1000-2000"))]),
        Condition("NETWORK", "UDP"),
    ],
)


@pytest.mark.parametrize("form", ["json", "srs"])
def test_set_comes_back(form: str) -> None:
    data, missing = write_sing_json(CONTENT) if form == "json" else write_srs(CONTENT)
    back = read_sing_json(data, "x") if form == "json" else read_srs(data, "x")
    assert missing == 0
    assert not back.skipped
    for host in ("", "e.x", "a.s.x", "b.x", "a.b.x", "a.w.x", "w.x", "akwb", "r1", "p.x"):
        for address in ("0.0.0.5", "0.0.0.9", "0.0.0.10", "::7"):
            for port, network in ((80, "tcp"), (1500, "tcp"), (443, "tcp"), (80, "udp")):
                flow = To(host, address, port, network)
                assert holds(back, flow) == holds(
                    RuleSetContent(
                        **{
                            **{f: getattr(CONTENT, f) for f in CONTENT.__slots__},
                            "conditions": [CONTENT.conditions[0], Condition("NETWORK", "udp")],
                        }
                    ),
                    flow,
                )


@pytest.mark.parametrize(
    "condition",
    [
        Condition("UID", "1000"),
        Condition("IP-CIDR", "1.0.0.0/8", ("src",)),
        Condition("DST-PORT", "x"),
        negated(Condition("DSCP", "4")),
    ],
)
def test_what_sing_box_does_not_have_is_counted(condition: Condition) -> None:
    assert rule_of(condition) is None
    assert write_srs(RuleSetContent(exact=["a"], conditions=[condition]))[1] == 1
