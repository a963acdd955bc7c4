"""The policy rules: their shape, and the claim. What they do is tested in ``tests/system/test_up.py``."""

import os
import signal
import socket
import subprocess
from ipaddress import ip_address, ip_network

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.host.addresses import TUN_IPV4, TUN_IPV6, Interface
from tunproxy.host.descriptors import let_go
from tunproxy.host.netlink import MAIN_TABLE, Netlink
from tunproxy.host.routes import LANE_TABLE, TABLE
from tunproxy.host.rules import FIRST, LAST, PRIORITIES, WIREGUARD_MARK, PolicyRules, TableClaim
from tunproxy.host.scope import Scope

BOTH = (TUN_IPV4, TUN_IPV6)
POLICY = PolicyRules("tun0", BOTH, TABLE, uid=61_000)
EVERY_SCOPE = Scope(
    forwarded=True,
    interfaces=("docker0", "lan0"),
    excluded_interfaces=("wg0",),
    users=((1000, 1999),),
    excluded_users=((1001, 1001),),
    excluded=(ip_network("203.0.113.0/24"), ip_network("2001:db8:7::/48")),
    marks=((0x100, 0xF00),),
    only_cgroups=True,
    spares_cgroups=True,
    dns=True,
    dns_except=(ip_address("192.0.2.53"), ip_address("2001:db8::53")),
    has_lane=True,
)


@pytest.mark.parametrize("address", BOTH, ids=["ipv4", "ipv6"])
def test_rules_stay_in_their_range_and_in_order(address: Interface) -> None:
    priorities = [rule.priority for rule in POLICY.rules(address)]
    assert priorities == sorted(priorities)
    assert set(priorities) <= set(PRIORITIES)


@pytest.mark.parametrize("address", BOTH, ids=["ipv4", "ipv6"])
def test_rules_look_into_our_table_last_and_only_go_forward(address: Interface) -> None:
    rules = POLICY.rules(address)
    assert all(rule.priority < rule.goto <= LAST for rule in rules if rule.goto)
    assert {rule.goto for rule in rules} <= {0} | {rule.priority for rule in rules}
    assert {rule.table for rule in rules} == {0, MAIN_TABLE, TABLE}
    first_ours = min(rule.priority for rule in rules if rule.table == TABLE)
    assert all(rule.priority < first_ours for rule in rules if rule.table == MAIN_TABLE or rule.uid >= 0)
    assert rules[-1] == type(rules[-1])(LAST)


def test_rules_know_the_worker_by_uid_or_by_mark() -> None:
    marked = PolicyRules("tun0", BOTH, TABLE, uid=61_000, mark=7)
    for address in BOTH:
        assert [rule.uid for rule in POLICY.rules(address) if rule.uid >= 0] == [61_000]
        assert [rule.mark for rule in marked.rules(address) if rule.mark] == [7, WIREGUARD_MARK[0]]
        assert not [rule for rule in marked.rules(address) if rule.uid >= 0]


@needs_namespaces
@pytest.mark.needs("ip")
def test_rules_applied_again_replace_those_of_another_run_and_revert_leaves_none() -> None:
    def shown() -> list[str]:
        """Return all rules; those of one priority do not depend on their order."""
        found = [
            subprocess.run(["ip", f, "rule"], capture_output=True, text=True).stdout for f in ("-4", "-6")
        ]
        return [line for family in found for line in sorted(family.splitlines())]

    def check() -> None:
        before = shown()
        with Netlink() as net:
            POLICY.apply(net)
            first = shown()
            PolicyRules("tun9", (TUN_IPV4,), TABLE, uid=5, mark=9, scope=EVERY_SCOPE).apply(net)
            assert shown() != first
            POLICY.apply(net)
            assert shown() == first != before
            POLICY.revert(net)
            POLICY.revert(net)
        assert shown() == before

    isolated(check)


ODD_RULES = (
    "pref 7776 prohibit",
    "pref 7779 unreachable",
    "pref 7772 blackhole",
    "pref 7770 l3mdev",
    "pref 7777 iif lo ipproto udp lookup 7777",
    "pref 7777 not from 10.0.0.0/8 tos 0x10 sport 50-60 dport 1-5 oif eth9 lookup 7777 suppress_ifgroup 7",
    "pref 7772 lookup main suppress_prefixlength 0",
    "pref 7775 not from all iif lo dport 53-54 goto 7779",
)


