"""TLS as an option of every type of proxy, and servers that are told nothing but the stream."""

import importlib
import ssl
from pathlib import Path

import pytest

from tests.unit.upstream.certificates import make
from tunproxy.errors import ConfigError
from tunproxy.flow.verdict import CONVERSE, OPEN, FlowInfo
from tunproxy.plugin.manager import Plugins
from tunproxy.upstream.knowledge import UDP
from tunproxy.upstream.proxy import ProxyUpstream
from tunproxy.upstream.types import build_from_url

FLOW = FlowInfo("tcp", bytes([10, 0, 0, 2]), 40000, bytes([192, 0, 2, 7]), 443)
HASH = "ab" * 32


def upstream(url: str) -> ProxyUpstream:
    plugins = Plugins()
    for name in ("encrypt", "http", "socks"):
        assert plugins.register(importlib.import_module(f"tunproxy_plugins.{name}"), name)
    made = build_from_url(url, plugins.upstream_types())
    assert isinstance(made, ProxyUpstream)
    return made


@pytest.mark.parametrize("scheme", ["http", "socks4", "socks4a", "socks5", "socks5h"])
def test_proxy_is_inside_tls_where_that_is_asked_for(scheme: str) -> None:
    plain = upstream(f"{scheme}://192.0.2.1")
    assert plain.tls is None
    assert plain.verdict_for(FLOW).kind == CONVERSE
    inside = upstream(f"{scheme}://192.0.2.1?tls=yes&server_name=proxy.test&pin={HASH}")
    assert inside.tls is not None
    assert inside.tls.pins == {HASH}
    assert inside.server_name == "proxy.test"
    assert inside.verdict_for(FLOW).kind == OPEN


@pytest.mark.parametrize("scheme", ["https", "tls"])
def test_server_is_always_inside_tls(scheme: str) -> None:
    made = upstream(f"{scheme}://proxy.test:443")
    assert made.tls is not None
    assert made.tls.context.verify_mode == ssl.CERT_REQUIRED
    assert (made.server_name, made.port) == ("proxy.test", 443)
    with pytest.raises(ConfigError, match="without TLS"):
        upstream(f"{scheme}://proxy.test:443?tls=no")


def test_server_that_is_told_nothing_has_no_conversation() -> None:
    talk = upstream("tls://192.0.2.1:4433").converse(FLOW)
    assert (talk.begin(), talk.is_over, talk.rest) == (b"", True, b"")


def test_server_that_is_told_nothing_needs_a_port() -> None:
    with pytest.raises(ConfigError, match="port"):
        upstream("tls://192.0.2.1")


def test_datagrams_do_not_go_past_the_tls_of_their_proxy() -> None:
    assert upstream("socks5://192.0.2.1").knowledge.has(UDP) is None
    assert upstream("socks5://192.0.2.1?tls=yes").knowledge.has(UDP) is False


def test_https_has_two_options_of_tls_for_short(tmp_path: Path) -> None:
    made = make("proxy.test", is_authority=True)
    (tmp_path / "ca.pem").write_bytes(made.pem)
    found = upstream(f"https://192.0.2.1?ca_file={tmp_path}/ca.pem&server_name=proxy.test&min_version=1.3")
    assert found.tls is not None
    assert found.server_name == "proxy.test"
    assert found.tls.context.minimum_version == ssl.TLSVersion.TLSv1_3
    assert [each["subject"] for each in found.tls.context.get_ca_certs()] == [
        ((("commonName", "proxy.test"),),)
    ]


@pytest.mark.parametrize("scheme", ["http", "https", "socks5", "tls"])
def test_what_cannot_be_is_told_with_the_upstream(scheme: str) -> None:
    with pytest.raises(ConfigError, match=r"^upstream 'upstream': pin: 'abc' is no SHA-256"):
        upstream(f"{scheme}://192.0.2.1:1?tls=yes&pin=abc")


def test_cautions_are_told() -> None:
    (caution,) = upstream("tls://192.0.2.1:1?allow_plain=yes").cautions
    assert "go in the clear" in caution
    assert tuple(upstream("tls://192.0.2.1:1").cautions) == ()
