"""The two kinds of upstream, and how one says that it cannot."""

import socket

import pytest

from tunproxy.errors import ConfigError, UpstreamError
from tunproxy.flow.verdict import DIAL, OPEN, FlowInfo
from tunproxy.upstream.base import REFUSED, SILENT, Dialer, DialUpstream, OpenError, OpenUpstream

FLOW = FlowInfo("tcp", bytes([10, 0, 0, 2]), 40000, bytes([192, 0, 2, 7]), 80)


class Proxy(OpenUpstream):
    async def open(self, info: FlowInfo, dialer: Dialer) -> socket.socket:
        return await dialer.connect("192.0.2.1", 1080)


def test_dial_upstream_without_address_dials_the_target() -> None:
    verdict = DialUpstream("direct").verdict_for(FLOW, "because")
    assert (verdict.kind, verdict.upstream, verdict.address, verdict.port) == (DIAL, "direct", "", 0)
    assert verdict.why == "because"


@pytest.mark.parametrize(
    ("address", "port", "dialled"),
    [
        ("192.0.2.1", 0, ("192.0.2.1", 0)),
        ("192.0.2.1", 8080, ("192.0.2.1", 8080)),
        ("2001:DB8::0:1", 443, ("2001:db8::1", 443)),
    ],
)
def test_dial_upstream_with_address_dials_that(address: str, port: int, dialled: tuple[str, int]) -> None:
    verdict = DialUpstream("other", address, port).verdict_for(FLOW)
    assert (verdict.address, verdict.port) == dialled


@pytest.mark.parametrize(
    ("address", "port", "why"),
    [
        ("example.org", 80, "not an IP address"),
        ("192.0.2.1", 65536, "not a port"),
        ("192.0.2.1", -1, "not a port"),
        ("", 80, "needs an address"),
    ],
)
def test_dial_upstream_that_cannot_be_dialled_is_a_config_error(address: str, port: int, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        DialUpstream("other", address, port)


def test_open_upstream_is_its_verdicts_opener() -> None:
    proxy = Proxy("proxy")
    verdict = proxy.verdict_for(FLOW, "because")
    assert (verdict.kind, verdict.upstream, verdict.why) == (OPEN, "proxy", "because")
    assert verdict.opener is proxy


def test_open_error_refuses_unless_told_otherwise() -> None:
    assert OpenError("wrong password").errno == REFUSED
    assert OpenError("no answer", SILENT).errno == SILENT
    assert isinstance(OpenError("x"), UpstreamError)
