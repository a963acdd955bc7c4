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
