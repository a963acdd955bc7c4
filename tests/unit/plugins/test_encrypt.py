"""Shadowsocks as an upstream: what users may say, and what becomes of a flow."""

import base64
import importlib

import pytest

from tests.unit.codecs.shadowsocks import NEW, WITH_USERS, password
from tunproxy.codecs.shadowsocks_keys import ShadowsocksError, server_keys
from tunproxy.codecs.shadowsocks_replay import SaltMemory
from tunproxy.codecs.shadowsocks_server import ShadowsocksServer
from tunproxy.errors import ConfigError
from tunproxy.flow.verdict import CONVERSE, OPEN, FlowInfo
from tunproxy.plugin.manager import Plugins
from tunproxy.upstream.base import OpenError
from tunproxy.upstream.proxy import Chained, ProxyUpstream
from tunproxy.upstream.types import UpstreamType, build_from_url

V4 = FlowInfo("tcp", bytes([10, 0, 0, 2]), 40000, bytes([192, 0, 2, 7]), 443)
V6 = FlowInfo("tcp", bytes(15) + b"\x02", 40000, bytes.fromhex("20010db8000000000000000000000007"), 443)
NAMED = FlowInfo("tcp", bytes([10, 0, 0, 2]), 40000, bytes([198, 18, 0, 9]), 443, "www.example.org")
UDP = FlowInfo("udp", bytes([10, 0, 0, 2]), 40000, bytes([192, 0, 2, 7]), 53)


def types() -> dict[str, UpstreamType]:
    plugins = Plugins()
    assert plugins.register(importlib.import_module("tunproxy_plugins.encrypt"), "encrypt")
    return dict(plugins.upstream_types())


def upstream(method: str = "aes-128-gcm", secret: str = "password 1", **more: object) -> ProxyUpstream:
    table = {"server": "192.0.2.1", "method": method, "password": secret, **more}
    made = types()["shadowsocks"].build("work", table)
    assert isinstance(made, ProxyUpstream)
    return made


def from_url(url: str) -> ProxyUpstream:
    made = build_from_url(url, types())
    assert isinstance(made, ProxyUpstream)
    return made


def reaches(made: ProxyUpstream, method: str, secret: str, info: FlowInfo = V4) -> bool:
    """Tell whether a server with these keys reads what goes through an upstream."""
    codec = made.converse(info).codec
    assert codec is not None
    server = ShadowsocksServer(server_keys(method, secret), SaltMemory(is_2022=True))
    return server.decode(codec.encode(b"hello")) == b"hello"


def test_verdict_leaves_it_to_the_packet_path_but_for_servers_with_a_name() -> None:
    verdict = upstream().verdict_for(V4)
    assert (verdict.kind, verdict.address, verdict.port) == (CONVERSE, "192.0.2.1", 8388)
    assert upstream(server="ss.example.org").verdict_for(V4).kind == OPEN


@pytest.mark.parametrize(
    ("info", "name", "address"),
    [(V4, "", V4.target), (V6, "", V6.target), (NAMED, "www.example.org", b"")],
)
def test_server_is_asked_for_the_target_and_for_its_name_where_that_is_known(
    info: FlowInfo, name: str, address: bytes
) -> None:
    conversation = upstream().converse(info)
    assert (conversation.begin(), conversation.is_over, conversation.rest) == (b"", True, b"")
    server = ShadowsocksServer(server_keys("aes-128-gcm", "password 1"), SaltMemory(is_2022=False))
    assert conversation.codec is not None
    assert server.decode(conversation.codec.encode(b"hello")) == b"hello"
    target = server.target
    assert target is not None
    assert (target.name, target.address, target.port) == (name, address, 443)


def test_what_a_server_said_to_one_flow_nobody_says_to_another() -> None:
    made = upstream()
    one, other = made.converse(V4).codec, made.converse(V4).codec
    assert one is not None
    assert other is not None
    server = ShadowsocksServer(server_keys("aes-128-gcm", "password 1"), SaltMemory(is_2022=False))
    server.decode(one.encode(b"hello"))
    other.encode(b"hello")
    answer = server.encode(b"world")
    assert one.decode(answer) == b"world"
    with pytest.raises(ShadowsocksError, match="replayed session"):
        other.decode(answer)


