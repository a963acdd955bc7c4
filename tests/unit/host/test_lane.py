"""Prefixes that are excepted from the lane's table, in the real kernel."""

import subprocess
from ipaddress import ip_network

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.device.tun import open_tun
from tunproxy.host.addresses import Network
from tunproxy.host.exceptions import ExceptionTable
from tunproxy.host.lane import Lane, clear_lane
from tunproxy.host.links import LinkUp
from tunproxy.host.netlink import Netlink
from tunproxy.host.routes import LANE_TABLE, Route

pytestmark = [needs_namespaces, pytest.mark.needs("ip")]

FIRST = frozenset(map(ip_network, ("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "0.0.0.0/1")))
SECOND = frozenset(map(ip_network, ("10.0.0.0/8", "198.51.100.0/24", "2001:db8:1::/48", "::/0")))


def excepted() -> set[Network]:
    with ExceptionTable(LANE_TABLE) as table:
        return table.prefixes()


def shown() -> str:
    return "".join(
        subprocess.run(
            ["ip", family, "route", "show", "table", str(LANE_TABLE)],
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout
        for family in ("-4", "-6")
    )


def test_lane_becomes_what_it_is_to_be_and_leaves_routes_of_others_alone() -> None:
    def check() -> None:
        device = open_tun("tun0")
        with Netlink() as net:
            LinkUp("tun0", 1500).apply(net)
            Route(ip_network("0.0.0.0/0"), "tun0", LANE_TABLE).apply(net)
            subprocess.run(
                ["ip", "route", "add", "throw", "203.0.113.0/24", "table", str(LANE_TABLE)], check=True
            )
            for prefixes in (FIRST, FIRST, SECOND, frozenset(), FIRST):
                Lane(prefixes).apply(net)
                assert excepted() == prefixes
                assert ("throw 192.0.2.7" in shown()) == (prefixes == FIRST)
            device.close()  # they belong to no device
            assert excepted() == FIRST
            assert clear_lane() == len(FIRST)
            Lane(FIRST).revert(net)
            assert shown().split() == ["throw", "203.0.113.0/24"]

    isolated(check)
