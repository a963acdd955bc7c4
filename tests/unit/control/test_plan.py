"""What ``up`` is to do: routes of the families that there are, rules, and the line that tells."""

from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from tunproxy.control import plan as plan_module
from tunproxy.control.capture import CaptureOptions
from tunproxy.control.config.sources import Sources
from tunproxy.control.plan import Plan
from tunproxy.control.policy import built_in_sources
from tunproxy.control.process import Identity
from tunproxy.control.settings import UpSettings
from tunproxy.host import links
from tunproxy.host.addresses import TUN_IPV4, TUN_IPV6, Interface
from tunproxy.host.links import Address, LinkUp
from tunproxy.host.privileges import SocketNeeds
from tunproxy.host.routes import LANE_TABLE, TABLE
from tunproxy.host.scope import Scope


@pytest.fixture(autouse=True)
def pings_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module.sysctl, "allows_ping", lambda gid: gid == 61_000)


def plan(
    *routes: str,
    addresses: tuple[Interface, ...] = (TUN_IPV4, TUN_IPV6),
    scope: Scope | None = None,
    gid: int = 61_000,
) -> Plan:
    sources: Sources = built_in_sources()
    identity = Identity(61_000, gid, SocketNeeds())
    return Plan(UpSettings(routes=routes), identity, "tun7", addresses, sources, scope or Scope())


def test_routes_are_those_of_the_families_that_the_device_has() -> None:
    both = plan("0.0.0.0/0", "::/0")
    assert [(str(each.prefix), each.table) for each in both.routes()] == [
        ("0.0.0.0/0", TABLE),
        ("::/0", TABLE),
    ]
    one = plan("0.0.0.0/0", "::/0", addresses=(TUN_IPV4,))
    assert [each.prefix for each in one.routes()] == [ip_network("0.0.0.0/0")]


def test_lane_has_a_table_of_its_own_with_the_same_routes() -> None:
    wanted = plan("0.0.0.0/0", scope=Scope(has_lane=True))
    assert [each.table for each in wanted.routes()] == [TABLE, LANE_TABLE]


def test_device_has_addresses_where_we_route() -> None:
    assert plan("0.0.0.0/0").link() == [
        LinkUp("tun7", 1500),
        Address("tun7", TUN_IPV4),
        Address("tun7", TUN_IPV6),
    ]
    assert plan().link() == [LinkUp("tun7", 1500)]


def test_kill_switch_holds_what_is_routed_and_both_families() -> None:
    """Also the one that the device cannot have: what nobody can carry is what leaks."""
    switched = CaptureOptions(kill_switch=True)
    for routes in (("0.0.0.0/0", "::/0"), ()):
        wanted = replace(
            plan(*routes, addresses=(TUN_IPV4,)), settings=UpSettings(routes=routes, capture=switched)
        )
        assert wanted.rules() == plan(*routes).rules()
        assert (wanted.kill_switch() is not None) == bool(routes)
    one = plan("0.0.0.0/0", addresses=(TUN_IPV4,))
    assert one.rules() != plan("0.0.0.0/0").rules()
    assert one.kill_switch() is None


@pytest.mark.parametrize(
    ("wanted", "line"),
    [
        (plan("0.0.0.0/0", "::/0"), "x, routes 0.0.0.0/0 ::/0 in table 7777, worker uid 61000"),
        (
            plan("0.0.0.0/0", "::/0", addresses=(TUN_IPV4,)),
            "x, routes 0.0.0.0/0 in table 7777, no ipv6 on this host, worker uid 61000",
        ),
        (
            plan("0.0.0.0/0", scope=Scope(has_lane=True)),
            "x, routes 0.0.0.0/0 in table 7777, worker uid 61000",
        ),
        (plan(), "x, no routes of ours, worker uid 61000"),
    ],
    ids=lambda value: value if isinstance(value, str) else "plan",
)
def test_line_tells_what_is_done(
    wanted: Plan, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "IF_INET6", tmp_path / "none")
    assert wanted.start_line("x") == line
    assert wanted.start_line("") == line.removeprefix("x, ")


def test_line_tells_that_ipv6_of_others_is_not_captured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = tmp_path / "if_inet6"
    addresses.write_text(f"{'0' * 31}1 01 80 10 80       lo\nfe80{'0' * 27}1 02 40 20 80     eth0\n")
    monkeypatch.setattr(links, "IF_INET6", addresses)
    line = plan("0.0.0.0/0", "::/0", addresses=(TUN_IPV4,)).start_line("x")
    assert "routes 0.0.0.0/0 in table 7777, ipv6 goes past us, as net.ipv6.conf.default" in line


def test_line_tells_that_pings_are_not_sent() -> None:
    line = plan(gid=5).start_line("x")
    assert line.endswith("no ping (gid 5 is outside of net.ipv4.ping_group_range)")
