"""The API over a Unix socket: served on a loop, or in a thread."""

import asyncio
import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.waiting import eventually
from tunproxy.control import api
from tunproxy.control.api import ApiThread, serve
from tunproxy.control.inquiry import Inquiry
from tunproxy.control.status import Instance, StatusReport


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "x.sock"))
        made.listen()
        made.setblocking(False)
        yield made


async def status() -> dict[str, object]:
    return {"name": "tun0"}


def ask(path: str, request: str = "GET /status") -> bytes:
    """Return the whole answer to a request."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(path)
        client.sendall(f"{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        found = b""
        while octets := client.recv(65536):
            found += octets
        return found


def is_running(thread: ApiThread) -> bool:
    """Tell whether the thread goes on; close() does not wait for it without limit."""
    return thread._thread.is_alive()


def test_thread_answers_who_asks_and_ends(listener: socket.socket) -> None:
    path = listener.getsockname()
    thread = ApiThread(listener, status)
    for _ in range(2):
        answer = ask(path)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b'\r\n\r\n{"name": "tun0"}')
    assert ask(path, "GET /nonsense").startswith(b"HTTP/1.1 404 ")
    assert ask(path, "POST /status").startswith(b"HTTP/1.1 405 ")
    thread.close()
    assert eventually(lambda: not is_running(thread))
    thread.close()


def test_metrics_are_those_of_the_status(listener: socket.socket) -> None:
    async def whole() -> dict[str, object]:
        return await StatusReport(Instance("up", "tun7", "tun7"), []).document()

    thread = ApiThread(listener, whole)
    try:
        answer = ask(listener.getsockname(), "GET /metrics")
        assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n" in answer
        assert b'mode="up",tun="tun7"' in answer
    finally:
        thread.close()


def test_reload_that_could_not_be_taken_back_is_refused(listener: socket.socket) -> None:
    """Of ``exec``, which keeps no generations."""
    reloads: list[int] = []

    async def reload() -> dict[str, object]:
        reloads.append(1)
        return {"is_reloaded": True}

    thread = ApiThread(listener, status, reload)
    try:
        answer = ask(listener.getsockname(), "POST /reload?confirm=60")
        assert b'{"is_reloaded": false, "error": "nothing could be taken back (only tunproxy up can' in answer
        assert not reloads
        assert ask(listener.getsockname(), "POST /reload").endswith(b'{"is_reloaded": true}')
        assert reloads == [1]
    finally:
        thread.close()


@pytest.mark.parametrize("limit", ["x", "-1", "", "1.5", "9" * 30])
def test_number_of_flows_that_is_none_is_told_as_it_was_written(listener: socket.socket, limit: str) -> None:
    thread = ApiThread(listener, status, inquiry=Inquiry([]))
    try:
        answer = ask(listener.getsockname(), f"GET /flows?limit={limit}")
        why = f"cannot show '{limit}' flows: this is no whole number"
        assert answer.endswith(f'\r\n\r\n{{"error": "{why}"}}'.encode())
    finally:
        thread.close()


def test_thread_nobody_asks_ends_at_once(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "CLOSE_SECONDS", 30.0)  # which somebody who is answered may take, and nobody is
    thread = ApiThread(listener, status)
    began = time.monotonic()
    thread.close()
    assert time.monotonic() - began < 20
    assert not is_running(thread)


def test_client_that_says_nothing_holds_up_no_end(listener: socket.socket) -> None:
    path = listener.getsockname()
    thread = ApiThread(listener, status)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.connect(path)
        ask(path)
        thread.close()
        assert eventually(lambda: not is_running(thread))


def test_thread_takes_no_signal(listener: socket.socket) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    others = set(threading.enumerate())
    thread = ApiThread(listener, status)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    # Asked of Python, not of /proc: there, threads of earlier tests stand for a moment after their join.
    (ours,) = set(threading.enumerate()) - others
    text = Path(f"/proc/self/task/{ours.native_id}/status").read_text()
    blocked = int(text.partition("SigBlk:\t")[2].split()[0], 16)
    assert blocked >> (signal.SIGTERM - 1) & 1
    assert blocked >> (signal.SIGCHLD - 1) & 1
    thread.close()


def test_serve_is_over_with_its_context(listener: socket.socket) -> None:
    path = listener.getsockname()

    async def talk() -> None:
        async with serve(listener, status):
            assert b'"tun0"' in await asyncio.to_thread(ask, path)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as late:
            late.connect(path)
            raise AssertionError("somebody still listens")

    asyncio.run(talk())


def test_api_is_not_loaded_before_somebody_asks() -> None:
    """It takes a fifth of a second, and 20 MB: more than all else that a start needs."""
    program = "import sys, tunproxy.control.up, tunproxy.control.execute; print('aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    "noise", [b"A" * 100_000, b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n", b"\0\r\n\r\n"]
)
def test_what_is_no_http_is_refused_without_a_traceback(
    listener: socket.socket, noise: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    thread = ApiThread(listener, status)
    path = listener.getsockname()
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(path)
            client.sendall(noise)
            assert client.recv(65536).startswith(b"HTTP/1.0 400 ")
        assert ask(path).startswith(b"HTTP/1.1 200 OK\r\n"), "the next one is served"
    finally:
        thread.close()
    assert caplog.records == []


def test_too_many_clients_are_told_of_once_and_served_when_others_have_gone(
    listener: socket.socket, caplog: pytest.LogCaptureFixture
) -> None:
    thread = ApiThread(listener, status)
    path = listener.getsockname()
    assert ask(path).startswith(b"HTTP/1.1 200 OK\r\n")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    clients = [socket.socket(socket.AF_UNIX) for _ in range(3)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + len(clients), before[1]))  # and no more than these
    try:
        for client in clients:
            client.connect(path)
        assert eventually(lambda: caplog.records)
        time.sleep(1.5)  # asyncio tries again after a second
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for client in clients:
            client.close()
    assert ask(path).startswith(b"HTTP/1.1 200 OK\r\n")
    thread.close()
    said = [record.getMessage() for record in caplog.records]
    assert said == ["clients of the control socket have to wait: too many open files"]


def test_fault_of_ours_is_logged(listener: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> dict[str, object]:
        raise RuntimeError("broken")

    thread = ApiThread(listener, broken)
    try:
        assert ask(listener.getsockname()).startswith(b"HTTP/1.1 500 ")
    finally:
        thread.close()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "RuntimeError: broken" in caplog.text
