"""TUN devices as the kernel tells of them, in a network namespace of the test's own."""

import os
import socket
import struct
import time
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.device.tun import open_tun
from tunproxy.host.addresses import TUN_IPV4
from tunproxy.host.netlink import Netlink
from tunproxy.host.tun_links import read_tun_links, sent_by_kernel

HAS_IPV6 = Path("/proc/net/if_inet6").exists()

pytestmark = needs_namespaces


def test_none_where_there_is_none() -> None:
    def check() -> None:
        assert read_tun_links() == []

    isolated(check)


@pytest.mark.parametrize("is_up", [False, True])
def test_device_is_told_as_it_is(is_up: bool) -> None:
    def check() -> None:
        device = open_tun("links0")
        with Netlink() as net:
            net.set_link("links0", up=is_up, mtu=1400)
        [link] = read_tun_links()
        assert (link.name, link.mtu, link.is_up) == ("links0", 1400, is_up)
        assert (link.is_tap, link.has_vnet_header, link.stays) == (False, True, False)
        assert (link.read, link.written, link.lost) == (0, 0, 0)
        device.close()

    isolated(check)


def test_packets_that_the_kernel_sends_by_itself_are_told(tmp_path: Path) -> None:
    (tmp_path / "tun0").write_text(
        "ifIndex                         \t4\nIp6OutRequests                  \t9\n"
        "Icmp6OutMsgs                    \t9\nIcmp6OutEchos                   \t2\n"
        "Icmp6OutRouterSolicits          \t3\nIcmp6OutMLDv2Reports            \t4\n"
    )
    assert sent_by_kernel("tun0", tmp_path) == 7
    assert sent_by_kernel("tun1", tmp_path) == 0

    def check() -> None:
        device = open_tun("links0")
        with Netlink() as net:
            net.set_link("links0", up=True, mtu=1400)
        until = time.monotonic() + 20
        while not read_tun_links()[0].own and HAS_IPV6:  # it asks for routers within a second or so
            assert time.monotonic() < until
            time.sleep(0.05)
        device.close()

    isolated(check)


def test_packets_are_counted_once_the_program_has_read_them() -> None:
    def check() -> None:
        device = open_tun("links0")
        with Netlink() as net:
            net.set_link("links0", up=True, mtu=1400)
            net.add_address("links0", TUN_IPV4)
        target = str(TUN_IPV4.ip + 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", (target, 9))
        assert read_tun_links()[0].read == 0
        while b"x" not in (frame := os.read(device.fd, 65_550))[-1:] or frame[19] != 17:
            pass  # what the kernel sends of its own accord
        assert read_tun_links()[0].read >= 1
        os.write(
            device.fd,
            bytes(10) + struct.pack(">BBHIBBH4s4s", 0x45, 0, 20, 0, 64, 59, 0, b"\x0a" * 4, b"\x0a" * 4),
        )
        assert read_tun_links()[0].written == 1
        device.close()

    isolated(check)
