"""Clash's configuration."""

import pytest

from tests.unit.rulesets.programs import check_message, damaged
from tunproxy.rules.model import RuleError
from tunproxy.rulesets.convert.clash import convert_clash
from tunproxy.rulesets.convert.report import Conversion, Outlet, Source

DATA = b"""# mine
mixed-port: 7890
proxies:
  - {name: ss1, type: ss, server: 1.2.3.4, port: 443}
proxy-groups:
  - name: Auto
    type: url-test
    proxies: [ss1, DIRECT]
rule-providers:
  ads:
    type: http
    behavior: domain
    format: mrs
    url: https://a.example/ads.mrs
  mine: {type: inline, behavior: classical, payload: ['DOMAIN,x.y', 'DST-PORT,22']}
  odd: {type: ftp, behavior: domain}
sub-rules:
  inner:
    - DOMAIN,a.b,ss1
    - MATCH,DIRECT
rules:
  - RULE-SET,ads,REJECT
  - DOMAIN-SUFFIX, google.com , Auto
  - DOMAIN-REGEX,^a{1,3}$,Auto
  - AND,((DOMAIN,a.b),(NETWORK,UDP)),DIRECT
  - SUB-RULE,(NETWORK,TCP),inner
  - DOMAIN,nowhere.x,Lost
  - DOMIAN,a.b,Auto
  - 5
  - FINAL,Auto
"""


def test_rules_sets_and_names() -> None:
    result = convert_clash(DATA, "config.yaml")
    assert result.lines == [
        "RULE-SET,ads,REJECT",
        "DOMAIN-SUFFIX,google.com,Auto",
        "DOMAIN-REGEX,^a{1,3}$,Auto",
        "AND,((DOMAIN,a.b),(NETWORK,UDP)),DIRECT",
        "SUB-RULE,(NETWORK,TCP),inner",
        "DOMAIN,nowhere.x,Lost",
        "MATCH,Auto",
    ]
    assert result.sub_rules == {"inner": ["DOMAIN,a.b,ss1", "MATCH,DIRECT"]}
    assert result.sources == [
        Source("ads", "http", "mrs", "domain", "https://a.example/ads.mrs"),
        Source("mine", "inline", "yaml", "classical", "", ("DOMAIN,x.y", "DST-PORT,22")),
    ]
    assert result.outlets == [Outlet("ss1", "proxy ss"), Outlet("Auto", "group url-test", ("ss1", "DIRECT"))]


def test_proxies_that_lead_nowhere_else_are_our_own_targets() -> None:
    data = """
proxies:
  - {name: 直连, type: direct, udp: true}
  - {name: closed, type: Reject}
  - {name: by-eth1, type: direct, interface-name: eth1}
  - {name: 7, type: http, server: 192.0.2.1, port: 8080}
proxy-groups:
  - {name: 8, type: select, proxies: [直连, 7]}
sub-rules:
  inner: ["MATCH,直连"]
rules:
  - "DOMAIN-REGEX,^a{1,3}$,直连"
  - DOMAIN,a.b,closed
  - DOMAIN,c.d,by-eth1
  - DOMAIN,e.f,7
  - SUB-RULE,(DOMAIN,g.h),inner
  - IP-CIDR,10.0.0.0/8,直连,no-resolve
  - MATCH,8
"""
    result = convert_clash(data.encode(), "config.yaml")
    assert result.lines == [
        "DOMAIN-REGEX,^a{1,3}$,DIRECT",
        "DOMAIN,a.b,REJECT",
        "DOMAIN,c.d,DIRECT",
        "DOMAIN,e.f,7",
        "SUB-RULE,(DOMAIN,g.h),inner",
        "IP-CIDR,10.0.0.0/8,DIRECT,no-resolve",
        "MATCH,8",
    ]
    assert result.sub_rules == {"inner": ["MATCH,DIRECT"]}
    assert result.aliases == {"直连": "DIRECT", "closed": "REJECT", "by-eth1": "DIRECT"}
    assert result.outlets == [Outlet("7", "proxy http"), Outlet("8", "group select", ("直连", "7"))]
    told = [(each.text, each.why) for each in result.outcomes if each.result != "exact"]
    assert told == [("DOMAIN,c.d,by-eth1", "'interface-name' of by-eth1: left out")]


def test_outcomes_have_the_lines_of_the_file() -> None:
    result = convert_clash(DATA, "config.yaml")
    lines = DATA.decode().split("\n")
    told = [outcome for outcome in result.outcomes if outcome.result != "exact"]
    assert [outcome.result for outcome in told] == ["dropped", "approximated", "dropped", "dropped"]
    assert "odd" in lines[told[0].position.line - 1]
    assert "Lost" in lines[told[1].position.line - 1]
    assert "DOMIAN" in lines[told[2].position.line - 1]
    assert "'Lost' is declared nowhere" in told[1].why


@pytest.mark.parametrize(
    "data", [b"", b"- a\n", b"a: [", b"\0", b"a: &b [*b", b"[" * 20_000, b"a: !!python/object:x.y {}\n- b"]
)
def test_what_is_no_configuration_is_an_error(data: bytes) -> None:
    with pytest.raises(RuleError, match=r"^x:1:1: "):
        convert_clash(data, "x")


def test_deep_nesting_over_many_lines_is_an_error() -> None:
    with pytest.raises(RuleError, match=r"^x:1:1: "):
        convert_clash(b"\n".join(b" " * depth + b"a:" for depth in range(3000)), "x")


def test_aliases_do_not_multiply() -> None:
    data = b"a0: &a0 [x]\n" + b"".join(
        b"a%d: &a%d [*a%d,*a%d]\n" % (n, n, n - 1, n - 1) for n in range(1, 60)
    )
    assert convert_clash(data + b"rules: *a59\n", "x").lines == []


def test_damaged_file_is_read_or_refused() -> None:
    for copy in damaged(DATA, 14, 120):
        try:
            assert isinstance(convert_clash(copy, "x"), Conversion)
        except RuleError as error:
            check_message(error, "x:1:1: ")
