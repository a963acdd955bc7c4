"""The kill switch: what its table says, and that it is made, mended and lifted in the real kernel.

That nothing leaves is tested in ``tests/system/test_change.py``.
"""

import socket
import subprocess
from ipaddress import ip_address, ip_network

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.errors import SystemChangeError
from tunproxy.host import kill_switch, nft
from tunproxy.host.addresses import TUN_IPV4, TUN_IPV6
from tunproxy.host.kill_switch import BIT, NAME, KillSwitch, content, is_held, lift
from tunproxy.host.netlink import Netlink
from tunproxy.host.routes import TABLE
from tunproxy.host.rules import PolicyRules
from tunproxy.host.scope import Scope

EVERYTHING = [ip_network("0.0.0.0/0"), ip_network("::/0")]
RULES = PolicyRules("tun0", (TUN_IPV4, TUN_IPV6), TABLE, uid=61_000)
KEEP = f"ct mark set ct mark or {BIT:#x} accept"


def lines(rules: PolicyRules = RULES, prefixes: object = EVERYTHING, near: object = ()) -> list[str]:
    by_version = {each.version: rules.rules(each, ()) for each in (TUN_IPV4, TUN_IPV6)}
    return content("tun0", prefixes, by_version, near).splitlines()  # type: ignore[arg-type]


def test_table_lets_through_what_the_rules_leave_alone_and_refuses_the_rest() -> None:
    scope = Scope(
        excluded=(ip_network("203.0.113.0/24"), ip_network("2001:db8:5::/48")),
        excluded_users=((1000, 1999),),
        marks=((0x10, 0xFF),),
        spares_cgroups=True,
    )
    found = lines(PolicyRules("tun0", (TUN_IPV4, TUN_IPV6), TABLE, uid=61_000, scope=scope))
    for expected in (
        'oifname { "lo", "tun0" } accept',
        f"meta skuid 61000-61000 {KEEP}",
        f"meta skuid 1000-1999 {KEEP}",
        f"meta mark and 0xff == 0x10 {KEEP}",
        "ip daddr 203.0.113.0/24 accept",
        "ip6 daddr 2001:db8:5::/48 accept",
        "ip6 daddr fe80::/10 accept",
        "udp sport 68 udp dport 67 accept",
    ):
        assert expected in found
    assert found[-2] == "counter name stopped reject with icmpx type admin-prohibited"
    assert not any(line == "accept" for line in found), "a rule for whatever is sent lets all of it through"


def test_table_knows_the_worker_by_its_mark() -> None:
    found = lines(PolicyRules("tun0", (TUN_IPV4, TUN_IPV6), TABLE, uid=61_000, mark=7))
    assert f"meta mark and 0xffffffff == 0x7 {KEEP}" in found
    assert not any("skuid" in line for line in found)


def test_table_leaves_alone_what_does_not_go_into_the_tun() -> None:
    found = lines(prefixes=[ip_network("10.0.0.0/8"), ip_network("192.0.2.0/24")])
    assert "ip daddr != { 10.0.0.0/8, 192.0.2.0/24 } accept" in found
    assert "meta nfproto ipv6 accept" in found
    assert not any("!=" in line for line in lines())


def test_table_has_connected_networks_but_for_names_where_we_answer() -> None:
    near = [ip_network("192.0.2.0/24"), ip_network("2001:db8::/64")]
    found = lines(near=near)
    assert found[-4:-2] == ["ip daddr { 192.0.2.0/24 } accept", "ip6 daddr { 2001:db8::/64 } accept"]
    assert not any("dport 53" in line for line in found)
    scope = Scope(dns=True, dns_except=(ip_address("192.0.2.53"),))
    asked = lines(PolicyRules("tun0", (TUN_IPV4, TUN_IPV6), TABLE, uid=61_000, scope=scope), near=near)
    spared = asked.index("ip daddr 192.0.2.53/32 th dport 53 accept")
    assert spared < next(n for n, line in enumerate(asked) if "th dport 53 counter" in line)
    assert next(n for n, line in enumerate(asked) if "th dport 53 counter" in line) < asked.index(found[-4])


