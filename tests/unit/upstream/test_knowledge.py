"""What is known of an upstream, and for how long."""

import socket

import pytest

from tunproxy.flow.verdict import FlowInfo
from tunproxy.upstream.base import Dialer, DialUpstream, OpenUpstream
from tunproxy.upstream.knowledge import ICMP, IPV6, LASTS, NAMES, TCP, UDP, Knowledge


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def flow(protocol: str = "tcp", target: str = "192.0.2.7", host: str = "") -> FlowInfo:
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    return FlowInfo(protocol, bytes([10, 0, 0, 2]), 40000, socket.inet_pton(family, target), 80, host)


def test_nothing_known_is_tried() -> None:
    known = Knowledge()
    assert known.has(UDP) is None
    assert known.fact(UDP) is None
    assert known.report() == {}
    assert all(known.carries(flow(protocol, "2001:db8::7")) for protocol in (TCP, UDP, ICMP))


@pytest.mark.parametrize("ability", [TCP, UDP, ICMP])
def test_protocol_that_is_missing_is_not_carried(ability: str) -> None:
    known = Knowledge()
    known.declare(ability, False)
    carried = {protocol for protocol in (TCP, UDP, ICMP) if known.carries(flow(protocol))}
    assert carried == {TCP, UDP, ICMP} - {ability}


def test_ipv6_that_is_missing_matters_unless_the_name_can_be_given() -> None:
    known = Knowledge()
    known.learn(IPV6, False)
    assert known.carries(flow())
    assert not known.carries(flow(target="2001:db8::7"))
    assert not known.carries(flow(target="2001:db8::7", host="www.example.org"))
    known.declare(NAMES, True)
    assert known.carries(flow(target="2001:db8::7", host="www.example.org"))


def test_learned_is_forgotten_after_a_while() -> None:
    clock = Clock()
    known = Knowledge(clock)
    known.learn(UDP, False, "probed")
    fact = known.fact(UDP)
    assert fact is not None
    assert (fact.has, fact.how, fact.at, fact.until) == (False, "probed", 1000.0, 1000.0 + LASTS)
    clock.now += LASTS - 1
    assert known.has(UDP) is False
    clock.now += 1
    assert known.has(UDP) is None
    assert known.report() == {}


def test_learned_later_replaces_learned_before() -> None:
    known = Knowledge()
    known.learn(UDP, False)
    known.learn(UDP, True)
    assert known.has(UDP) is True


def test_declared_absence_stays_whatever_is_seen() -> None:
    known = Knowledge()
    known.declare(UDP, False)
    known.learn(UDP, True)
    assert known.has(UDP) is False


def test_declared_presence_that_turns_out_wrong_is_doubted_for_a_while() -> None:
    clock = Clock()
    known = Knowledge(clock)
    known.declare(NAMES, True)
    known.learn(NAMES, False)
    assert known.has(NAMES) is False
    clock.now += LASTS
    assert known.has(NAMES) is True
    known.learn(NAMES, False)
    known.learn(NAMES, True)
    assert known.has(NAMES) is True
    fact = known.report()[NAMES]
    assert fact.how == "declared"


def test_kinds_of_upstreams_declare_what_they_cannot() -> None:
    class Opening(OpenUpstream):
        async def open(self, info: FlowInfo, dialer: Dialer) -> socket.socket:
            raise NotImplementedError

    assert Opening("x").carries(flow())
    assert not Opening("x").carries(flow(UDP))
    assert not Opening("x").carries(flow(ICMP))
    assert all(DialUpstream("direct").carries(flow(protocol)) for protocol in (TCP, UDP, ICMP))


def test_blank_is_of_whom_nothing_was_ever_said() -> None:
    for note in (lambda each: each.declare(UDP, True), lambda each: each.learn(UDP, False)):
        knowledge = Knowledge()
        assert knowledge.is_blank
        note(knowledge)
        assert not knowledge.is_blank


def test_any_tcp_flow_goes_until_something_is_known_of_tcp() -> None:
    clock = Clock()
    for missing in (TCP, IPV6):
        known = Knowledge(clock)
        known.declare(UDP, False)
        known.declare(ICMP, False)
        known.declare(TCP, True)
        assert known.any_tcp
        known.learn(missing, False)
        assert not known.any_tcp
        clock.now += LASTS
        assert known.carries(flow(target="2001:db8::7"))  # who asks finds out that it has been forgotten
        assert known.any_tcp


def test_who_carries_by_other_rules_has_to_be_asked() -> None:
    class Choosy(DialUpstream):
        def carries(self, info: FlowInfo) -> bool:
            return info.target_port == 80

    assert DialUpstream("x").tcp_abilities() is not None
    assert Choosy("x").tcp_abilities() is None
