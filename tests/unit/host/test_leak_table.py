"""What counts as a leak, in the real nftables, in a network namespace of the test's own."""

import os
import socket
import subprocess
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.host.cgroups import EXCLUDED, INCLUDED
from tunproxy.host.leak_table import Leak, LeakTable, content
from tunproxy.host.nft import NftTable
from tunproxy.host.scope import Scope

USER, WORKER = 47_116, 60_777
LINKS = """
ip link set lo up
ip link add eth0 type veth peer name eth1
ip link add tun0 type veth peer name tun1
ip address add 192.0.2.1/24 dev eth0
ip address add 2001:db8::1/64 dev eth0 nodad
ip address add 10.1.0.1/24 dev tun0
for link in eth0 eth1 tun0 tun1; do ip link set $link up; done
ip neighbour add 192.0.2.53 lladdr 02:00:00:00:00:01 dev eth0
ip neighbour add 192.0.2.54 lladdr 02:00:00:00:00:01 dev eth0
ip neighbour add 2001:db8::53 lladdr 02:00:00:00:00:01 dev eth0
ip neighbour add 10.1.0.2 lladdr 02:00:00:00:00:01 dev tun0
"""

pytestmark = [needs_namespaces, pytest.mark.needs("ip", "nft")]


def ask(address: str, port: int = 53, *, uid: int = USER, kind: int = socket.SOCK_DGRAM) -> None:
    """Send a datagram, or a SYN, as a program of uid's."""
    pid = os.fork()
    if pid == 0:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        os.setresuid(uid, uid, uid)
        with socket.socket(family, kind) as sock:
            sock.setblocking(False)
            sock.connect_ex((address, port))
            if kind == socket.SOCK_DGRAM:
                sock.send(b"?")
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


def ask_marked(address: str, mark: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        sock.sendto(b"?", (address, 53))


def test_who_asks_past_us_is_counted_and_nobody_else() -> None:
    def check() -> None:
        subprocess.run(["sh", "-ec", LINKS], check=True, timeout=10)
        table = LeakTable("tun0", uid=WORKER, spared=["192.0.2.54", "2001:db8::54"])
        assert table.read() == []
        ask("10.1.0.2")
        ask("127.0.0.1")
        ask("192.0.2.54")
        ask("192.0.2.53", uid=WORKER)
        ask("192.0.2.53", 443)
        ask("192.0.2.53", 80, kind=socket.SOCK_STREAM)
        assert table.read() == []
        for _ in range(3):
            ask("192.0.2.53")
        ask("2001:db8::53")
        ask("192.0.2.53", 853, uid=0)
        ask("192.0.2.53", 853, kind=socket.SOCK_STREAM)
        found = table.read()
        assert found[0] == Leak("eth0", USER, "udp", 53, 4)
        assert set(found[1:]) == {Leak("eth0", 0, "udp", 853, 1), Leak("eth0", USER, "tcp", 853, 1)}
        table.restart()
        assert table.read() == []
        table.close()
        shown = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, timeout=10)
        assert shown.stdout == ""

    isolated(check)


def test_worker_that_marks_is_known_by_its_mark() -> None:
    def check() -> None:
        subprocess.run(["sh", "-ec", LINKS], check=True, timeout=10)
        table = LeakTable("tun0", uid=0, mark=0x77)
        ask_marked("192.0.2.53", 0x77)
        assert table.read() == []
        ask_marked("192.0.2.53", 0x78)
        assert table.read() == [Leak("eth0", 0, "udp", 53, 1)]
        table.close()

    isolated(check)


def test_connection_that_ends_asks_nothing() -> None:
    """One that was there before us, and is used, does."""

    def check() -> None:
        subprocess.run(["sh", "-ec", LINKS], check=True, timeout=10)
        script = (
            "ip netns add far && ip link set eth1 netns far && ip -n far address add 192.0.2.60/24 dev eth1"
            " && ip -n far link set eth1 up"
        )
        subprocess.run(["sh", "-ec", f"mount -t tmpfs none /run; {script}"], check=True, timeout=10)
        listener = _listen_in("far", "192.0.2.60", 853)
        with listener, socket.create_connection(("192.0.2.60", 853), timeout=5) as client:
            server, _ = listener.accept()
            with server:
                table = LeakTable("tun0", uid=WORKER)
                server.sendall(b"!")
                assert client.recv(1) == b"!"
                assert table.read() == []
                client.sendall(b"?")
                assert server.recv(1) == b"?"
                [leak] = table.read()
                assert (leak.protocol, leak.packets) == ("tcp", 1)
                client.close()
                assert server.recv(1) == b""
                assert table.read() == [leak]
        table.close()

    isolated(check)


def _listen_in(namespace: str, address: str, port: int) -> socket.socket:
    from tunproxy.host import libc

    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    libc.setns(there, libc.CLONE_NEWNET)
    try:
        listener = socket.create_server((address, port))
        listener.settimeout(5)
        return listener
    finally:
        libc.setns(home, libc.CLONE_NEWNET)


SCOPE = Scope(
    users=((1000, 2000), (USER, USER)),
    excluded_users=((1500, 1500),),
    excluded=(IPv4Network("198.51.100.0/24"), IPv6Network("2001:db8:1::/48")),
    marks=((0x10, 0xFF),),
    dns_except=(IPv4Address("192.0.2.54"),),
    spares_cgroups=True,
    only_cgroups=True,
)


def test_table_is_what_nft_understands_whatever_is_left_alone() -> None:
    def check() -> None:
        table = NftTable("tunproxy_test")
        for scope in (SCOPE, Scope(), None):
            table.apply(content("tun0", mark=7, spared=["192.0.2.1", "2001:db8::1"], scope=scope))
        table.close()

    isolated(check)


def test_what_is_not_to_be_captured_does_not_count() -> None:
    def check() -> None:
        subprocess.run(["sh", "-ec", LINKS], check=True, timeout=10)
        table = LeakTable("tun0", uid=WORKER, scope=replace(SCOPE, spares_cgroups=False, only_cgroups=False))
        ask("192.0.2.53", uid=0)
        ask("192.0.2.53", uid=1500)
        ask("192.0.2.54")
        assert table.read() == []
        ask("192.0.2.53", uid=1501)
        assert [leak.uid for leak in table.read()] == [1501]
        table.close()
        for scope, mark, expected in (
            (Scope(marks=((0x10, 0xFF),)), 0x1210, 0),
            (Scope(marks=((0x10, 0xFF),)), 0x1211, 1),
            (Scope(spares_cgroups=True), EXCLUDED, 0),
            (Scope(spares_cgroups=True), 1, 1),
            (Scope(only_cgroups=True), INCLUDED, 1),
            (Scope(only_cgroups=True), 1, 0),
        ):
            table = LeakTable("tun0", uid=WORKER, scope=scope)
            ask_marked("192.0.2.53", mark)
            assert len(table.read()) == expected, (scope, mark)
            table.close()

    isolated(check)
