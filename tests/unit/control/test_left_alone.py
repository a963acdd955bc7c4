"""What does not come to us, in a network namespace of the test's own with all that decides."""

import subprocess
from ipaddress import ip_network
from typing import Any

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.control.left_alone import LeftAlone
from tunproxy.device.tun import open_tun
from tunproxy.host.addresses import TUN_IPV4, TUN_IPV6
from tunproxy.host.netlink import Netlink
from tunproxy.host.routes import LANE_TABLE, TABLE
from tunproxy.host.rules import PolicyRules
from tunproxy.host.scope import Scope

pytestmark = [needs_namespaces, pytest.mark.needs("ip")]

WORKER = 61_000
EVERYTHING = ("0.0.0.0/0", "::/0")
SCOPE = Scope(
    excluded_users=((0, 0), (1001, 1001)),
    excluded=(ip_network("203.0.113.0/24"), ip_network("2001:db8:7::/48")),
    dns=True,
)


def ip(line: str) -> None:
    subprocess.run(["ip", *line.split()], check=True, timeout=10)


def make_host(scope: Scope, routes: tuple[str, ...] = EVERYTHING) -> object:
    """Make a host with a LAN and a way out, and have it captured; return the device, which is to be kept."""
    device = open_tun("tun0")
    for line in (
        "link add e0 type veth peer name e1",
        *(f"link set {name} up" for name in ("lo", "e0", "e1", "tun0")),
        "address add 192.0.2.1/24 dev e0",
        "route add default via 192.0.2.254", "route add 10.0.0.0/8 via 192.0.2.7",
        f"address add {TUN_IPV4} dev tun0", f"address add {TUN_IPV6} dev tun0 nodad",
        "address add 2001:db8::1/64 dev e0 nodad", "route add default via 2001:db8::fe",
    ):  # fmt: skip
        ip(line)
    with Netlink() as net:
        for prefix in routes:
            for table in (TABLE, LANE_TABLE):
                net.add_route(ip_network(prefix), "tun0", table)
        PolicyRules("tun0", (TUN_IPV4, TUN_IPV6), TABLE, WORKER, 0, scope).apply(net)
    return device


@pytest.mark.parametrize(
    ("target", "uid", "port", "why"),
    [
        ("198.51.100.1", -1, 443, ""),
        ("198.51.100.1", 1000, 443, ""),
        ("2001:db8:100::1", -1, 443, ""),
        ("198.51.100.1", 1001, 443, "programs of user 1001 are left alone"),
        ("203.0.113.9", -1, 443, "exclude-networks has 203.0.113.0/24"),
        ("2001:db8:7::1", -1, 443, "exclude-networks has 2001:db8:7::/48"),
        ("192.0.2.7", -1, 80, "the table main has a way to 192.0.2.0/24, out at e0"),
        ("10.1.1.1", -1, 80, "the table main has a way to 10.0.0.0/8, out at e0"),
        ("192.0.2.7", -1, 53, ""),
        ("192.0.2.1", -1, 80, "it is this host itself"),
        ("127.0.0.9", -1, 53, "it is this host itself"),
        ("::1", -1, 80, "it is this host itself"),
        ("224.0.0.251", -1, 5353, "groups, and what is link-local, do not lead beyond the link"),
        ("fe80::1", -1, 80, "groups, and what is link-local, do not lead beyond the link"),
        ("100.64.0.1", -1, 80, ""),
    ],
)
def test_why_says_what_the_kernel_does(target: str, uid: int, port: int, why: str) -> None:
    def in_lane(address: str, port: int) -> str:
        return "100.64.0.0/10" if address.startswith("100.64.") else ""

    def check() -> None:
        kept = make_host(SCOPE)
        with Netlink() as net:
            left = LeftAlone("tun0", EVERYTHING, SCOPE, WORKER, in_lane)
            assert left.why(net, target, uid, 6, port) == why
            assert left.of_everything(net) == []
        del kept

    isolated(check)


def test_rule_of_somebody_else_takes_everything_of_its_version_and_that_is_told() -> None:
    def check() -> None:
        kept = make_host(SCOPE)
        left = LeftAlone("tun0", EVERYTHING, SCOPE, WORKER)
        ip("rule add pref 5000 lookup main")
        why = "a policy rule of somebody else leads it out at e0 (see: ip rule)"
        with Netlink() as net:
            assert left.of_everything(net) == [f"what programs send over IPv4 goes past us: {why}"]
            late = LeftAlone("tun0", EVERYTHING, SCOPE, WORKER, versions=(6,))
            assert "had no IPv4 when it was made" in late.why(net, "198.51.100.1")
            assert left.why(net, "198.51.100.1") == why
            ip("-6 rule add pref 5000 lookup main")
            assert len(left.of_everything(net)) == 2
            elsewhere = Scope(excluded=tuple(map(ip_network, ("198.41.0.0/16", "2001:503::/32"))))
            assert LeftAlone("tun0", EVERYTHING, elsewhere, WORKER).of_everything(net) == []
        del kept

    isolated(check)


def test_routes_to_parts_that_together_are_everything_are_told() -> None:
    def check() -> None:
        kept = make_host(Scope())
        for part in ("0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2"):
            ip(f"route add {part} dev e1")
        why = "the table main has a way to 192.0.0.0/2, out at e1"
        with Netlink() as net:
            assert LeftAlone("tun0", EVERYTHING, Scope(), WORKER).of_everything(net) == [
                f"what programs send over IPv4 goes past us: {why}"
            ]
        del kept

    isolated(check)


def test_what_is_not_routed_into_the_tun_is_not_missed() -> None:
    def check() -> None:
        routes = ("198.51.100.0/24",)
        kept = make_host(Scope(), routes)
        left = LeftAlone("tun0", routes, Scope(), WORKER)
        with Netlink() as net:
            assert left.of_everything(net) == []
            assert left.why(net, "198.51.100.1") == ""
            assert left.why(net, "203.0.113.1") == "it is not among what is routed into tun0"
        del kept

    isolated(check)


def test_nobody_captured_and_one_group_captured() -> None:
    def check() -> None:
        scope = Scope(only_cgroups=True)
        kept = make_host(scope)
        with Netlink() as net:
            assert LeftAlone("tun0", EVERYTHING, scope, WORKER).of_everything(net) == []
            nobody = Scope(excluded_users=((0, 0xFFFF_FFFE),))
            assert LeftAlone("tun0", EVERYTHING, nobody, WORKER).of_everything(net) == []
        del kept

    isolated(check)


def test_record_is_judged_by_what_it_knows() -> None:
    def record(target: str | None, uid: int | None = None, client: str = "") -> dict[str, Any]:
        flow = {"protocol": "tcp", "client": client, "target": target, "target_port": 443}
        return {"flow": flow, "inputs": {"process": {"uid": uid}}}

    def check() -> None:
        kept = make_host(SCOPE)
        left = LeftAlone("tun0", EVERYTHING, SCOPE, WORKER)
        assert left.of_record(record("198.51.100.1", 1001)) == "programs of user 1001 are left alone"
        assert left.of_record(record("192.0.2.7", client=str(TUN_IPV4.ip))).startswith("the table main has")
        assert left.of_record(record("192.0.2.7", client="172.18.0.2")) == "", "another host's"
        assert left.of_record(record("198.51.100.1")) == ""
        assert left.of_record(record(None)) == ""
        del kept

    isolated(check)
