"""What the service manager is told, and when it is nobody."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunproxy.host.notify import ServiceManager, notify, take_service_manager, watchdog_seconds


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(5)
        yield made


def told(listener: socket.socket) -> str:
    return listener.recv(4096).decode()


def test_notify_sends_the_state_to_a_path(listener: socket.socket) -> None:
    assert notify("READY=1", {"NOTIFY_SOCKET": listener.getsockname()})
    assert told(listener) == "READY=1"


def test_notify_sends_the_state_to_an_abstract_name() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0tunproxy-test-{os.getpid()}")
        listener.settimeout(5)
        assert notify("STOPPING=1", {"NOTIFY_SOCKET": f"@tunproxy-test-{os.getpid()}"})
        assert told(listener) == "STOPPING=1"


@pytest.mark.parametrize(
    "environment",
    [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"NOTIFY_SOCKET": "/no/such/socket"},
     {"NOTIFY_SOCKET": "/" + "x" * 200}, {"NOTIFY_SOCKET": "/a\0b"}],
)  # fmt: skip
def test_notify_without_a_listener_tells_nobody(environment: dict[str, str]) -> None:
    assert not notify("READY=1", environment)


def test_notify_does_not_wait_for_a_listener_that_does_not_read(listener: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": listener.getsockname()}
    assert [notify("WATCHDOG=1", environment) for _ in range(5000)][-1] is False


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "-5"}, 0.0),
        ({"WATCHDOG_USEC": "²"}, 0.0),
    ],
)
def test_watchdog_is_on_where_it_is_this_process_that_is_watched(
    environment: dict[str, str], seconds: float
) -> None:
    assert watchdog_seconds(environment) == seconds


def test_manager_is_told_each_state(listener: socket.socket) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": listener.getsockname()})
    manager.ready("serving tun0")
    assert told(listener) == "READY=1\nSTATUS=serving tun0"
    before = time.monotonic_ns() // 1000
    manager.reloading()
    state, at = told(listener).split("\n")
    assert state == "RELOADING=1"
    assert before <= int(at.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
    manager.alive()
    assert told(listener) == "WATCHDOG=1"
    manager.stopping("told to")
    assert told(listener) == "STOPPING=1\nSTATUS=told to"


def test_status_of_several_lines_is_one_assignment(listener: socket.socket) -> None:
    ServiceManager({"NOTIFY_SOCKET": listener.getsockname()}).ready("a.toml:1: wrong\nREADY=0\n" + "x" * 9999)
    state, status = told(listener).split("\n")
    assert state == "READY=1"
    assert status.startswith("STATUS=a.toml:1: wrong READY=0 xxx")
    assert len(status) < 1100


def test_taken_manager_is_out_of_the_environment(listener: socket.socket) -> None:
    environment = {
        "NOTIFY_SOCKET": listener.getsockname(), "WATCHDOG_USEC": "2000000", "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/root",
    }  # fmt: skip
    manager = take_service_manager(environment)
    assert environment == {"HOME": "/root"}
    assert manager.watchdog_seconds == 2.0
    manager.alive()
    assert told(listener) == "WATCHDOG=1"


def test_manager_of_nobody_is_silent() -> None:
    manager = take_service_manager({})
    manager.ready("serving")
    assert manager.watchdog_seconds == 0.0
