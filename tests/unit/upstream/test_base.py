"""The two kinds of upstream, and how one says that it cannot."""

import socket

import pytest

from tunproxy.errors import ConfigError, UpstreamError
from tunproxy.flow.verdict import DIAL, OPEN, REJECT, FlowInfo, Verdict
from tunproxy.upstream.base import REFUSED, SILENT, Dialer, DialUpstream, OpenError, OpenUpstream, Upstream

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


class Sometimes(DialUpstream):
    def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
        return super().verdict_for(info, why) if info.target_port == 80 else Verdict(REJECT, self.name)


class ProxySometimes(Proxy):
    def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
        return super().verdict_for(info, why) if info.target_port == 80 else Verdict(REJECT, self.name)


class Always(Sometimes):
    """Says no more of a flow than the one that it is made from."""


class Again(Sometimes):
    def verdict_for(self, info: FlowInfo, why: str = "") -> Verdict:
        return self.constant(why)

    def constant(self, why: str = "") -> Verdict:
        return Verdict(REJECT, self.name, why=why)


@pytest.mark.parametrize(
    ("upstream", "kind"),
    [(Sometimes("x", "192.0.2.1"), DIAL), (ProxySometimes("x"), OPEN), (Always("x", "192.0.2.1"), DIAL)],
)
def test_upstream_that_decides_about_flows_is_asked_about_each(upstream: Upstream, kind: int) -> None:
    assert upstream.constant() is None
    assert upstream.tcp_constant() is None
    verdict = upstream.verdict_for(FLOW, "because")
    assert (verdict.kind, verdict.upstream, verdict.why) == (kind, "x", "because")
    other = FlowInfo("tcp", FLOW.client, 40000, FLOW.target, 81)
    assert upstream.verdict_for(other).kind == REJECT


def test_upstream_that_says_of_every_flow_the_same_need_not_be_asked() -> None:
    for upstream in (Again("x"), DialUpstream("x"), Proxy("x")):
        said = [upstream.constant("why"), upstream.tcp_constant("why"), upstream.verdict_for(FLOW, "why")]
        assert len({(each.kind, each.upstream, each.why) for each in said if each is not None}) == 1
        assert None not in said


def test_open_error_refuses_unless_told_otherwise() -> None:
    assert OpenError("wrong password").errno == REFUSED
    assert OpenError("no answer", SILENT).errno == SILENT
    assert isinstance(OpenError("x"), UpstreamError)
