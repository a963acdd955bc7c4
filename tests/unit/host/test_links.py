"""Link changes with the real kernel."""

import fcntl
import socket
import struct

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.device.tun import open_tun
from tunproxy.errors import SystemChangeError
from tunproxy.host import sysctl
from tunproxy.host.addresses import TUN_IPV4, TUN_IPV6
from tunproxy.host.links import (
    QUEUE_LENGTH,
    Address,
    LinkUp,
    allow_ipv6,
    has_ipv6,
    has_link,
    others_have_ipv6,
    tun_addresses,
)
from tunproxy.host.netlink import Netlink
from tunproxy.loop.device_reader import DeviceReader

pytestmark = needs_namespaces

SIOCGIFTXQLEN = 0x8942  # linux/sockios.h


def test_link_up_sends_nothing_of_its_own_accord() -> None:
    def check() -> None:
        device = open_tun("tun0")
        with Netlink() as net:
            LinkUp("tun0", 1500).apply(net)
            Address("tun0", TUN_IPV4).apply(net)
            Address("tun0", TUN_IPV6).apply(net)
        multicast_reports = [
            frame
            for frame in iter(DeviceReader(device.fd).read, None)
            if frame[10] >> 4 == 6 and frame[16] != 0
        ]
        assert multicast_reports == []

    isolated(check)


def test_link_up_lets_many_packets_wait() -> None:
    def check() -> None:
        open_tun("tun0")
        with Netlink() as net:
            LinkUp("tun0", 1500).apply(net)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            request = struct.pack("16si", b"tun0", 0)
            answer = fcntl.ioctl(sock, SIOCGIFTXQLEN, request.ljust(40, b"\0"))
        assert struct.unpack_from("i", answer, 16)[0] == QUEUE_LENGTH

    isolated(check)


def test_changes_are_reverted_with_and_without_the_link() -> None:
    def check() -> None:
        device = open_tun("tun0")
        changes = [LinkUp("tun0", 1400), Address("tun0", TUN_IPV4), Address("tun0", TUN_IPV6)]
        with Netlink() as net:
            for change in [*changes, *changes]:
                change.apply(net)
            for change in reversed(changes):
                change.revert(net)
            device.close()
            assert not has_link("tun0")
            for change in reversed(changes):
                change.revert(net)

    isolated(check)


def test_tun_addresses_leave_ipv6_out_where_it_is_disabled() -> None:
    def check() -> None:
        open_tun("one")
        assert has_ipv6("one")
        assert tun_addresses("one") == (TUN_IPV4, TUN_IPV6)
        assert sysctl.write("net/ipv6/conf/default/disable_ipv6", "1")
        open_tun("two")
        assert tun_addresses("two") == (TUN_IPV4,)

    isolated(check)


def test_ipv6_is_allowed_on_our_link_where_others_have_it() -> None:
    def check() -> None:
        assert sysctl.write("net/ipv6/conf/default/disable_ipv6", "1")
        first, second = open_tun("one"), open_tun("two")
        with Netlink() as net:
            net.set_link("lo", up=True)
            allow_ipv6("one")
            assert (others_have_ipv6("one"), has_ipv6("one")) == (False, False)
            assert sysctl.write("net/ipv6/conf/two/disable_ipv6", "0")
            net.set_link("two", up=True)
            net.add_address("two", TUN_IPV6)
            allow_ipv6("one")
            assert (others_have_ipv6("one"), has_ipv6("one")) == (True, True)
            assert not others_have_ipv6("two")
        first.close()
        second.close()

    isolated(check)


def test_links_undone_by_somebody_are_mended_and_else_left_alone() -> None:
    def check() -> None:
        device = open_tun("tun0")
        changes = [LinkUp("tun0", 1400), Address("tun0", TUN_IPV4), Address("tun0", TUN_IPV6)]
        with Netlink() as net:
            for change in changes:
                change.apply(net)
            assert not any(change.mend(net) for change in changes)
            net.set_link("tun0", up=False)  # IPv6 addresses go with it
            assert [change.mend(net) for change in changes] == [True, False, True]
            net.delete_address("tun0", TUN_IPV4)
            assert [change.mend(net) for change in changes] == [False, True, False]
            assert not any(change.mend(net) for change in changes)
            device.close()

    isolated(check)


def test_address_where_ipv6_was_disabled_meanwhile_is_no_matter_of_rights() -> None:
    def check() -> None:
        open_tun("tun0")
        address = Address("tun0", TUN_IPV6)
        with Netlink() as net:
            LinkUp("tun0", 1500).apply(net)
            address.apply(net)
            assert sysctl.write("net/ipv6/conf/all/disable_ipv6", "1")
            with pytest.raises(SystemChangeError, match="IPv6 is disabled there"):
                address.mend(net)

    isolated(check)
