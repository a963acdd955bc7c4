"""Surge's and leaf's .conf."""

import pytest

from tests.unit.rulesets.programs import damaged
from tunproxy.rules.model import RuleError
from tunproxy.rulesets.convert.report import Conversion, Outlet, Source
from tunproxy.rulesets.convert.surge import convert_surge

HEAD = (
    "[Proxy]\nHome = direct\nWork = socks5, 1.2.3.4, 1080\n[Proxy Group]\nPick = select, Work, Home\n[Rule]\n"
)


@pytest.mark.parametrize(
    ("line", "ours", "result"),
    [
        ("DOMAIN-SUFFIX,a.com,Work", "DOMAIN-SUFFIX,a.com,Work", "exact"),
        ("DOMAIN,a.com,Home // note", "DOMAIN,a.com,DIRECT", "exact"),
        ("IP-CIDR,1.2.3.4,Pick,no-resolve", "IP-CIDR,1.2.3.4/32,Pick,no-resolve", "exact"),
        ("SRC-IP,10.0.0.1,Work", "SRC-IP-CIDR,10.0.0.1/32,Work", "exact"),
        ("DEST-PORT,>=1000,Work", "DST-PORT,1000-65535,Work", "exact"),
        ("DEST-PORT,<80,Work", "DST-PORT,0-79,Work", "exact"),
        ("PORT-RANGE,8000-9000,Work", "DST-PORT,8000-9000,Work", "exact"),
        ("PROTOCOL,UDP,REJECT-DROP", "NETWORK,UDP,REJECT-DROP", "exact"),
        ("PROCESS-NAME,/usr/bin/curl,Work", "PROCESS-PATH,/usr/bin/curl,Work", "exact"),
        ("PROCESS-NAME,cu*,Work", "PROCESS-NAME-WILDCARD,cu*,Work", "exact"),
        ("AND,((DOMAIN,a.com),(DEST-PORT,80)),Work", "AND,((DOMAIN,a.com),(DST-PORT,80)),Work", "exact"),
        (
            "AND,((SRC-IP,192.168.1.110), (Domain, example.com)),Work",
            "AND,((SRC-IP-CIDR,192.168.1.110/32), (DOMAIN,example.com)),Work",
            "exact",
        ),
        (
            "OR,((NOT,((IP-CIDR,2001:db8::1,no-resolve))),(DEST-PORT,>=1000),(PROCESS-NAME,/bin/cu*)),Work",
            "OR,((NOT,((IP-CIDR,2001:db8::1/128,no-resolve))),(DST-PORT,1000-65535),"
            "(PROCESS-PATH-WILDCARD,/bin/cu*)),Work",
            "exact",
        ),
        ("FINAL,Pick", "MATCH,Pick", "exact"),
        ("FINAL,Pick,dns-failed", "MATCH,Pick", "approximated"),
        ("DOMAIN,a.com,REJECT-TINYGIF", "DOMAIN,a.com,REJECT", "approximated"),
        ("DOMAIN,a.com,Work,extended-matching", "DOMAIN,a.com,Work", "approximated"),
        ("RULE-SET,LAN,DIRECT", "GEOIP,LAN,DIRECT", "approximated"),
        ("RULE-SET,https://a.example/x/ads.list,REJECT", "RULE-SET,ads,REJECT", "exact"),
        ("DOMAIN-SET,sets/ads.txt,REJECT", "RULE-SET,ads,REJECT", "approximated"),
        ("EXTERNAL, site:cn, Home", "GEOSITE,cn,DIRECT", "exact"),
        ("EXTERNAL, mmdb:us, Work", "GEOIP,us,Work", "exact"),
    ],
)
def test_rule(line: str, ours: str, result: str) -> None:
    found = convert_surge(f"{HEAD}{line}\n".encode(), "x")
    assert found.lines == [ours]
    assert [outcome.result for outcome in found.outcomes] == [result]
    assert found.outcomes[0].position.line == 7


@pytest.mark.parametrize(
    "line",
    [
        "USER-AGENT,x*,Work",
        "URL-REGEX,^x,Work",
        "RULE-SET,SYSTEM,Work",
        "PROTOCOL,HTTP,Work",
        "WHAT,x,Work",
        "DOMAIN,a.com",
        "AND,((URL-REGEX,x),(DOMAIN,a)),Work",
        "AND,((RULE-SET,x),(DOMAIN,a)),Work",
        "AND,((PROTOCOL,QUIC),(DOMAIN,a)),Work",
        "EXTERNAL,x:y,Work",
        "DEST-PORT,x,Work",
    ],
)
def test_rule_that_has_no_counterpart_is_dropped(line: str) -> None:
    found = convert_surge(f"{HEAD}{line}\n".encode(), "x")
    assert found.lines == []
    assert [outcome.result for outcome in found.outcomes] == ["dropped"]
    assert found.outcomes[0].why


def test_names_and_sets() -> None:
    lines = "RULE-SET,http://a/ads.list,REJECT\nRULE-SET,http://b/ads.list,REJECT\nRULE-SET,http://a/ads.list,Work\n"
    found = convert_surge((HEAD + lines).encode(), "x")
    assert found.outlets == [Outlet("Work", "proxy socks5"), Outlet("Pick", "group select", ("Work", "Home"))]
    assert found.lines == ["RULE-SET,ads,REJECT", "RULE-SET,ads-2,REJECT", "RULE-SET,ads,Work"]
    assert found.sources == [
        Source("ads", "http", "text", "classical", "http://a/ads.list"),
        Source("ads-2", "http", "text", "classical", "http://b/ads.list"),
    ]


def test_commas_within_quotes_divide_nothing() -> None:
    head = '[Proxy]\nA = ss, 1.2.3.4, 8388, encrypt-method=aes-128-gcm, password="p,w"\n'
    head += 'B = https, 1.2.3.4, 443, me, "a,b"\n'
    found = convert_surge(f'{head}[Proxy Group]\nG = select, "A", B\n[Rule]\nFINAL,G\n'.encode(), "x")
    assert [(outlet.server, outlet.port, outlet.password) for outlet in found.outlets[:2]] == [
        ("1.2.3.4", 8388, "p,w"),
        ("1.2.3.4", 443, "a,b"),
    ]
    assert found.outlets[2].members == ("A", "B")
    odd = convert_surge(b'[Proxy]\nA =\nB = ss,,8388,"\nC = ss, "x\n[Rule]\nFINAL,A\n', "x")
    assert [(outlet.server, outlet.port) for outlet in odd.outlets] == [("", 0), ("", 8388), ('"x', 0)]


def test_damaged_file_is_read_or_refused() -> None:
    for copy in damaged(
        (HEAD + "DOMAIN,a.b,Work\nAND,((DOMAIN,a),(DEST-PORT,>=1)),Work\nFINAL,Pick\n").encode(), 16, 500
    ):
        try:
            assert isinstance(convert_surge(copy, "x"), Conversion)
        except RuleError:
            assert b"\0" in copy
