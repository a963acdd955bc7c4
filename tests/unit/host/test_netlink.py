"""Links, addresses, routes and rules in the real kernel, in a network namespace of the test's own."""

import errno
import socket
import subprocess
from ipaddress import ip_interface, ip_network

import pytest
from pyroute2.netlink.exceptions import NetlinkError

from tests.isolation import isolated, needs_namespaces
from tunproxy.device.tun import open_tun
from tunproxy.errors import SystemChangeError
from tunproxy.host.netlink import MAIN_TABLE, Netlink, Rule, Way

pytestmark = [needs_namespaces, pytest.mark.needs("ip")]

TABLE = 1234


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False, timeout=10).stdout


def test_link_is_set_up_with_mtu_and_down_again() -> None:
    def check() -> None:
        device = open_tun("tun0")
        with Netlink() as net:
            net.set_link("tun0", up=True, mtu=1400)
            assert ",UP" in ip("link", "show", "tun0")
            assert "mtu 1400" in ip("link", "show", "tun0")
            net.set_link("tun0", up=False)
            assert ",UP" not in ip("link", "show", "tun0")
        device.close()

    isolated(check)


def test_link_unknown_is_an_error_that_names_it() -> None:
    def check() -> None:
        with Netlink() as net, pytest.raises(SystemChangeError, match=r"^cannot set nix up: no such device$"):
            net.set_link("nix", up=True)

    isolated(check)


@pytest.mark.parametrize("address", ["10.1.2.1/30", "fd00::1/126"])
def test_address_is_added_once_usable_at_once_and_removed(address: str) -> None:
    def check() -> None:
        with Netlink() as net:
            net.set_link("lo", up=True)
            for _ in range(2):
                net.add_address("lo", ip_interface(address))
            assert ip("address", "show", "lo").count(address) == 1
            assert "tentative" not in ip("address", "show", "lo")
            for _ in range(2):
                net.delete_address("lo", ip_interface(address))
            assert address not in ip("address", "show", "lo")

    isolated(check)


@pytest.mark.parametrize("prefix", ["0.0.0.0/0", "10.0.0.0/8", "::/0", "fd00::/8"])
def test_route_is_added_once_counted_and_removed(prefix: str) -> None:
    def check() -> None:
        with Netlink() as net:
            net.set_link("lo", up=True)
            for _ in range(2):
                net.add_route(ip_network(prefix), "lo", TABLE)
            assert net.count_routes(TABLE) == 1
            assert net.is_in_use(TABLE)
            for _ in range(2):
                net.delete_route(ip_network(prefix), "lo", TABLE)
            assert net.count_routes(TABLE) == 0

    isolated(check)


def test_route_refused_says_why() -> None:
    def check() -> None:
        with (
            Netlink() as net,
            pytest.raises(SystemChangeError, match=r"^cannot route 10.0.0.0/8 into lo: network is down$"),
        ):
            net.add_route(ip_network("10.0.0.0/8"), "lo", TABLE)

    isolated(check)


