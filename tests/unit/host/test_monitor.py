"""The kernel tells of every kind of change, in a network namespace of the test's own."""

import select
import subprocess

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.host.monitor import NetworkMonitor

pytestmark = [needs_namespaces, pytest.mark.needs("ip")]

CHANGES = [
    "link set lo up",
    "address add 192.0.2.1/24 dev lo",
    "route add 198.51.100.0/24 dev lo",
    "rule add pref 77 lookup 77",
    "-6 address add 2001:db8::1/64 dev lo nodad",
    "-6 route add 2001:db8:1::/64 dev lo",
    "-6 rule add pref 77 lookup 77",
    "-6 rule del pref 77",
]


def test_monitor_hears_of_links_addresses_routes_and_rules() -> None:
    def check() -> None:
        monitor = NetworkMonitor()
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        for change in CHANGES:
            while monitor.take():  # the kernel goes on to tell of the change before, as when IPv6 is ready
                pass
            subprocess.run(["ip", *change.split()], check=True)
            if change != CHANGES[0]:  # was made before
                assert select.select([monitor], [], [], 10)[0], change
                assert monitor.take(), change
        monitor.close()

    isolated(check)


def test_monitor_that_was_not_heard_out_says_so() -> None:
    """Messages beyond the socket's room are lost; that something has changed is not."""

    def check() -> None:
        monitor = NetworkMonitor()
        commands = "".join(f"rule add pref {number} lookup 77\n" for number in range(1000, 3000))
        subprocess.run(["ip", "-batch", "-"], input=commands, text=True, check=True)
        assert monitor.take()
        while monitor.take():
            pass
        subprocess.run(["ip", "rule", "del", "pref", "1000"], check=True)
        assert monitor.take()
        monitor.close()

    isolated(check)
