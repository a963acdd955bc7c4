"""Names out of first octets, where rules need them."""

from tests.unit.decide.test_sniff_quic import datagrams
from tests.unit.decide.test_sniff_tls import hello
from tests.unit.decide.world import World, flow, trace
from tunproxy.decide.sniffers import NameSniffer, sniffer_for
from tunproxy.decide.trace import Trace


def begun(protocol: str = "tcp") -> Trace:
    info = flow(protocol=protocol)
    World("DOMAIN,example.org,work").decider.decide(info)
    return trace(info)


def test_stream_tells_its_name_once_enough_is_there() -> None:
    octets = hello("example.org")
    sniffer = NameSniffer()
    assert sniffer.read(begun(), octets[:50]) is None
    assert sniffer.read(begun(), octets) == ("example.org", "tls")
    assert sniffer.read(begun(), b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n") == ("a.example", "http")


def test_client_that_says_nothing_has_no_name() -> None:
    assert NameSniffer().read(begun(), b"") == ("", "")
    assert NameSniffer().read(begun("udp"), b"") == ("", "")


def test_datagrams_of_one_flow_are_read_together() -> None:
    flight = datagrams("example.org", padding=2000)
    assert len(flight) > 1
    sniffer, found = NameSniffer(), begun("udp")
    assert [sniffer.read(found, datagram) for datagram in flight][-1] == ("example.org", "quic")
    assert sniffer.read(begun("udp"), b"\x12\x34\x01\x00") == ("", "")


def test_who_is_worth_waiting_for() -> None:
    sniffer = NameSniffer()
    assert sniffer.is_worth_waiting("tcp", 443)
    assert sniffer.is_worth_waiting("udp", 22)
    assert not sniffer.is_worth_waiting("tcp", 22)
    assert not sniffer.is_worth_waiting("icmp", 0)


def test_rules_without_names_need_no_sniffer() -> None:
    assert sniffer_for(World("IP-CIDR,10.0.0.0/8,work", "MATCH,work").rules) is None
    assert sniffer_for(World("DOMAIN-KEYWORD,ads,work").rules) is not None
