"""The header_host plugin, through the hooks."""

import importlib
import json
from types import ModuleType

import pytest

from tunproxy.plugin.api import DialUpstream
from tunproxy.testing import PluginFault, PluginRunner, make_flow

HOSTS = {"hosts": {"*.example.org": "work", "intranet": "vpn"}}
UPSTREAMS = [DialUpstream("direct"), DialUpstream("work", "192.0.2.1", 1)]


@pytest.fixture
def module() -> ModuleType:
    found = importlib.import_module("tunproxy_plugins.header_host")
    found.counts.clear()
    return found


@pytest.mark.parametrize(
    ("target", "upstream"),
    [
        ("www.example.org:443", "work"),
        ("a.b.EXAMPLE.org:80", "work"),
        ("example.org:443", ""),
        ("192.0.2.7:443", ""),
    ],
)
def test_name_decides(target: str, upstream: str, module: ModuleType) -> None:
    with PluginRunner(module, HOSTS, upstreams=UPSTREAMS) as plugin:
        verdict = plugin.decide(make_flow("tcp", "10.0.0.2", target))
        assert (verdict.upstream if verdict else "") == upstream


def test_name_that_dns_has_told_decides(module: ModuleType) -> None:
    with PluginRunner(module, HOSTS, upstreams=UPSTREAMS) as plugin:
        verdict = plugin.decide(make_flow("tcp", "10.0.0.2", "192.0.2.7:443", name="www.example.org"))
        assert verdict is not None
        assert verdict.upstream == "work"


def test_upstream_that_is_not_there_is_a_fault(module: ModuleType) -> None:
    runner = PluginRunner(module, HOSTS, upstreams=UPSTREAMS)
    with runner as plugin, pytest.raises(PluginFault, match="KeyError: 'vpn'"):
        plugin.decide(make_flow("tcp", "10.0.0.2", "intranet:80"))


@pytest.mark.parametrize(
    ("pieces", "counted"),
    [
        ([b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n"], {"www.example.org": 1}),
        ([b"GET / HT", b"TP/1.1\r\nhost:WWW.Exam", b"ple.org \r\n"], {"www.example.org": 1}),
        ([b"POST / HTTP/1.1\r\n\r\nHost: not.a.header\r\n"], {}),
        ([b"\x16\x03\x01" * 3000], {}),
        ([], {}),
    ],
)
def test_count_reads_the_first_request(
    pieces: list[bytes], counted: dict[str, int], module: ModuleType
) -> None:
    with PluginRunner(module, {"count": True}) as plugin:
        assert plugin.observe(make_flow("tcp", "10.0.0.2", "192.0.2.7:80"), up=pieces)
        assert json.loads(plugin.request("GET", "").text) == counted


def test_count_looks_at_plain_http_only_and_where_it_is_wanted(module: ModuleType) -> None:
    with PluginRunner(module, {"count": True}) as plugin:
        assert not plugin.observe(make_flow("tcp", "10.0.0.2", "192.0.2.7:443"))
    with PluginRunner(module) as plugin:
        assert not plugin.observe(make_flow("tcp", "10.0.0.2", "192.0.2.7:80"))