def table() -> str:
    return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, timeout=10).stdout


@needs_namespaces
@pytest.mark.needs("ip", "nft")
def test_kill_switch_is_made_mended_and_lifted() -> None:
    def check() -> None:
        for line in (
            "link set lo up", "link add e0 type veth peer name e1", "link set e0 up", "link set e1 up",
            "address add 192.0.2.1/24 dev e0", "route add default via 192.0.2.254",
        ):  # fmt: skip
            subprocess.run(["ip", *line.split()], check=True, timeout=10)
        switch = KillSwitch("tun0", EVERYTHING, RULES)
        with Netlink() as net:
            assert not is_held(net)
            net.add_unreachable(ip_network("10.0.0.0/8"), TABLE)  # an earlier run had other networks
            switch.apply(net)
            switch.apply(net)
            assert is_held(net)
            assert set(net.unreachable(TABLE)) == set(EVERYTHING)
            assert "192.0.2.0/24" in table()
            assert not switch.mend(net)
            subprocess.run(["ip", "address", "add", "203.0.113.1/24", "dev", "e0"], check=True)
            assert not switch.mend(net), "nobody has undone anything"
            assert "203.0.113.0/24" in table()
            subprocess.run(["nft", "flush", "ruleset"], check=True)
            subprocess.run(["ip", "route", "flush", "table", str(TABLE)], check=True)
            assert switch.mend(net)
            assert not switch.mend(net)
            assert set(net.unreachable(TABLE)) == set(EVERYTHING)
            assert NAME in table()
            assert lift(net)
            assert not lift(net)
            assert not is_held(net)
            assert table() == ""
            switch.revert(net)

    isolated(check)


@needs_namespaces
@pytest.mark.needs("nft")
def test_kill_switch_counts_what_it_refuses_over_its_changes() -> None:
    def check() -> None:
        for line in (
            "link set lo up", "link add e0 type veth peer name e1", "link set e0 up", "link set e1 up",
            "address add 192.0.2.1/24 dev e0", "route add default via 192.0.2.254",
        ):  # fmt: skip
            subprocess.run(["ip", *line.split()], check=True, timeout=10)
        switch = KillSwitch("tun0", EVERYTHING, RULES)
        with Netlink() as net, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            switch.apply(net)
            for count in (1, 2):
                with pytest.raises(OSError, match="not permitted"):
                    sock.sendto(b"x", ("198.51.100.1", 9))
                sock.sendto(b"x", ("192.0.2.2", 9))
                subprocess.run(["ip", "address", "add", f"203.0.113.{count}/24", "dev", "e0"], check=True)
                switch.mend(net)
                assert switch.stopped == count

    isolated(check)


@needs_namespaces
@pytest.mark.needs("nft")
def test_kill_switch_is_lifted_though_libnftables_is_gone_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def check() -> None:
        with Netlink() as net:
            net.set_link("lo", up=True)
            KillSwitch("tun0", EVERYTHING, RULES).apply(net)
            subprocess.run(["nft", "add", "table", "inet", "somebodys"], check=True)
            monkeypatch.setattr(nft, "LIBRARY", "libnone.so")
            assert is_held(net)
            assert lift(net)
            assert not is_held(net)
        assert table() == "table inet somebodys {\n}\n"

    isolated(check)


@needs_namespaces
def test_kill_switch_without_nftables_is_refused_and_none_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def check() -> None:
        monkeypatch.setattr(nft, "LIBRARY", "libnone.so")
        with Netlink() as net:
            assert not is_held(net)
            net.set_link("lo", up=True)
            switch = kill_switch.KillSwitch("tun0", EVERYTHING, RULES)
            with pytest.raises(
                SystemChangeError, match=r"^cannot hold the kill switch: cannot use nftables: "
            ):
                switch.apply(net)
            switch.revert(net)
            assert not is_held(net)

    isolated(check)
