"""What is said of routes, and of the kernel's check of sources."""

import subprocess
from pathlib import Path
from typing import cast

import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.doctor.looks import Ways
from tunproxy.doctor import ways
from tunproxy.doctor.finding import State
from tunproxy.host.netlink import Netlink, Way
from tunproxy.host.rule_messages import Rule
from tunproxy.host.tun_links import read_tun_links

NETSTAT = "TcpExt: SyncookiesSent IPReversePathFilter\nTcpExt: 1 {}\nIpExt: InNoRoutes\nIpExt: 0\n"


@pytest.mark.parametrize(
    ("way", "links", "state", "says"),
    [
        (Way("tun0", "", ""), ["tun0"], State.FINE, "goes into tun0"),
        (Way("eth0", "192.0.2.1", ""), ["tun0"], State.BROKEN, "goes out at eth0"),
        (Way("eth0", "192.0.2.1", ""), [], State.ODD, "goes out at eth0"),
        (None, ["tun0"], State.ODD, "no way leads"),
    ],
)
def test_way_is_judged_by_where_it_leads(way: Way | None, links: list[str], state: State, says: str) -> None:
    found = ways.judge_way("IPv4", cast(Netlink, Ways(way)), links, 1000)
    assert found.state is state
    assert says in found.says


def test_way_into_another_device_is_told_with_whose_it_is() -> None:
    kernel = cast(Netlink, Ways(Way("tun0", "", "")))
    found = ways.judge_way("IPv4", kernel, ["mine0"], 1000, {"tun0": "open in openvpn (12)"})
    assert found.state is State.BROKEN
    assert found.says == "IPv4 goes into tun0, a TUN device of another program, which stands in front"
    assert found.evidence[1] == "tun0: open in openvpn (12)"
    assert found.mend.startswith("stop that program; or: ip route add default dev mine0 ")
    found = ways.judge_way("IPv4", kernel, ["mine0", "tun0"], 1000)
    assert (found.state, found.says) == (State.FINE, "IPv4 goes into tun0, and not into mine0")


def test_ipv6_that_leads_nowhere_is_fine() -> None:
    assert ways.judge_way("IPv6", cast(Netlink, Ways(None)), ["tun0"], 1000).state is State.FINE


def test_drops_of_the_source_check_are_read(tmp_path: Path) -> None:
    netstat = tmp_path / "netstat"
    assert ways.source_check_drops(netstat) == 0
    netstat.write_text(NETSTAT.format(42))
    assert ways.source_check_drops(netstat) == 42
    netstat.write_text("nonsense")
    assert ways.source_check_drops(netstat) == 0


@pytest.mark.parametrize(
    ("values", "dropped", "is_told"), [("11", 5, True), ("11", 0, False), ("12", 5, False)]
)
def test_source_check_is_told_only_where_it_has_dropped(
    values: str, dropped: int, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(values)
    monkeypatch.setattr(ways.sysctl, "read", lambda name: next(answers))
    found = ways.judge_source_check("tun0", dropped)
    assert (found is not None) == is_told


@pytest.mark.parametrize(
    ("values", "dropped", "says"),
    [
        ("00", 0, "rp_filter of tun0 is off, and has dropped nothing"),
        ("12", 5, "rp_filter of tun0 is loose, and has dropped 5 packets on this host"),
        ("10", 0, "rp_filter of tun0 is strict, and has dropped nothing"),
    ],
)
def test_source_check_that_harms_nobody_is_told_as_well(
    values: str, dropped: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(values)
    monkeypatch.setattr(ways.sysctl, "read", lambda name: next(answers))
    found = ways.describe_source_check("tun0", dropped)
    assert (found.state, found.says) == (State.FINE, says)
    assert found.evidence[1] == f"net.ipv4.conf.tun0.rp_filter is {values[1]}"


def test_rule_is_told_with_whose_table_it_is() -> None:
    assert ways.describe_rule(Rule(5270, table=52)) == "priority 5270: table 52, Tailscale's"
    assert ways.describe_rule(Rule(100, table=99)) == "priority 100: table 99"


@needs_namespaces
@pytest.mark.needs("ip")
def test_rules_in_front_of_ours_are_told() -> None:
    def check() -> None:
        subprocess.run(
            ["ip", "rule", "add", "fwmark", "1", "lookup", "51820", "pref", "100"], check=True, timeout=10
        )
        with Netlink() as net:
            found = ways.judge_ways(net, [link.name for link in read_tun_links()], 0)
        front = [each for each in found if "is asked before ours" in each.says]
        assert [each.evidence for each in front] == [("priority 100: table 51820, wg-quick's",)]
        assert front[0].mend.endswith(": ip rule delete pref 100")
        subprocess.run(front[0].mend.rpartition(": ")[2].split(), check=True, timeout=10)
        with Netlink() as net:
            assert "is asked before ours" not in str(ways.judge_ways(net, [], 0))

    isolated(check)