@pytest.mark.parametrize(
    ("rule", "shown"),
    [
        (Rule(77), "from all nop"),
        (Rule(77, table=TABLE), f"from all lookup {TABLE}"),
        (Rule(77, table=MAIN_TABLE, ignore_default=True), "from all lookup main suppress_prefixlength 1"),
        (Rule(77, goto=88, uid=61000), "from all uidrange 61000-61000 goto 88"),
        (Rule(77, goto=88, mark=0x10), "from all fwmark 0x10 goto 88"),
        (
            Rule(77, table=TABLE, iif="lo", source=ip_network("10.0.0.1")),
            f"from 10.0.0.1 iif lo lookup {TABLE}",
        ),
        (
            Rule(77, table=TABLE, iif="lo", source=ip_network("0.0.0.0/32")),
            f"from 0.0.0.0 iif lo lookup {TABLE}",
        ),
        (Rule(77, table=TABLE, not_iif="lo"), f"not from all iif lo lookup {TABLE}"),
        (Rule(77, goto=88, target=ip_network("224.0.0.0/4")), "from all to 224.0.0.0/4 goto 88"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_rule_is_what_iproute_shows(rule: Rule, shown: str) -> None:
    def check() -> None:
        with Netlink() as net:
            net.add_rule(socket.AF_INET, Rule(88))
            for _ in range(2):
                net.add_rule(socket.AF_INET, rule)
            lines = [line for line in ip("rule").splitlines() if line.startswith("77:")]
            assert [line.split("\t")[1].strip() for line in lines] == [f"{shown} proto 119"]

    isolated(check)


def test_delete_rules_takes_ours_of_both_families_and_no_others() -> None:
    def check() -> None:
        with Netlink() as net:
            for family in (socket.AF_INET, socket.AF_INET6):
                for priority in (70, 77, 77, 79, 80):
                    net.add_rule(family, Rule(priority, uid=priority))
                net.add_rule(family, Rule(77, uid=5))
            ip("rule", "add", "pref", "77", "lookup", "main")
            assert net.delete_rules(range(71, 80)) == 6
            assert [line.split(":")[0] for line in ip("rule").splitlines()] == [
                "0",
                "70",
                "77",
                "80",
                "32766",
                "32767",
            ]
            assert net.delete_rules(range(71, 80)) == 0

    isolated(check)


def test_netlink_without_rights_says_what_is_needed() -> None:
    def check() -> None:
        from tunproxy.host import libc

        libc.capset(effective=0, permitted=0)
        with Netlink() as net, pytest.raises(SystemChangeError, match=r"not permitted \(needs CAP_NET_ADMIN"):
            net.set_link("lo", up=True)

    isolated(check)


def test_way_is_that_of_the_user_and_the_mark_also_after_other_questions() -> None:
    def check() -> None:
        for line in (
            "link add e0 type veth peer name e1", "link set lo up", "link set e0 up", "link set e1 up",
            "address add 192.0.2.1/24 dev e0", "route add default via 192.0.2.254",
            "rule add pref 5 uidrange 77-77 unreachable", "rule add pref 6 fwmark 7 lookup 9",
            "route add default dev e1 table 9",
        ):  # fmt: skip
            ip(*line.split())
        with Netlink() as net:
            assert ip_network("192.0.2.0/24") in net.near_prefixes()
            assert ip_network("192.0.2.1/32") in net.local_prefixes()
            usual = Way("e0", "192.0.2.254", "192.0.2.1")
            assert net.way_to("198.51.100.1") == net.way_to("198.51.100.1", uid=76) == usual
            assert net.way_to("198.51.100.1", uid=77) is None
            assert net.way_to("198.51.100.1", uid=76, mark=7) == Way("e1", "", "192.0.2.1")
            assert net.way_to("2001:db8::1", uid=76) is None

    isolated(check)


def test_near_prefixes_are_those_of_networks_and_not_halves_of_everything() -> None:
    def check() -> None:
        for line in ("link add e0 type veth peer name e1", "link set e0 up", "link set e1 up"):
            ip(*line.split())
        networks = ("64.0.0.0/2", "10.0.0.0/8", "fc00::/7")
        for prefix in ("default", "0.0.0.0/1", "128.0.0.0/1", "::/3", "2000::/3", "2000::/4", *networks):
            ip("route", "add", prefix, "dev", "e0")
        with Netlink() as net:
            assert {ip_network(each) for each in networks} <= set(net.near_prefixes())
            assert all(each.prefixlen > (1 if each.version == 4 else 4) for each in net.near_prefixes())

    isolated(check)


def test_unreachable_is_what_is_left_where_no_better_route_is() -> None:
    def check() -> None:
        device = open_tun("tun0")
        with Netlink() as net:
            net.set_link("lo", up=True)
            net.set_link("tun0", up=True)
            for prefix in map(ip_network, ("0.0.0.0/0", "::/0")):
                net.add_route(prefix, "tun0", TABLE)
                for _ in range(2):
                    net.add_unreachable(prefix, TABLE)
            ip("rule", "add", "pref", "5", "lookup", str(TABLE))
            assert net.way_to("198.51.100.1") == Way("tun0", "", "")
            device.close()
            assert net.way_to("198.51.100.1") is None
            assert len(net.unreachable(TABLE)) == 2
            assert not net.is_in_use(TABLE)
            assert net.delete_unreachable(TABLE) == 2
            assert net.unreachable(TABLE) == []

    isolated(check)


def test_link_and_address_are_looked_at() -> None:
    def check() -> None:
        with Netlink() as net:
            assert not net.is_up("lo")
            net.set_link("lo", up=True)
            assert net.is_up("lo")
            assert not net.has_address("lo", ip_interface("10.1.2.1/30"))
            net.add_address("lo", ip_interface("10.1.2.1/30"))
            assert net.has_address("lo", ip_interface("10.1.2.1/30"))
            net.set_link("lo", up=False)
            with pytest.raises(SystemChangeError, match="cannot look at nix: no such device"):
                net.is_up("nix")

    isolated(check)


def test_kernel_without_policy_routing_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NetlinkError(errno.EOPNOTSUPP)

    def check() -> None:
        with Netlink() as net:
            monkeypatch.setattr(net._ipr, "rule", refuse)
            why = r"^cannot add policy rule 77: operation not supported \(not in this kernel"
            with pytest.raises(SystemChangeError, match=why):
                net.add_rule(socket.AF_INET, Rule(77))

    isolated(check)
