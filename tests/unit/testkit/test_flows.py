"""Flows that nobody began."""

import pytest

from tunproxy.testkit.flows import make_facts, make_flow, split


@pytest.mark.parametrize(
    ("protocol", "client", "target", "text", "host"),
    [
        ("tcp", "10.0.0.2", "192.0.2.7:80", "tcp 10.0.0.2:40000 -> 192.0.2.7:80", ""),
        ("udp", "10.0.0.2:53", "192.0.2.7:53", "udp 10.0.0.2:53 -> 192.0.2.7:53", ""),
        ("tcp", "fd00::2", "[2001:db8::1]:443", "tcp [fd00::2]:40000 -> [2001:db8::1]:443", ""),
        ("icmp", "10.0.0.2", "192.0.2.7", "icmp 10.0.0.2:0 -> 192.0.2.7:0", ""),
    ],
)
def test_make_flow_takes_addresses(protocol: str, client: str, target: str, text: str, host: str) -> None:
    info = make_flow(protocol, client, target)
    assert (str(info), info.host) == (text, host)


def test_make_flow_to_a_name_has_it_as_host_and_an_address_for_examples() -> None:
    info = make_flow("tcp", "10.0.0.2", "WWW.Example.org.:443")
    assert (info.host, info.target_port, info.target[:3]) == ("www.example.org", 443, bytes([198, 51, 100]))
    assert make_flow("tcp", "10.0.0.9", "www.example.org:80").target == info.target
    six = make_flow("tcp", "fd00::2", "www.example.org:443")
    assert (six.target[:4].hex(), six.target[12:]) == ("20010db8", info.target)
    assert make_flow("tcp", "10.0.0.2", "192.0.2.7:80", host="a.example").host == "a.example"


def test_make_flow_whose_name_dns_has_told_goes_to_its_target() -> None:
    info = make_flow("tcp", "10.0.0.2", "192.0.2.7:443", name="www.example.org")
    assert (info.name, info.name_from, info.host) == ("www.example.org", "dns", "")
    assert (make_facts(info).host, make_facts(info).host_from) == ("www.example.org", "dns")


@pytest.mark.parametrize(
    ("protocol", "client", "target", "why"),
    [
        ("sctp", "10.0.0.2", "192.0.2.7:80", "there is no protocol 'sctp'"),
        ("tcp", "10.0.0.2", "192.0.2.7", r"has no port \(write 192.0.2.7:443\)"),
        ("tcp", "10.0.0.2", "192.0.2.7:65536", "is not a port"),
        ("tcp", "10.0.0.2", ":80", "has no host"),
        ("tcp", "localhost", "192.0.2.7:80", "does not appear to be an IPv4"),
        ("tcp", "10.0.0.2", "[2001:db8::1]:80", "are not of one family"),
        ("icmp", "10.0.0.2", "192.0.2.7:80", "a ping has no ports"),
    ],
)
def test_make_flow_what_cannot_be_is_told(protocol: str, client: str, target: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        make_flow(protocol, client, target)


def test_split_ipv6_address_without_port() -> None:
    assert split("2001:db8::1") == ("2001:db8::1", None)


def test_make_facts_knows_what_it_is_told() -> None:
    info = make_flow("udp", "10.0.0.2", "www.example.org:443")
    facts = make_facts(info, process_name="curl", minute_of_week=5)
    assert (facts.network, facts.host, facts.host_from) == ("udp", "www.example.org", "given")
    assert (facts.process_name, facts.process_asked, facts.minute_of_week) == ("curl", True, 5)
    assert not make_facts(info).process_asked
    with pytest.raises(AttributeError, match="facts have no 'proces'"):
        make_facts(info, proces="x")
