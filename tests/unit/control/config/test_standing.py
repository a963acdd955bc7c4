"""Upstreams that are always there."""

from tunproxy.control.config.standing import DnsAside, refusing_upstreams
from tunproxy.flow.verdict import CONVERSE, DIAL, DROP, REJECT, FlowInfo, Verdict
from tunproxy.plugin.api import DialUpstream, OpenUpstream
from tunproxy.upstream.base import Dialer, Opened
from tunproxy.upstream.knowledge import UDP


class Proxy(OpenUpstream):
    def constant(self, why: str = "") -> Verdict:
        return Verdict(CONVERSE, self.name, "192.0.2.1", 1080, self, why)

    async def open(self, info: FlowInfo, dialer: Dialer) -> Opened:
        raise NotImplementedError


def flow(protocol: str, port: int) -> FlowInfo:
    return FlowInfo(protocol, bytes(4), 1, bytes(4), port)


def test_refusing_upstreams_refuse_every_flow_alike() -> None:
    found = refusing_upstreams()
    assert [each.constant() and each.constant().kind for each in found.values()] == [REJECT, DROP]  # type: ignore[union-attr]
    verdict = found["reject"].verdict_for(flow("udp", 1), "a rule")
    assert (verdict.kind, verdict.upstream, verdict.why) == (REJECT, "reject", "a rule")
    assert all(each.carries(flow("icmp", 0)) for each in found.values())


def test_dns_by_udp_goes_past_an_upstream_that_is_not_known_to_carry_it() -> None:
    inner = Proxy("upstream")
    outer = DnsAside(inner, DialUpstream("direct"))
    assert outer.name == "upstream"
    assert outer.verdict_for(flow("tcp", 53)).kind == CONVERSE
    assert outer.verdict_for(flow("udp", 53)).kind == DIAL
    assert outer.carries(flow("udp", 53))
    assert not outer.carries(flow("udp", 443))
    assert not outer.carries(flow("icmp", 0))
    assert outer.constant() is None


def test_dns_goes_through_an_upstream_that_carries_udp() -> None:
    inner = Proxy("upstream")
    inner.knowledge.declare(UDP, True)
    assert DnsAside(inner, DialUpstream("direct")).verdict_for(flow("udp", 53)).kind == CONVERSE
