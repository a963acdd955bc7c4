"""The first process, run as a program: how it begins, what it does about a dead child, how it ends."""

import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunproxy.codecs.shadowsocks_address import emit_address
from tunproxy.codecs.shadowsocks_keys import client_keys
from tunproxy.codecs.shadowsocks_packet import PacketClient

WITHIN = 30.0


class Relay:
    """``tunproxy relay`` with these options, and what it says."""

    def __init__(self, log: Path, *options: str, descriptors: int = 0) -> None:
        self._log = log

        def limit() -> None:
            if descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tunproxy", "relay", *options],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=limit,
            )  # fmt: skip

    def says(self, words: str) -> str:
        """Wait until it says so; return all that it has said."""
        until = time.monotonic() + WITHIN
        while time.monotonic() < until:
            text = self._log.read_text()
            if re.search(words, text):
                return text
            time.sleep(0.02)
        raise AssertionError(f"it does not say {words!r} but {self._log.read_text()!r}")

    def ports(self) -> list[int]:
        line = self.says("listening at .*worker")
        return [int(each) for each in re.findall(r"127\.0\.0\.1:(\d+)", line)]

    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    made = Relay(tmp_path / "log", "--listen", "127.0.0.1:0", "--workers", "2", "--metrics", "127.0.0.1:0")
    yield made
    for _ in range(2):
        made.process.send_signal(signal.SIGTERM)
    made.process.wait(WITHIN)


def answers(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return sock.recv(1000).startswith(b"HTTP/1.")


def test_children_that_die_are_replaced_and_all_end_together(relay: Relay) -> None:
    port, metrics = relay.ports()
    assert answers(port)
    assert answers(metrics)
    before = relay.children()
    assert len(before) == 3
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    relay.says(r"(?s)(another one takes its place.*){3}")
    until = time.monotonic() + WITHIN
    while time.monotonic() < until:
        try:
            if answers(port) and answers(metrics):
                break
        except OSError:
            time.sleep(0.05)
    assert len(relay.children()) == 3
    relay.process.send_signal(signal.SIGTERM)
    assert relay.process.wait(WITHIN) == 0
    with pytest.raises(ConnectionRefusedError):
        answers(port)


def test_children_end_when_the_first_process_is_killed(relay: Relay) -> None:
    relay.ports()
    children = relay.children()
    relay.process.kill()
    relay.process.wait(WITHIN)
    until = time.monotonic() + WITHIN
    while time.monotonic() < until and any(is_running(pid) for pid in children):
        time.sleep(0.02)
    assert not any(is_running(pid) for pid in children)


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


SHADOWSOCKS = """
listen = []
workers = 2
drain = 0
[targets]
allow = ["127.0.0.0/8"]
[shadowsocks]
listen = ["127.0.0.1:0"]
method = "2022-blake3-aes-128-gcm"
password = "AAECAwQFBgcICQoLDA0ODw=="
"""
SESSIONS = 32


def test_worker_that_dies_takes_its_own_sessions_of_datagrams_and_they_go_on(tmp_path: Path) -> None:
    """They have another port then, for their targets. Nothing that was said is taken once more, by nobody."""
    (tmp_path / "relay.toml").write_text(SHADOWSOCKS)
    relay = Relay(tmp_path / "log", "--config", str(tmp_path / "relay.toml"))
    keys = client_keys("2022-blake3-aes-128-gcm", "AAECAwQFBgcICQoLDA0ODw==")
    clients = [PacketClient(keys) for _ in range(SESSIONS)]
    try:
        (port,) = relay.ports()
        with contextlib.ExitStack() as stack:
            target = stack.enter_context(datagram_socket())
            address = emit_address(socket.inet_aton("127.0.0.1"), target.getsockname()[1])
            socks = [stack.enter_context(datagram_socket()) for _ in clients]

            def say(words: bytes) -> list[tuple[bytes, int]]:
                """Have each client say words; return the datagrams, and by which ports they come."""
                said = []
                for client, sock in zip(clients, socks, strict=True):
                    sealed = client.seal(address, words)
                    sock.sendto(sealed, ("127.0.0.1", port))
                    heard, sender = target.recvfrom(100)
                    assert heard == words
                    said.append((sealed, sender[1]))
                return said

            before = say(b"one")
            os.kill(relay.children()[0], signal.SIGKILL)
            relay.says("another one takes its place")
            after = say(b"two")  # those of the dead one wait for the next one
            same = sum(one[1] == two[1] for one, two in zip(before, after, strict=True))
            assert 0 < same < SESSIONS  # the kernel gives them all to one worker once in 2 billion times
            for sealed, _ in before + after:
                with datagram_socket() as thief:
                    thief.sendto(sealed, ("127.0.0.1", port))
            assert {heard for _, heard in say(b"three")} == {heard for _, heard in after}
            target.settimeout(0.1)
            with pytest.raises(TimeoutError):
                target.recv(100)
    finally:
        relay.process.send_signal(signal.SIGTERM)
        relay.process.wait(WITHIN)
    assert "should not have happened" not in (tmp_path / "log").read_text()


def datagram_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.settimeout(WITHIN)
    return sock


def test_no_descriptor_left_hurts_only_those_who_come_then(tmp_path: Path) -> None:
    """Some are refused or wait, and when the others have gone, all is as before."""
    relay = Relay(
        tmp_path / "log", "--listen", "127.0.0.1:0", "--workers", "1", "--allow", "127.0.0.1", descriptors=90
    )
    try:
        port = relay.ports()[0]
        relay.says("the limit of open files is 90")
        with socket.create_server(("127.0.0.1", 0)) as listener:
            target = listener.getsockname()[1]
            request = f"CONNECT 127.0.0.1:{target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            socks = [socket.create_connection(("127.0.0.1", port), WITHIN) for _ in range(90)]
            for sock in socks:
                sock.sendall(request)
            answered = {sock.recv(1000).split()[1] for sock in socks[:20]}
            assert answered <= {b"200", b"503"}
            relay.says("cannot accept: too many open files")
            for sock in socks:
                sock.close()
            listener.settimeout(0.2)
            try:
                while True:
                    listener.accept()[0].close()
            except TimeoutError:
                pass
            assert answers(port)
            assert relay.process.poll() is None
    finally:
        for _ in range(2):
            relay.process.send_signal(signal.SIGTERM)
        relay.process.wait(WITHIN)
    assert "should not have happened" not in (tmp_path / "log").read_text()


def test_place_that_is_taken_ends_it_with_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        made = Relay(tmp_path / "log", "--listen", f"127.0.0.1:{port}")
        assert made.process.wait(WITHIN) == 2
    text = (tmp_path / "log").read_text()
    assert text.startswith(f"tunproxy: cannot listen at 127.0.0.1:{port}: address already in use")
    assert text.count("\n") == 1
