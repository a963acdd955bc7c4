"""Lists of URIs."""

import base64

import pytest

from tests.unit.rulesets.programs import check_message, damaged
from tunproxy.rules.model import RuleError
from tunproxy.rulesets.convert.report import Conversion
from tunproxy.rulesets.convert.uris import convert_uris

LOGIN = base64.urlsafe_b64encode(b"aes-128-gcm:sw:rd/f%sh #1?").decode()
WHOLE = base64.b64encode(b"aes-256-gcm:se@cr:et@192.0.2.2:8389").decode().rstrip("=")
KEY = base64.b64encode(bytes(range(16))).decode()
DATA = f"""# mine
ss://{LOGIN.rstrip("=")}@192.0.2.1:8388/#First%20one
ss://{WHOLE}#old

ss://2022-blake3-aes-128-gcm:{KEY.replace("=", "%3D").replace("/", "%2F")}@[2001:db8::1]:8388
ss://{LOGIN}@h.example:443?plugin=obfs-local%3Bobfs%3Dtls#with, plugin
ss://{LOGIN}@h.example:443?group=x#First one
socks5://u:p%40@192.0.2.3:1080#s
socks://{base64.b64encode(b"u:p").decode()}@192.0.2.3:1080
https://u:p@h.example:443
trojan://secret@h.example:443?sni=x#t
ss://no-port
nonsense
""".encode()


def test_each_proxy_is_there() -> None:
    result = convert_uris(DATA, "list")
    found = [
        (each.name, each.kind, each.server, each.port, each.user, each.password) for each in result.outlets
    ]
    assert found == [
        ("First one", "proxy ss", "192.0.2.1", 8388, "", "sw:rd/f%sh #1?"),
        ("old", "proxy ss", "192.0.2.2", 8389, "", "se@cr:et"),
        ("2001:db8::1:8388", "proxy ss", "2001:db8::1", 8388, "", KEY),
        ("with plugin", "proxy ss", "h.example", 443, "", "sw:rd/f%sh #1?"),
        ("First one 2", "proxy ss", "h.example", 443, "", "sw:rd/f%sh #1?"),
        ("s", "proxy socks5", "192.0.2.3", 1080, "u", "p@"),
        ("192.0.2.3:1080", "proxy socks5", "192.0.2.3", 1080, "u", "p"),
        ("h.example:443", "proxy https", "h.example", 443, "u", "p"),
        ("t", "proxy trojan", "h.example", 443, "", ""),
    ]
    methods = [each.options.get("method") for each in result.outlets[:3]]
    assert methods == ["aes-128-gcm", "aes-256-gcm", "2022-blake3-aes-128-gcm"]
    assert result.outlets[3].obstacle == "the plugin 'obfs-local'"
    assert result.outlets[4].left_out == ("'group': left out",)
    assert [each.line for each in result.outlets] == [2, 3, 5, 6, 7, 8, 9, 10, 11]
    told = [(each.result, each.position.line) for each in result.outcomes]
    assert told == [("dropped", 12), ("dropped", 13), ("approximated", 2)]
    assert result.lines == ["MATCH,First one"]


def test_subscription_in_base64_is_the_same() -> None:
    for wrap in (base64.b64encode, base64.urlsafe_b64encode, base64.encodebytes):
        assert convert_uris(wrap(DATA), "list").outlets == convert_uris(DATA, "list").outlets


def test_nothing_secret_is_told() -> None:
    for line in DATA.splitlines():
        for outcome in convert_uris(line[:-5] + b"\x01", "list").outcomes:
            assert LOGIN not in str(outcome)
            assert KEY not in str(outcome)


@pytest.mark.parametrize("data", [b"\0ss://a@b:1", b"ss://" + b"a" * (17 << 20)])
def test_what_is_no_list_is_an_error(data: bytes) -> None:
    with pytest.raises(RuleError, match=r"^x:1:1: "):
        convert_uris(data, "x")


def test_damaged_list_is_read_or_refused() -> None:
    for copy in damaged(DATA, 15, 500):
        try:
            assert isinstance(convert_uris(copy, "x"), Conversion)
        except RuleError as error:
            check_message(error, "x:1:1: ")
