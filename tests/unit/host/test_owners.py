"""Which process a flow is of: real processes with real sockets."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.host.test_sock_diag import Ends, bring_up_loopback, ends_of, inode
from tunproxy.host import libc
from tunproxy.host.addresses import TUN_IPV4
from tunproxy.host.owners import CLOSED, ELSEWHERE, GONE, MAX_RECENT, SocketOwners, holds
from tunproxy.host.sock_diag import SocketOwner, open_diagnosis

CONNECT = """
import socket, sys
sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
print(sock.getsockname()[1], flush=True)
sys.stdin.read()
"""
LOOPBACK = bytes([127, 0, 0, 1])


class Other:
    """Another process, connected to a server of ours."""

    def __init__(self, server: socket.socket) -> None:
        port = server.getsockname()[1]
        self.process = subprocess.Popen(
            [sys.executable, "-c", CONNECT, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.ends: Ends = (LOOPBACK, int(self.process.stdout.readline()), LOOPBACK, port)
        self.pid = self.process.pid

    def __enter__(self) -> "Other":
        return self

    def __exit__(self, *_: object) -> None:
        with self.process:
            assert self.process.stdin is not None
            self.process.stdin.close()


def forked_client(server: socket.socket, uid: int) -> Ends:
    """Have a child that is this user connect to server, and stay until we end; return both ends."""
    reading, writing = os.pipe()
    lives, ours = os.pipe()
    if os.fork() == 0:
        os.close(ours)
        os.setresuid(uid, uid, uid)
        client = socket.socket()  # create_connection would load a codec, which this user may not
        client.connect(server.getsockname())
        os.write(writing, str(client.getsockname()[1]).encode())
        os.read(lives, 1)  # no signal: of one user the kernel sends none to another's
        os._exit(0)
    os.close(writing)
    return LOOPBACK, int(os.read(reading, 16)), LOOPBACK, server.getsockname()[1]


@needs_namespaces
def test_process_is_searched_for_once_and_found_at_once_later() -> None:
    def check() -> None:
        bring_up_loopback()
        owners = SocketOwners()
        with socket.create_server(("127.0.0.1", 0)) as server, Other(server) as other:
            assert owners.look("tcp", *other.ends) is None
            found = asyncio.run(owners.search("tcp", *other.ends))
            assert (found.pid, found.uid, found.why) == (other.pid, os.geteuid(), "")
            assert found.path == os.path.realpath(sys.executable)
            assert owners.look("tcp", *other.ends) == found
            assert owners.find_now("tcp", *other.ends) == found
        owners.close()

    isolated(check)


@needs_namespaces
def test_sockets_of_another_namespace() -> None:
    def check() -> None:
        bring_up_loopback()
        inside = open_diagnosis()
        server = socket.create_server(("127.0.0.1", 0))
        with Other(server) as other:
            libc.unshare(libc.CLONE_NEWNET)
            assert SocketOwners(inside).find_now("tcp", *other.ends).pid == other.pid
            assert SocketOwners().find_now("tcp", *other.ends).why == ELSEWHERE

    isolated(check)


@needs_namespaces
def test_process_of_another_user_must_not_be_looked_at() -> None:
    def check() -> None:
        bring_up_loopback()

        with socket.create_server(("127.0.0.1", 0)) as server:
            ends = forked_client(server, 61_001)
            os.setresuid(61_000, 61_000, 61_000)
            owners = SocketOwners()
            for found in (owners.look("tcp", *ends), asyncio.run(owners.search("tcp", *ends))):
                assert found is not None
                assert (found.uid, found.pid, found.name) == (61_001, -1, None)
                assert found.why == "processes of user 61001 must not be looked at (needs CAP_SYS_PTRACE)"

    isolated(check)


@needs_namespaces
def test_socket_that_its_process_has_closed() -> None:
    def check() -> None:
        bring_up_loopback()
        with socket.create_server(("127.0.0.1", 0)) as server:
            client = socket.create_connection(server.getsockname())
            ends = ends_of(client)
            accepted, _ = server.accept()
            client.sendall(b"still to be read")
            client.close()
            found = SocketOwners().find_now("tcp", *ends)
            assert found.why == CLOSED
            accepted.close()

    isolated(check)


@needs_namespaces
def test_process_that_lived_too_shortly_is_told_from_another_host() -> None:
    """It sends a datagram and ends, as programs that ask for one name do."""

    def check() -> None:
        bring_up_loopback()
        subprocess.run(["ip", "address", "add", str(TUN_IPV4), "dev", "lo"], check=True)
        source = str(TUN_IPV4.ip)
        program = (
            "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
            f"s.bind(({source!r}, 0)); s.sendto(b'?', ('127.0.0.1', 53)); print(s.getsockname()[1])"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        ends = (TUN_IPV4.ip.packed, int(done.stdout), LOOPBACK, 53)
        owners = SocketOwners()
        assert owners.find_now("udp", *ends).why == GONE
        assert owners.find_now("tcp", *ends).why == GONE
        assert owners.find_now("udp", bytes([192, 0, 2, 1]), *ends[1:]).why == ELSEWHERE

    isolated(check)


def test_pings_and_unknown_flows_say_why() -> None:
    owners = SocketOwners()
    assert (
        owners.find_now("icmp", LOOPBACK, 0, LOOPBACK, 0).why
        == "the kernel does not tell whose pings these are"
    )
    found = owners.look("tcp", bytes([192, 0, 2, 1]), 1, bytes([192, 0, 2, 2]), 2)
    assert found is not None
    assert found.why == ELSEWHERE
    owners.close()


def test_kernel_that_does_not_tell_is_a_reason() -> None:
    owners = SocketOwners()
    owners._diagnosis.close()
    found = owners.look("tcp", LOOPBACK, 1, LOOPBACK, 2)
    assert found is not None
    assert found.why.startswith("the kernel does not tell: ")


def test_only_some_processes_of_a_user_are_remembered(tmp_path: Path) -> None:
    owners = SocketOwners(proc=tmp_path)
    for pid in range(1, 20):
        owners._found(7, pid)
    assert list(owners._recent[7]) == list(range(20 - MAX_RECENT, 20))
    for uid in range(200):
        owners._found(uid, 1)
    assert len(owners._recent) == 64
    owners.close()


def test_holder_of_a_socket_is_told_apart() -> None:
    proc = Path("/proc")
    with socket.socket() as ours:
        assert holds(proc, os.getpid(), inode(ours))
        assert not holds(proc, os.getpid(), inode(ours) + 1_000_000)
    assert not holds(proc, 1 << 30, 1)


def test_looking_gives_up_in_time(tmp_path: Path) -> None:
    folder = tmp_path / "5" / "fd"
    folder.mkdir(parents=True)
    for number in range(200):
        (folder / str(number)).symlink_to("socket:[7]" if number == 199 else "pipe:[1]")
    assert holds(tmp_path, 5, 7)
    assert not holds(tmp_path, 5, 8, until=time.perf_counter())


def test_users_own_processes_are_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pid in (3, 4, 5):
        (tmp_path / str(pid) / "fd").mkdir(parents=True)
    looked: list[int] = []
    monkeypatch.setattr("tunproxy.host.owners.holds", lambda proc, pid, inode, **_: looked.append(pid))
    monkeypatch.setattr("tunproxy.host.owners._user", lambda proc, pid: 1000 if pid == 4 else 0)
    owners = SocketOwners(proc=tmp_path)
    assert owners._holder(SocketOwner(1000, 9)) is None
    assert looked == [4, 5, 3]
    owners.close()


@needs_namespaces
def test_process_with_many_sockets_is_read_once_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def check() -> None:
        bring_up_loopback()
        read = 0
        real = os.readlink

        ours = f"/proc/{os.getpid()}/"

        def readlink(path: str) -> str:
            nonlocal read
            read += str(path).startswith(ours)  # others, with descriptors of their own, are looked at as well
            return real(path)

        owners = SocketOwners()
        with contextlib.ExitStack() as stack, socket.create_server(("127.0.0.1", 0), backlog=300) as server:
            clients = [
                stack.enter_context(socket.create_connection(server.getsockname())) for _ in range(200)
            ]
            monkeypatch.setattr(os, "readlink", readlink)
            monkeypatch.setattr(time, "perf_counter", lambda: 0.0)  # a machine that has time for each look
            for client in reversed(clients):  # each of them a little farther from the end than the one before
                assert owners.find_now("tcp", *ends_of(client)).pid == os.getpid()
            assert read < 2000  # a few for each; one after the other they would be 20,000
            for client in clients[:100]:
                client.close()
            with socket.create_connection(server.getsockname()) as late:
                assert owners.find_now("tcp", *ends_of(late)).pid == os.getpid()
        owners.close()

    isolated(check)


def test_socket_that_is_another_one_by_now_is_not_found_where_the_old_one_was(tmp_path: Path) -> None:
    folder = tmp_path / "42" / "fd"
    folder.mkdir(parents=True)
    (folder / "3").symlink_to("socket:[7]")
    (folder / "4").symlink_to("pipe:[7]")
    places: dict[int, tuple[int, str]] = {}
    assert not holds(tmp_path, 42, 8, places=places)
    assert places == {7: (42, "3")}
    assert holds(tmp_path, 42, 7, places=places)
