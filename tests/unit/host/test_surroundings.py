"""What the kernel tells of the network around, in a network namespace of the test's own."""

import subprocess
from ipaddress import ip_network

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.host.netlink import Netlink, Way
from tunproxy.host.surroundings import Sender, look_around

pytestmark = [needs_namespaces, pytest.mark.needs("ip")]


def ip(line: str) -> None:
    subprocess.run(["ip", *line.split()], check=True, timeout=10)


def test_surroundings_are_the_senders_ways_and_our_addresses() -> None:
    def check() -> None:
        with Netlink() as net:
            alone = look_around(net, Sender(7))
            assert (alone.ipv4, alone.ipv6) == (None, None)
            for line in (
                "link set lo up", "link add e0 type veth peer name e1", "link set e0 up", "link set e1 up",
                "address add 192.0.2.1/24 dev e0", "route add default via 192.0.2.254",
                "-6 address add 2001:db8::1/64 dev e0 nodad", "-6 route add default via 2001:db8::fe",
                "rule add pref 5 uidrange 8-8 unreachable", "-6 rule add pref 5 fwmark 9 unreachable",
            ):  # fmt: skip
                ip(line)
            found = look_around(net, Sender(7))
            assert found.ipv4 == Way("e0", "192.0.2.254", "192.0.2.1")
            assert found.ipv6 == Way("e0", "2001:db8::fe", "2001:db8::1")
            expected = {ip_network(each) for each in ("192.0.2.1", "2001:db8::1", "127.0.0.0/8", "::1")}
            assert expected <= found.local
            assert look_around(net, Sender(7)) == found
            assert look_around(net, Sender(8)).ipv4 is None
            assert look_around(net, Sender(7, mark=9)).ipv6 is None
            ip("address del 192.0.2.1/24 dev e0")
            moved = look_around(net, Sender(7))
            assert ip_network("192.0.2.1") not in moved.local
            assert (moved.ipv4, moved.ipv6) == (None, found.ipv6)

    isolated(check)