@needs_namespaces
@pytest.mark.needs("ip")
def test_rules_of_ours_as_we_make_none_are_replaced_and_reverted() -> None:
    """Of an earlier version, say; an unreachable one at 7779 would be the end of all that is left alone."""

    def check() -> None:
        def shown() -> list[str]:
            return sorted(subprocess.run(["ip", "rule"], capture_output=True, text=True).stdout.splitlines())

        before = shown()
        with Netlink() as net:
            POLICY.apply(net)
            right = shown()
            POLICY.revert(net)
            for applied_before in (False, True):
                if applied_before:
                    POLICY.apply(net)
                for rule in ODD_RULES:
                    subprocess.run(["ip", "rule", "add", *rule.split(), "protocol", "119"], check=True)
                assert len(shown()) >= len(before) + len(ODD_RULES)
                POLICY.apply(net)
                assert shown() == right
                POLICY.revert(net)
                assert shown() == before

    isolated(check)


@needs_namespaces
@pytest.mark.needs("ip")
def test_rules_of_every_scope_are_what_the_kernel_has_and_applied_again_change_nothing() -> None:
    def check() -> None:
        policy = PolicyRules("tun0", BOTH, TABLE, uid=61_000, scope=EVERY_SCOPE)
        subprocess.run(["ip", "rule", "add", "pref", "99", "fwmark", "0x80000/0xff0000", "lookup", "main"])
        with Netlink() as net:
            policy.apply(net)
            for family, address in ((socket.AF_INET, TUN_IPV4), (socket.AF_INET6, TUN_IPV6)):
                marks = [(0x80000, 0xFF0000)]
                assert set(net.rules(family, PRIORITIES)) == set(policy.rules(address, marks))
            net.add_rule = net.delete_rule = None  # type: ignore[assignment,method-assign]
            policy.apply(net)

    isolated(check)


@needs_namespaces
@pytest.mark.parametrize(
    "excluded", ["0.0.0.0/0", "::/0", "0.0.0.0/8", "128.0.0.0/1", "::/1", "203.0.113.0/24"]
)
def test_rules_leave_an_excluded_network_alone_however_large(excluded: str) -> None:
    def check() -> None:
        policy = PolicyRules("tun0", BOTH, TABLE, uid=61_000, scope=Scope(excluded=(ip_network(excluded),)))
        with Netlink() as net:
            policy.apply(net)
            assert not policy.mend(net), "nobody has changed anything"
            family = socket.AF_INET6 if ":" in excluded else socket.AF_INET
            ours = [rule for rule in net.rules(family, PRIORITIES) if rule.target is not None]
            left = [rule.target for rule in ours if rule.priority == FIRST + 1 and rule.goto == LAST]
            for address in (ip_network(excluded)[0], ip_network(excluded)[-1]):
                assert any(address in each for each in left if each is not None)

    isolated(check)


@needs_namespaces
def test_rules_of_any_scope_take_the_place_of_those_of_any_other() -> None:
    """Also where the kernel takes one rule for another."""
    scopes = [
        Scope(),
        Scope(excluded_users=((5, 5),)),
        Scope(forwarded=True, excluded_users=((5, 5), (9, 12))),
        Scope(dns=True, has_lane=True, only_cgroups=True),
        Scope(dns=True, spares_cgroups=True, forwarded=True, excluded_interfaces=("lan0",)),
        EVERY_SCOPE,
        Scope(excluded=tuple(map(ip_network, ("::/0", "0.0.0.0/8")))),
    ]

    def check() -> None:
        with Netlink() as net:
            for number in (0, 1, 2, 1, 0, 3, 2, 4, 3, 0, 5, 4, 6, 5, 0, 6, 0):
                policy = PolicyRules("tun0", BOTH, TABLE, uid=61_000, scope=scopes[number])
                policy.apply(net)
                for family, address in ((socket.AF_INET, TUN_IPV4), (socket.AF_INET6, TUN_IPV6)):
                    there = net.rules(family, PRIORITIES)
                    assert sorted(map(repr, there)) == sorted(map(repr, policy.rules(address)))
            policy.apply(net)
            assert net.delete_rules(PRIORITIES) > 0
            assert net.delete_rules(PRIORITIES) == 0

    isolated(check)


