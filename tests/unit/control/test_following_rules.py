"""Port 53 of connected networks is captured from when a saved configuration needs names, and no longer."""

import subprocess
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.control.policies import sources_of, written
from tunproxy.control.following_rules import FollowingRules
from tunproxy.host.addresses import TUN_IPV4
from tunproxy.host.kill_switch import KillSwitch
from tunproxy.host.netlink import Netlink
from tunproxy.host.routes import TABLE
from tunproxy.host.rules import PolicyRules

pytestmark = [needs_namespaces, pytest.mark.needs("ip")]


def way(target: str, port: int) -> str:
    """Return the link by which a query of a program leaves."""
    asked = ["ip", "route", "get", target, "ipproto", "udp", "dport", str(port)]
    found = subprocess.run(asked, check=True, timeout=10, capture_output=True, text=True).stdout
    return found.partition(" dev ")[2].split()[0]


def make_host() -> None:
    for line in (
        "link set lo up",
        "link add lan0 type veth peer name lan1",
        "link set lan0 up",
        "link set lan1 up",
        "address add 10.20.0.1/24 dev lan0",
        "link add tun0 type veth peer name tun1",
        "link set tun0 up",
        "link set tun1 up",
        "address add 198.18.0.1/30 dev tun0",
        f"route add default dev tun0 table {TABLE}",
        "route add default dev lan0",
    ):
        subprocess.run(["ip", *line.split()], check=True, timeout=10)


def test_queries_to_the_lan_are_captured_as_soon_as_we_answer_names(tmp_path: Path) -> None:
    with_names = sources_of(
        written(tmp_path, 'rules = ["DOMAIN,a.example,DIRECT"]\n[dns]\nhijack-except = ["10.20.0.9"]\n')
    )
    without = sources_of(written(tmp_path, '[dns]\nmode = "off"\n'))

    def check() -> None:
        make_host()
        rules = FollowingRules(PolicyRules("tun0", (TUN_IPV4,), TABLE, uid=61_000))
        switch = KillSwitch("tun0", [ip_network("0.0.0.0/0")], rules)
        with Netlink() as net:
            rules.apply(net)
            assert (way("10.20.0.53", 53), way("192.0.2.1", 53)) == ("lan0", "tun0")
            rules.follow(without)
            assert not rules.mend(net)
            assert way("10.20.0.53", 53) == "lan0"
            rules.follow(with_names)
            assert not rules.mend(net), "nobody has removed anything"
            assert (way("10.20.0.53", 53), way("10.20.0.53", 80)) == ("tun0", "lan0")
            assert way("10.20.0.9", 53) == "lan0", "but for whom the configuration spares"
            assert "th dport 53" in switch._wanted(net), "the kill switch says the same"
            assert not rules.mend(net)
            rules.follow(without)
            rules.mend(net)
            assert way("10.20.0.53", 53) == "lan0"
            assert "th dport 53" not in switch._wanted(net)
            subprocess.run(["ip", "rule", "del", "pref", "7770"], check=True, timeout=10)
            assert rules.mend(net)
            rules.revert(net)
            assert way("192.0.2.1", 53) == "lan0"

    isolated(check)
