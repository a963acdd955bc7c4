"""Rules of others among ours, in a network namespace of the test's own."""

import subprocess

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.control.strangers import strangers_in_words
from tunproxy.host.netlink import Netlink
from tunproxy.host.rules import FIRST, LAST, Rule

pytestmark = [needs_namespaces, pytest.mark.needs("ip")]


def test_rules_of_others_among_ours_are_told_and_no_others() -> None:
    def told() -> str:
        with Netlink() as net:
            return "\n".join(strangers_in_words(net))

    def check() -> None:
        with Netlink() as net:
            for family in net.families:
                net.add_rule(family, Rule(LAST))  # ours
        for priority in (FIRST - 1, LAST + 1):
            subprocess.run(["ip", "rule", "add", "pref", str(priority), "lookup", "9"], check=True)
        assert told() == ""
        subprocess.run(["ip", "rule", "add", "pref", "7772", "unreachable"], check=True)
        assert told().startswith("a policy rule of somebody else stands among ours")
        assert "ip rule del pref 7772," in told()
        subprocess.run(["ip", "-6", "rule", "add", "pref", "7771", "lookup", "7777"], check=True)
        assert "rules of somebody else stand among ours" in told()
        assert "priority 7771, 7772 (" in told()

    isolated(check)