def test_name_that_does_not_fit_is_refused() -> None:
    with pytest.raises(OpenError, match="256 octets"):
        upstream().converse(FlowInfo("tcp", V4.client, 1, V4.target, 443, "x" * 256))


def test_udp_is_carried_unless_the_user_says_no() -> None:
    assert upstream(udp=False).carries(UDP) is False
    assert upstream(udp=False).carries(V4) is True


def test_server_behind_a_proxy_gets_nothing_in_the_clear() -> None:
    conversations = [upstream().converse(V4), upstream(secret="other").converse(V6)]
    talk = Chained(conversations)
    assert talk.begin() == b""
    assert talk.is_over
    assert talk.codec is not None
    outer = ShadowsocksServer(server_keys("aes-128-gcm", "password 1"), SaltMemory(is_2022=False))
    inner = ShadowsocksServer(server_keys("aes-128-gcm", "other"), SaltMemory(is_2022=False))
    assert inner.decode(outer.decode(talk.codec.encode(b"hello"))) == b"hello"
    assert outer.target is not None
    assert inner.target is not None
    assert (outer.target.address, inner.target.address) == (V4.target, V6.target)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"method": "rc4-md5"}, "no Shadowsocks method 'rc4-md5'"),
        ({"secret": ""}, "password is missing"),
        ({"method": NEW[0], "secret": "swordfish"}, "key in base64"),
        ({"method": NEW[0], "secret": password(NEW[1])}, "16 octets in base64, not 32"),
        ({"method": NEW[2], "secret": f"{password(NEW[2])}:{password(NEW[2])}"}, "takes one"),
        ({"server": ""}, "no server"),
        ({"port": 0}, "not a port"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_without_the_password(
    table: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        upstream(**table)  # type: ignore[arg-type]
    assert "upstream 'work'" in str(caught.value)
    assert "swordfish" not in str(caught.value)


def test_method_has_to_be_given() -> None:
    with pytest.raises(ConfigError, match="method"):
        types()["shadowsocks"].build("work", {"server": "192.0.2.1", "password": "x"})


# URLs (SIP002)


def encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


@pytest.mark.parametrize("tail", ["", "/", "#a%20name", "/#name", "?udp=no"])
@pytest.mark.parametrize("padding", ["=", ""])
def test_url_has_method_and_password_in_base64(tail: str, padding: str) -> None:
    login = encoded("aes-256-gcm:p:ss?>>~").rstrip("=")
    login += padding * (-len(login) % 4)
    made = from_url(f"ss://{login}@192.0.2.1:8888{tail}")
    assert (made.host, made.port) == ("192.0.2.1", 8888)
    assert reaches(made, "aes-256-gcm", "p:ss?>>~")


@pytest.mark.parametrize("method", WITH_USERS)
def test_url_of_a_2022_method_has_the_key_as_it_is(method: str) -> None:
    one, other = (password(method, number).replace("=", "%3D").replace("+", "%2B") for number in (1, 2))
    assert reaches(from_url(f"ss://{method}:{one}@[2001:db8::1]:443#x"), method, password(method))
    made = from_url(f"ss://{method}:{one}:{other}@192.0.2.1")
    assert made.port == 8388
    codec = made.converse(V4).codec
    assert codec is not None
    keys = server_keys(method, password(method), {"joe": password(method, 2)})
    server = ShadowsocksServer(keys, SaltMemory(is_2022=True))
    assert server.decode(codec.encode(b"hello")) == b"hello"
    assert server.user == "joe"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ss://hunter2@192.0.2.1:1", "SIP002"),
        ("ss://aHVudGVyMg@192.0.2.1:1", "SIP002"),
        ("ss://192.0.2.1:1", "SIP002"),
        (
            f"ss://{base64.b64encode(b'rc4-md5:hunter2').decode()}@192.0.2.1:1",
            "no Shadowsocks method 'rc4-md5'",
        ),
        ("ss://aes-128-gcm:hunter2@192.0.2.1:1?plugin=obfs-local", "no Shadowsocks plugins here"),
        ("ss://aes-128-gcm:hunter2@192.0.2.1:1/path", "no path"),
    ],
)
def test_url_that_makes_no_sense_is_explained_without_the_password(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        from_url(url)
    assert "hunter2" not in str(caught.value)
