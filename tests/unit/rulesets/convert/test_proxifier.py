"""Proxifier's profiles."""

import pytest

from tests.unit.rulesets.programs import check_message, damaged
from tunproxy.rules.model import RuleError
from tunproxy.rulesets.convert.proxifier import convert_proxifier
from tunproxy.rulesets.convert.report import Conversion, Outlet


def profile(*rules: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ProxifierProfile version="101">'
        '<ProxyList><Proxy id="100" type="SOCKS5">'
        "<Address>1.2.3.4</Address><Port>1080</Port></Proxy></ProxyList>"
        '<ChainList><Chain id="200" type="simple"><Name>Two, hops</Name>'
        '<Proxy enabled="true">100</Proxy></Chain></ChainList>'
        f"<RuleList>{''.join(rules)}</RuleList></ProxifierProfile>"
    ).encode()


def rule(inner: str, action: str = '<Action type="Direct" />', enabled: str = "true") -> str:
    return f'<Rule enabled="{enabled}"><Name>r</Name>{inner}{action}</Rule>'


@pytest.mark.parametrize(
    ("inner", "ours", "result"),
    [
        (
            "<Targets>a.lan; 10.*</Targets>",
            "OR,((DOMAIN,a.lan),(IP-CIDR,10.0.0.0/8,no-resolve)),DIRECT",
            "exact",
        ),
        ("<Targets>*.lan</Targets>", "DOMAIN-WILDCARD,*.lan,DIRECT", "exact"),
        (
            "<Targets>10.0.0.4-10.0.0.7</Targets><Ports>80; 8000-9000</Ports>",
            "AND,((IP-CIDR,10.0.0.4/30,no-resolve),(DST-PORT,80/8000-9000)),DIRECT",
            "exact",
        ),
        ("<Applications>b*</Applications>", "PROCESS-NAME-WILDCARD,b*,DIRECT", "exact"),
        ("<Applications>a.exe</Applications>", "PROCESS-NAME,a,DIRECT", "approximated"),
        ("<Applications>C:\\x\\a.exe</Applications>", "PROCESS-NAME,a,DIRECT", "approximated"),
        ("<Targets>%ComputerName%; localhost</Targets>", "DOMAIN,localhost,DIRECT", "approximated"),
        ("<Targets>Any</Targets>", "MATCH,DIRECT", "exact"),
        ("", "MATCH,DIRECT", "exact"),
    ],
)
def test_rule(inner: str, ours: str, result: str) -> None:
    found = convert_proxifier(profile(rule(inner)), "x")
    assert found.lines == [ours]
    assert [outcome.result for outcome in found.outcomes] == [result]


def test_actions_and_what_they_lead_to() -> None:
    actions = (
        '<Action type="Block" />',
        '<Action type="Proxy">100</Action>',
        '<Action type="Chain">200</Action>',
    )
    found = convert_proxifier(profile(*(rule("", action) for action in actions)), "x")
    assert found.lines == ["MATCH,REJECT", "MATCH,1.2.3.4-1080", "MATCH,Two-hops"]
    assert found.outlets == [
        Outlet("1.2.3.4-1080", "proxy socks5"),
        Outlet("Two-hops", "group relay", ("1.2.3.4-1080",)),
    ]


@pytest.mark.parametrize(
    "text",
    [
        rule("", enabled="false"),
        rule("", ""),
        rule("", '<Action type="Proxy">7</Action>'),
        rule("<Ports>x</Ports>"),
        rule("<Targets>%x%</Targets>"),
        rule("<Targets>a..b</Targets>"),
    ],
)
def test_rule_that_cannot_be_kept_is_dropped(text: str) -> None:
    found = convert_proxifier(profile(text), "x")
    assert found.lines == []
    assert found.count("dropped") == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<a/>",
        b"<ProxifierProfile>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><ProxifierProfile/>',
        b"<ProxifierProfile>" + b"<a>" * 10_000,
        "<ProxifierProfile/>".encode("utf-16"),
    ],
)
def test_what_is_no_profile_is_an_error(data: bytes) -> None:
    with pytest.raises(RuleError, match=r"^x:1:1: not "):
        convert_proxifier(data, "x")


def test_damaged_file_is_read_or_refused() -> None:
    data = profile(
        rule("<Applications>a.exe; b*</Applications><Targets>10.*;*.lan</Targets><Ports>80</Ports>")
    )
    for copy in damaged(data, 19, 500):
        try:
            assert isinstance(convert_proxifier(copy, "x"), Conversion)
        except RuleError as error:
            check_message(error, "x:1:1: ")
