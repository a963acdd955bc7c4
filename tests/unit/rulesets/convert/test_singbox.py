"""The route part of sing-box's configuration."""

import json

import pytest

from tests.unit.rulesets.programs import check_message, damaged
from tunproxy.rules.model import RuleError
from tunproxy.rulesets.convert.report import Conversion, Source
from tunproxy.rulesets.convert.singbox import convert_singbox

CONFIG: dict[str, object] = {
    "outbounds": [
        {"type": "direct", "tag": "out"},
        {"type": "block", "tag": "no"},
        {"type": "socks", "tag": "work"},
        {"type": "selector", "tag": "pick", "outbounds": ["work", "out"]},
    ],
    "route": {
        "rule_set": [
            {"tag": "cn", "type": "remote", "format": "binary", "url": "https://a.example/cn.srs"},
            {"tag": "own", "type": "local", "path": "own.json"},
            {"tag": "in", "type": "inline", "rules": [{"domain": "a.b"}, {"port": 22, "network": "tcp"}]},
        ],
        "rules": [
            {"action": "sniff"},
            {"protocol": "dns", "action": "hijack-dns"},
            {"domain": ["a.b"], "domain_suffix": "c.d", "outbound": "work"},
            {"domain_suffix": [".e.f"], "port": 443, "outbound": "pick"},
            {"rule_set": ["cn", "own"], "outbound": "out"},
            {"ip_is_private": True, "outbound": "out"},
            {
                "type": "logical",
                "mode": "and",
                "rules": [{"network": "udp"}, {"port": 443, "invert": True}],
                "action": "reject",
                "method": "drop",
            },
            {"geosite": "ads", "outbound": "no"},
            {"clash_mode": "direct", "outbound": "out"},
            {"rule_set": "cn", "port": 80, "outbound": "out"},
            {"domain": "z", "invert": True, "outbound": "out"},
            5,
        ],
        "final": "pick",
    },
}
DATA = json.dumps(CONFIG).encode()


def test_rules() -> None:
    result = convert_singbox(DATA, "config.json")
    assert result.lines == [
        "DOMAIN,a.b,work",
        "DOMAIN-SUFFIX,c.d,work",
        "AND,((AND,((DOMAIN-SUFFIX,e.f),(NOT,((DOMAIN,e.f))))),(DST-PORT,443)),pick",
        "RULE-SET,cn,DIRECT,no-resolve",
        "RULE-SET,own,DIRECT,no-resolve",
        "GEOIP,LAN,DIRECT,no-resolve",
        "AND,((NETWORK,udp),(NOT,((DST-PORT,443)))),REJECT-DROP",
        "GEOSITE,ads,REJECT",
        "AND,((RULE-SET,cn,no-resolve),(DST-PORT,80)),DIRECT",
        "NOT,((DOMAIN,z)),DIRECT",
        "MATCH,pick",
    ]
    results = [outcome.result[0] for outcome in result.outcomes]
    assert "".join(results) == "ddeeeeeedaede"
    assert "clash_mode" in result.outcomes[8].why


def test_sets_and_outbounds() -> None:
    result = convert_singbox(DATA, "config.json")
    assert result.sources == [
        Source("cn", "http", "srs", "classical", "https://a.example/cn.srs"),
        Source("own", "file", "json", "classical", "own.json"),
        Source("in", "inline", "text", "classical", "", ("DOMAIN,a.b", "AND,((DST-PORT,22),(NETWORK,tcp))")),
    ]
    assert [outlet.name for outlet in result.outlets] == ["work", "pick"]


def test_without_final_the_first_outbound_is_taken() -> None:
    result = convert_singbox(b'{"outbounds": [{"type": "direct", "tag": "o"}], "route": {}}', "x")
    assert result.lines == ["MATCH,DIRECT"]
    assert result.count("approximated") == 1


@pytest.mark.parametrize("data", [b"", b"[]", b'{"route": 5}'])
def test_what_is_no_configuration_is_an_error(data: bytes) -> None:
    with pytest.raises(RuleError, match=r"^x:1:1: not "):
        convert_singbox(data, "x")


def test_damaged_file_is_read_or_refused() -> None:
    for copy in damaged(DATA, 15, 500):
        try:
            assert isinstance(convert_singbox(copy, "x"), Conversion)
        except RuleError as error:
            check_message(error, "x:")
