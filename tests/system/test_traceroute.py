"""The path that traceroute shows is the real one: each router by its own address, the target at the end.

host -- server (10.99.0.1, fd99::1) -- middle (10.94.0.2, fd94::2) -- far (10.93.0.2, fd93::2)
"""

import contextlib
import re
from collections.abc import Iterator

import pytest

from tests.system.lab import Family, Lab
from tests.system.namespace import Namespace

pytestmark = [pytest.mark.timeout(60), pytest.mark.leaks_checked_per_module]

PATIENCE = "20,0,0"  # seconds, not a few times what other probes took, which is milliseconds here
PATH = {
    "ipv4": ["10.99.0.1", "10.94.0.2", "10.93.0.2"],
    "ipv6": ["fd99::1", "fd94::2", "fd93::2"],
}


@pytest.fixture(scope="module")
def far(module_lab: Lab) -> Iterator[None]:
    """Put two more machines behind the server; routers answer each packet that ends there."""
    with contextlib.ExitStack() as stack:
        server = module_lab.server
        middle, end = Namespace("middle"), Namespace("far")
        stack.callback(end.delete)
        stack.callback(middle.delete)
        link(server, "tomiddle", "94", middle, "toserver")
        link(middle, "tofar", "93", end, "tomiddle")
        for router in (server, middle):
            router.sysctl("net/ipv4/ip_forward", "1")
            router.sysctl("net/ipv6/conf/all/forwarding", "1")
        for family, net, through_server, through_middle in (
            ("-4", "10.93.0.0/24", "10.94.0.2", "10.94.0.1"),
            ("-6", "fd93::/64", "fd94::2", "fd94::1"),
        ):
            server.ip(family, "route", "add", net, "via", through_server)
            middle.ip(family, "route", "add", "default", "via", through_middle)
            end.ip(family, "route", "add", "default", "via", "10.93.0.1" if family == "-4" else "fd93::1")
        yield
        for family, net in (("-4", "10.93.0.0/24"), ("-6", "fd93::/64")):
            server.ip(family, "route", "delete", net)
        server.ip("link", "delete", "tomiddle")


def link(one: Namespace, device: str, net: str, other: Namespace, peer: str) -> None:
    one.ip("link", "add", device, "type", "veth", "peer", "name", peer, "netns", other.name)
    for last, (namespace, name) in enumerate(((one, device), (other, peer)), 1):
        namespace.ip("address", "add", f"10.{net}.0.{last}/24", "dev", name)
        namespace.ip("address", "add", f"fd{net}::{last}/64", "dev", name, "nodad")
        namespace.ip("link", "set", name, "up")


@pytest.mark.needs("traceroute")
@pytest.mark.parametrize("how", [(), ("-I",)], ids=["udp", "icmp"])
def test_traceroute_shows_the_real_path(lab: Lab, far: None, family: Family, how: tuple[str, ...]) -> None:
    version = "-6" if family.name == "ipv6" else "-4"
    target = PATH[family.name][-1]
    done = lab.client.run("traceroute", version, "-n", "-q", "2", "-w", PATIENCE, "-m", "6", *how, target)
    assert done.returncode == 0, done.stderr
    assert hops(done.stdout) == PATH[family.name], done.stdout


@pytest.mark.needs("ping")
@pytest.mark.parametrize("hop", [1, 2])
def test_ping_that_ends_on_the_way_is_told_where(lab: Lab, far: None, family: Family, hop: int) -> None:
    path = PATH[family.name]
    done = lab.client.run("ping", "-n", "-c", "1", "-W", "20", "-t", str(hop), path[-1])
    assert done.returncode == 1, done.stdout
    assert re.search(rf"From {path[hop - 1]}:? icmp_seq=1 Time (to live )?exceeded", done.stdout), done.stdout


@pytest.mark.needs("ping")
def test_reply_carries_the_hop_limit_that_it_arrived_with(lab: Lab, far: None, family: Family) -> None:
    """Two routers between the far end, which sends 64, and us."""
    done = lab.client.run("ping", "-n", "-c", "1", "-W", "20", PATH[family.name][-1])
    assert re.search(r"ttl=62\b", done.stdout), done.stdout


@pytest.mark.needs("ping")
def test_ping_larger_than_a_link_on_the_way_is_told_its_mtu(lab: Lab, far: None, family: Family) -> None:
    server = lab.server
    server.ip("link", "set", "dev", "tomiddle", "mtu", "1280")
    try:
        done = lab.client.run(
            "ping", "-n", "-c", "2", "-i", "0.2", "-W", "20", "-M", "do", "-s", "1400", PATH[family.name][-1]
        )
        assert done.returncode == 1, done.stdout
        assert re.search(r"mtu ?= ?1280|mtu: ?1280", done.stdout + done.stderr, re.IGNORECASE), done.stdout
    finally:
        server.ip("link", "set", "dev", "tomiddle", "mtu", "1500")


def hops(listing: str) -> list[str]:
    """Return the address of each hop; one that differs between probes, or is silent, makes the list odd."""
    found = []
    for line in listing.splitlines()[1:]:
        addresses = re.findall(r"\d+\.\d+\.\d+\.\d+|[0-9a-f]*::[0-9a-f]+", line)
        found.append("+".join(addresses) + ("*" if "*" in line else ""))
    return found
