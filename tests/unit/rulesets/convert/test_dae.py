"""dae's routing section."""

import pytest

from tests.unit.rulesets.programs import damaged
from tunproxy.rules.model import RuleError
from tunproxy.rulesets.convert.dae import convert_dae
from tunproxy.rulesets.convert.report import Conversion

DATA = b"""
global {
    lan_interface: docker0
}
routing {
    # comment
    pname(NetworkManager, curl) -> must_direct
    dip(224.0.0.0/3, 'ff00::/8') -> direct
    domain(suffix: a.com, full: b.com, keyword: c, geosite: cn) && !dip(geoip: private) -> work(mark: 1)
    domain(regex: '^d[0-9]{1,2}\\.com$') -> block
    l4proto(udp) && dport(443,
        8000-9000) -> block
    mac('02:42:ac:11:00:02') -> direct
    fallback: work
}
dns {
    upstream { a: 'udp://1.1.1.1:53' }
}
"""


def test_rules() -> None:
    result = convert_dae(DATA, "x")
    names = "(OR,((DOMAIN-SUFFIX,a.com),(DOMAIN,b.com),(DOMAIN-KEYWORD,c),(GEOSITE,cn)))"
    assert result.lines == [
        "OR,((PROCESS-NAME,NetworkManager),(PROCESS-NAME,curl)),DIRECT",
        "OR,((IP-CIDR,224.0.0.0/3,no-resolve),(IP-CIDR,ff00::/8,no-resolve)),DIRECT",
        f"AND,({names},(NOT,((GEOIP,private,no-resolve)))),work",
        r"DOMAIN-REGEX,^d[0-9]{1,2}\.com$,REJECT",
        "AND,((NETWORK,udp),(DST-PORT,443/8000-9000)),REJECT",
        "MATCH,work",
    ]
    told = [(o.position.line, o.result) for o in result.outcomes if o.result != "exact"]
    assert told == [(9, "approximated"), (13, "dropped")]


def test_rules_without_a_section() -> None:
    assert convert_dae(b"domain(a.com) -> direct\nfallback: x\n", "x").lines == [
        "DOMAIN-SUFFIX,a.com,DIRECT",
        "MATCH,x",
    ]


@pytest.mark.parametrize(
    "rule",
    [
        "domain(a.com)",
        "domain() -> x",
        "domain(a.com) ->",
        "domain(a.com) || dip(1.1.1.1) -> x",
        "dip(a.com) -> x",
        "domain(ext: x) -> x",
        "ipversion(5) -> x",
        "l4proto(sctp) -> x",
        "what(x) -> x",
        "domain(suffix: a..b) -> x",
    ],
)
def test_rule_that_has_no_counterpart_is_dropped(rule: str) -> None:
    result = convert_dae(rule.encode(), "x")
    assert result.lines == []
    assert result.count("dropped") == 1


def test_damaged_file_is_read_or_refused() -> None:
    for copy in damaged(DATA, 18, 500):
        try:
            assert isinstance(convert_dae(copy, "x"), Conversion)
        except RuleError:
            assert b"\0" in copy
