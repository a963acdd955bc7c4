"""The sockets that carry flows out: what is set on each before anybody uses it."""

import contextlib
import gc
import os
import socket

import pytest

from tunproxy.upstream.sockets import KernelSockets

IP_RECVERR, IPV6_RECVERR = 11, 25  # linux/in.h, linux/in6.h

is_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_NET_ADMIN for SO_MARK")


def open_sockets() -> set[str]:
    """Return what names each socket that this process has."""
    found = set()
    for descriptor in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{descriptor}"))
    return {name for name in found if name.startswith("socket:")}


def options(sock: socket.socket, *asked: tuple[int, int]) -> list[int]:
    """Return the values of these options, and close the socket."""
    try:
        return [sock.getsockopt(level, name) for level, name in asked]
    finally:
        sock.close()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_tcp_socket_is_non_blocking_and_closed_on_exec(family: int) -> None:
    sock = KernelSockets(0, "").tcp(family)
    assert not os.get_blocking(sock.fileno())
    assert not os.get_inheritable(sock.fileno())
    assert options(sock, (socket.SOL_SOCKET, socket.SO_MARK), (socket.SOL_SOCKET, socket.SO_TYPE)) == [
        0,
        socket.SOCK_STREAM,
    ]


@is_root
def test_mark_is_on_every_kind_of_socket() -> None:
    maker = KernelSockets(0x77, "")
    for sock in (maker.tcp(socket.AF_INET), maker.tcp(socket.AF_INET6), maker.udp(socket.AF_INET)):
        assert options(sock, (socket.SOL_SOCKET, socket.SO_MARK)) == [0x77]


@is_root
def test_interface_is_on_every_kind_of_socket() -> None:
    maker = KernelSockets(0, "lo")
    for sock in (maker.tcp(socket.AF_INET), maker.udp(socket.AF_INET6)):
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16).rstrip(b"\0") == b"lo"
        sock.close()


def test_unknown_interface_raises_os_error_and_leaks_nothing() -> None:
    gc.collect()  # what earlier tests have left is closed now, not meanwhile
    before = open_sockets()
    with pytest.raises(OSError, match=r".+"):
        KernelSockets(0, "no-such-if").tcp(socket.AF_INET)
    assert open_sockets() <= before


def test_udp_sockets_report_errors_and_have_room() -> None:
    maker = KernelSockets(0, "")
    assert options(maker.udp(socket.AF_INET), (socket.IPPROTO_IP, IP_RECVERR)) == [1]
    assert options(maker.udp(socket.AF_INET6), (socket.IPPROTO_IPV6, IPV6_RECVERR)) == [1]
    (room,) = options(maker.udp(socket.AF_INET), (socket.SOL_SOCKET, socket.SO_RCVBUF))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as default:
        assert room >= default.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def test_ping_socket_is_a_datagram_socket_or_forbidden() -> None:
    try:
        sock = KernelSockets(0, "").ping(socket.AF_INET)
    except PermissionError:
        pytest.skip("net.ipv4.ping_group_range excludes our group")
    assert options(sock, (socket.SOL_SOCKET, socket.SO_PROTOCOL)) == [socket.IPPROTO_ICMP]
