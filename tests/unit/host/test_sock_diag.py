"""Whose socket it is, asked of the real kernel."""

import contextlib
import errno
import os
import socket
import subprocess
from collections.abc import Iterator

import pytest

from tests.isolation import isolated, needs_namespaces
from tunproxy.host import libc
from tunproxy.host.sock_diag import (
    SocketDiagnosis,
    SocketOwner,
    open_diagnosis,
    unix_socket_user,
)

Ends = tuple[bytes, int, bytes, int]


@contextlib.contextmanager
def diagnosis() -> Iterator[SocketDiagnosis]:
    with contextlib.closing(SocketDiagnosis(open_diagnosis())) as asked:
        yield asked


def ends_of(sock: socket.socket) -> Ends:
    """Return both ends of a connected socket."""
    (source, source_port), (target, port) = sock.getsockname()[:2], sock.getpeername()[:2]
    return socket.inet_pton(sock.family, source), source_port, socket.inet_pton(sock.family, target), port


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


def bring_up_loopback() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


@needs_namespaces
def test_connected_sockets_of_both_protocols_and_families() -> None:
    def check() -> None:
        bring_up_loopback()
        with diagnosis() as asked:
            for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                with (
                    socket.create_server((address, 0), family=family) as server,
                    socket.create_connection(server.getsockname()[:2]) as client,
                ):
                    expected = SocketOwner(os.geteuid(), inode(client))
                    assert asked.owner("tcp", *ends_of(client)) == expected
                with socket.socket(family, socket.SOCK_DGRAM) as datagrams:
                    datagrams.connect((address, 9))
                    expected = SocketOwner(os.geteuid(), inode(datagrams))
                    assert asked.owner("udp", *ends_of(datagrams)) == expected

    isolated(check)


@needs_namespaces
def test_sockets_that_are_bound_and_not_connected() -> None:
    def check() -> None:
        bring_up_loopback()
        with diagnosis() as asked, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as datagrams:
            datagrams.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            datagrams.bind(("::", 0))
            port = datagrams.getsockname()[1]
            loopback, target = socket.inet_aton("127.0.0.1"), socket.inet_aton("192.0.2.1")
            assert asked.owner("udp", loopback, port, target, 53) == SocketOwner(
                os.geteuid(), inode(datagrams)
            )

    isolated(check)


@needs_namespaces
def test_socket_that_has_only_sent_its_syn() -> None:
    def check() -> None:
        bring_up_loopback()
        subprocess.run(["ip", "tuntap", "add", "d0", "mode", "tun"], check=True)
        subprocess.run(["ip", "addr", "add", "10.9.0.1/24", "dev", "d0"], check=True)
        subprocess.run(["ip", "link", "set", "d0", "up"], check=True)
        with diagnosis() as asked, socket.socket() as client:
            client.setblocking(False)
            assert client.connect_ex(("10.9.0.77", 80)) == errno.EINPROGRESS
            port = client.getsockname()[1]
            ends = (socket.inet_aton("10.9.0.1"), port, socket.inet_aton("10.9.0.77"), 80)
            assert asked.owner("tcp", *ends) == SocketOwner(os.geteuid(), inode(client))

    isolated(check)


@needs_namespaces
def test_socket_that_is_not_there_has_no_owner() -> None:
    def check() -> None:
        bring_up_loopback()
        address = socket.inet_aton("127.0.0.1")
        with diagnosis() as asked, socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            assert asked.owner("tcp", address, port + 1, address, 1) is None
            assert asked.owner("tcp", address, port, address, 1) is None  # it listens, and sends nothing
            assert asked.owner("udp", address, port, address, 1) is None

    isolated(check)


@needs_namespaces
def test_question_is_about_the_namespace_that_the_socket_was_made_in() -> None:
    def check() -> None:
        bring_up_loopback()
        server = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(server.getsockname())
        ends, expected = ends_of(client), SocketOwner(os.geteuid(), inode(client))
        here = open_diagnosis()
        inside = os.open("/proc/self/ns/net", os.O_RDONLY)
        libc.unshare(libc.CLONE_NEWNET)
        assert SocketDiagnosis(here).owner("tcp", *ends) == expected
        assert SocketDiagnosis(open_diagnosis()).owner("tcp", *ends) is None
        assert os.readlink("/proc/thread-self/ns/net") != os.readlink(f"/proc/self/fd/{inside}")

    isolated(check)


def test_kernel_that_refuses_is_an_error() -> None:
    with diagnosis() as asked:
        with pytest.raises(OSError, match=r".+"):
            asked._ask(99, 250, bytes(4), 1, bytes(4), 1)
        assert asked.owner("tcp", bytes(4), 1, bytes(4), 1) is None  # the answer to this, and not to that


@needs_namespaces
def test_unix_socket_is_whoever_made_it() -> None:
    def check() -> None:
        with socket.socket(socket.AF_UNIX) as ours:
            os.seteuid(61_000)
            with socket.socket(socket.AF_UNIX) as theirs:
                os.seteuid(0)
                found = [unix_socket_user(os.fstat(each.fileno()).st_ino) for each in (ours, theirs)]
                assert found == [0, 61_000]
                gone = os.fstat(theirs.fileno()).st_ino
        assert unix_socket_user(gone) == -1

    isolated(check)
