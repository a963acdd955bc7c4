"""The policy rules: their shape, and the claim. What they do is tested in ``tests/system/test_up.py``."""

import os
import signal
import subprocess

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.host.addresses import TUN_IPV4, TUN_IPV6, Interface
from tunproxy.host.netlink import MAIN_TABLE, Netlink
from tunproxy.host.routes import TABLE
from tunproxy.host.rules import FIRST, LAST, PRIORITIES, PolicyRules, TableClaim

BOTH = (TUN_IPV4, TUN_IPV6)
POLICY = PolicyRules("tun0", BOTH, TABLE, uid=61_000)


@pytest.mark.parametrize("address", BOTH, ids=["ipv4", "ipv6"])
def test_rules_stay_in_their_range_and_in_order(address: Interface) -> None:
    priorities = [rule.priority for rule in POLICY.rules(address)]
    assert priorities == sorted(priorities)
    assert set(priorities) <= set(PRIORITIES)


@pytest.mark.parametrize("address", BOTH, ids=["ipv4", "ipv6"])
def test_rules_look_into_our_table_last_and_only_go_to_the_end(address: Interface) -> None:
    rules = POLICY.rules(address)
    assert {rule.goto for rule in rules} == {0, LAST}
    assert {rule.table for rule in rules} == {0, MAIN_TABLE, TABLE}
    first_ours = min(rule.priority for rule in rules if rule.table == TABLE)
    assert all(rule.priority < first_ours for rule in rules if rule.table == MAIN_TABLE or rule.uid >= 0)
    assert rules[-1] == type(rules[-1])(LAST)


def test_rules_know_the_worker_by_uid_or_by_mark() -> None:
    marked = PolicyRules("tun0", BOTH, TABLE, uid=61_000, mark=7)
    for address in BOTH:
        assert [rule.uid for rule in POLICY.rules(address) if rule.uid >= 0] == [61_000]
        assert [rule.mark for rule in marked.rules(address) if rule.mark] == [7]
        assert not [rule for rule in marked.rules(address) if rule.uid >= 0]


@needs_namespaces
@pytest.mark.needs("ip")
def test_rules_applied_again_replace_those_of_another_run_and_revert_leaves_none() -> None:
    def shown() -> list[str]:
        return [
            subprocess.run(["ip", f, "rule"], capture_output=True, text=True).stdout for f in ("-4", "-6")
        ]

    def check() -> None:
        before = shown()
        with Netlink() as net:
            POLICY.apply(net)
            first = shown()
            PolicyRules("tun9", (TUN_IPV4,), TABLE, uid=5).apply(net)
            POLICY.apply(net)
            assert shown() == first != before
            POLICY.revert(net)
            POLICY.revert(net)
        assert shown() == before

    isolated(check)


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
            claim.forget()
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


def test_range_is_far_from_the_hosts_own_rules() -> None:
    assert 0 < FIRST < LAST < 32_766