def uids(scope: Scope) -> list[tuple[int, int]]:
    rules = PolicyRules("tun0", BOTH, TABLE, uid=61_000, scope=scope).rules(TUN_IPV4)
    return [(rule.uid, rule.last_uid) for rule in rules if rule.goto and rule.uid >= 0 and rule.uid != 61_000]


def test_users_left_alone_are_ranges() -> None:
    assert uids(Scope()) == []
    assert uids(Scope(excluded_users=((5, 5), (7, 9)))) == [(5, -1), (7, 9)]
    assert uids(EVERY_SCOPE) == [(0, 999), (1001, -1), (2000, 0xFFFF_FFFE)]


@pytest.mark.parametrize("address", BOTH, ids=["ipv4", "ipv6"])
def test_port_53_passes_the_lane_and_connected_networks_but_for_spared_resolvers(address: Interface) -> None:
    rules = PolicyRules("tun0", BOTH, TABLE, uid=61_000, scope=EVERY_SCOPE).rules(address)
    connected = [rule for rule in rules if rule.table == MAIN_TABLE]
    assert [(rule.port, rule.not_port, rule.target is None) for rule in connected] == [
        (0, 53, True),
        (53, 0, False),
    ]
    captured = [(rule.iif, rule.port, rule.table) for rule in rules if rule.table in (TABLE, LANE_TABLE)]
    assert captured == [
        ("lo", 0, TABLE),
        *((iif, 53, TABLE) for iif in ("lo", "docker0", "lan0")),
        *((iif, 0, LANE_TABLE) for iif in ("lo", "docker0", "lan0")),
    ]


@pytest.mark.parametrize(
    ("scope", "iifs", "is_kept_out"),
    [
        (Scope(), ["lo"], True),
        (Scope(forwarded=True), [""], False),
        (Scope(forwarded=True, interfaces=("lan0",)), ["lo", "lan0"], False),
    ],
)
def test_forwarded_traffic_is_captured_only_where_it_is_asked_for(
    scope: Scope, iifs: list[str], is_kept_out: bool
) -> None:
    for address in BOTH:
        rules = PolicyRules("tun0", BOTH, TABLE, uid=61_000, scope=scope).rules(address)
        assert [rule.iif for rule in rules if rule.table == TABLE and rule.source is None] == iifs
        assert any(rule.not_iif == "lo" and rule.goto == LAST for rule in rules) == is_kept_out


@needs_namespaces
def test_claim_is_one_processes_and_ends_with_it() -> None:
    def check() -> None:
        claim = TableClaim()
        assert claim.take(TABLE)
        assert not TableClaim().take(TABLE)
        assert TableClaim().take(TABLE + 1)
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            let_go({writing})
            os.write(writing, b"!")
            signal.pause()
        os.read(reading, 1)
        claim.give_up()
        try:
            assert TableClaim().take(TABLE)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    isolated(check)


@needs_namespaces
def test_claim_is_not_kept_from_us_by_somebody_without_rights() -> None:
    def check() -> None:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.setresuid(61_000, 61_000, 61_000)
            squatter = TableClaim()
            os.write(writing, b"!" if squatter.take(TABLE) else b"?")
            signal.pause()
        try:
            assert os.read(reading, 1) == b"!"
            claim = TableClaim()
            assert not TableClaim.is_taken(TABLE)
            assert (claim.take(TABLE), claim.squatter) == (True, 61_000)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        claim = TableClaim()
        assert (claim.take(TABLE), claim.squatter) == (True, -1)
        assert TableClaim.is_taken(TABLE)
        assert (TableClaim.is_taken(TABLE + 1), TableClaim.is_taken(TABLE // 10)) == (False, False)

    isolated(check)


def test_range_is_far_from_the_hosts_own_rules() -> None:
    assert 0 < FIRST < LAST < 32_766


@needs_namespaces
@pytest.mark.needs("ip")
def test_rules_undone_by_somebody_are_mended() -> None:
    def check() -> None:
        with Netlink() as net:
            POLICY.apply(net)
            shown = subprocess.run(["ip", "rule"], capture_output=True, text=True).stdout
            assert not POLICY.mend(net)
            subprocess.run(["ip", "rule", "del", "pref", str(LAST)], check=True)
            assert POLICY.mend(net)
            assert not POLICY.mend(net)
            assert subprocess.run(["ip", "rule"], capture_output=True, text=True).stdout == shown

    isolated(check)
