"""The kernel is asked about packets of a user, a protocol and a port, and answers about these."""

import socket
import subprocess
from ipaddress import ip_interface, ip_network

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.host.netlink import Netlink, Way
from tunproxy.host.route_messages import (
    address_fields,
    family_of,
    route_fields,
    route_question,
    unreachable_fields,
)
from tunproxy.host.rule_messages import PROTOCOL

UID = 47_123
FAR = "198.51.100.1"


def test_question_has_what_matters_and_no_more() -> None:
    question = route_question(socket.AF_INET, FAR, uid=5, dport=53)
    assert question["attrs"] == [("RTA_DST", FAR), ("RTA_UID", 5), ("RTA_DPORT", 53)]
    assert question["dst_len"] == 32
    assert route_question(socket.AF_INET6, "2001:db8::1")["dst_len"] == 128


def test_address_of_ipv6_may_be_used_at_once() -> None:
    assert address_fields(7, ip_interface("fd00::1/126")) == {
        "index": 7, "family": socket.AF_INET6, "address": "fd00::1", "prefixlen": 126, "flags": 2,
    }  # fmt: skip
    assert "flags" not in address_fields(7, ip_interface("10.1.2.1/30"))


@pytest.mark.parametrize(
    ("prefix", "family", "scope"), [("10.0.0.0/8", socket.AF_INET, 253), ("fd00::/8", socket.AF_INET6, 0)]
)
def test_routes_are_of_their_family_and_marked_as_ours(prefix: str, family: int, scope: int) -> None:
    network = ip_network(prefix)
    routed, unreachable = route_fields(network, 7, 99), unreachable_fields(network, 99)
    assert (routed["oif"], routed["scope"]) == (7, scope)
    assert unreachable["priority"] == 0xFFFF_FFFF  # any other route to it is better
    for fields in (routed, unreachable):
        assert (fields["dst"], fields["table"], fields["family"]) == (prefix, 99, family)
        assert fields["proto"] == PROTOCOL
    assert family_of(network) == family


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=10)


@needs_namespaces
@pytest.mark.needs("ip")
def test_way_is_that_of_a_user_a_protocol_and_a_port() -> None:
    def check() -> None:
        for near, far in (("a0", "a1"), ("b0", "b1")):
            ip("link", "add", near, "type", "veth", "peer", "name", far)
            ip("link", "set", near, "up")
            ip("link", "set", far, "up")
        ip("address", "add", "192.0.2.1/24", "dev", "a0")
        ip("route", "add", "default", "via", "192.0.2.254")
        ip("route", "add", "default", "dev", "b0", "table", "99")
        ip("rule", "add", "uidrange", f"{UID}-{UID}", "ipproto", "udp", "dport", "53", "lookup", "99")
        usual = Way("a0", "192.0.2.254", "192.0.2.1")
        with Netlink() as net:
            for fields in (
                {},
                {"uid": UID},
                {"uid": UID, "protocol": 17, "port": 54},
                {"protocol": 17, "port": 53},
            ):
                assert net.way_to(FAR, **fields) == usual
            found = net.way_to(FAR, uid=UID, protocol=17, port=53)
            assert found is not None
            assert found.link == "b0"
            assert net.way_to("2001:db8::1") is None

    isolated(check)
