"""The order of things in ``up``, with a packet path that is played; more in ``tests/system/test_up.py``."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.isolation import isolated, needs_namespaces
from tests.unit.control.ending import ended_when_ready
from tunproxy.control.client import fetch_status
from tunproxy.control.endpoint import ALIVE, Found, find
from tunproxy.control.process import SIGNALS
from tunproxy.control.settings import UpSettings
from tunproxy.control.up import up
from tunproxy.control.worker_settings import WorkerSettings
from tunproxy.errors import ConfigError, SystemChangeError, UpstreamError
from tunproxy.host import libc
from tunproxy.host.links import has_link
from tunproxy.host.netlink import Netlink
from tunproxy.host.privileges import CAP_NET_ADMIN
from tunproxy.host.routes import TABLE
from tunproxy.logs import setup

pytestmark = needs_namespaces


@pytest.fixture(autouse=True)
def nobody_after_us() -> Iterator[None]:
    yield
    setup.take_down()


def rules() -> str:
    return "".join(
        subprocess.run(["ip", f, "rule"], capture_output=True, text=True).stdout for f in ("-4", "-6")
    )


def serve_and_ask_to_stop(
    settings: WorkerSettings, *, stop_fd: int = -1, on_ready: Callable[[str], None]
) -> None:
    """Play the worker: ask the supervisor to stop as soon as packets would come."""
    assert has_link(settings.device.name)
    assert "7777" not in rules(), "packets are sent to a worker that does not serve yet"
    supervisor = os.getppid()
    watcher = os.fork()  # which keeps the right to send a signal to the supervisor
    if watcher == 0:
        while "7777" not in rules():
            time.sleep(0.05)
        os.kill(supervisor, signal.SIGTERM)
        os._exit(0)
    on_ready("serving")
    time.sleep(30)


@pytest.mark.needs("ip")
def test_up_sends_packets_when_the_worker_serves_and_reverts_when_told_to_stop(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def check() -> None:
        before = rules()
        assert up(UpSettings(workers=1), serve_and_ask_to_stop) == 0
        assert rules() == before
        assert not has_link("tunproxy0")
        with Netlink() as net:
            assert net.count_routes(TABLE) == 0

    isolated(check)
    assert capfd.readouterr().err.startswith(
        "tunproxy: serving, routes 0.0.0.0/0 ::/0 in table 7777, worker uid "
    )


@pytest.mark.needs("ip")
def test_up_worker_that_does_not_start_leaves_nothing() -> None:
    def failing(settings: WorkerSettings, *, stop_fd: int = -1, on_ready: Callable[[str], None]) -> None:
        raise UpstreamError("no way out")

    def check() -> None:
        before = rules()
        with pytest.raises(Exception, match=r"^no way out$"):
            up(UpSettings(workers=1), failing)
        assert rules() == before
        assert not has_link("tunproxy0")

    isolated(check)


def test_up_worker_that_dies_again_and_again_is_exit_code_1(capfd: pytest.CaptureFixture[str]) -> None:
    def dying(settings: WorkerSettings, *, stop_fd: int = -1, on_ready: Callable[[str], None]) -> None:
        on_ready("serving")

    def check() -> None:
        assert up(UpSettings(workers=1, routes=()), dying) == 1

    isolated(check)
    told = capfd.readouterr().err
    assert told.count("tunproxy: the worker died (exit code 0): another one takes its place\n") == 4
    how = "exit code 0, for the 5th time within 60 s"
    assert told.endswith(f"tunproxy: the worker died ({how}): routes are put back\n")


def test_up_is_asked_while_it_runs_and_still_told_to_stop() -> None:
    name = f"up{os.getpid()}"

    def serve(settings: WorkerSettings, *, stop_fd: int = -1, on_ready: Callable[[str], None]) -> None:
        supervisor, worker = os.getppid(), os.getpid()
        asker = os.fork()  # which keeps the right to send a signal to the supervisor
        if asker == 0:
            found: list[Found] = []
            while not found:
                time.sleep(0.02)
                found = [each for each in find() if each.name == name and each.state == ALIVE]
            told = fetch_status(found[0].path)
            is_right = (told["name"], told["mode"], told["flows"]) == (name, "up", {"tcp": 3})
            os.kill(supervisor if is_right else worker, signal.SIGTERM)
            os._exit(0)
        on_ready("serving")
        assert settings.questions is not None
        settings.questions.setblocking(True)
        while True:  # somebody else may ask as well, before or after
            question = json.loads(settings.questions.recv(1000))
            answer = {"id": question["id"], "answer": {"flows": {"tcp": 3}}}
            settings.questions.send(json.dumps(answer).encode())

    def check() -> None:
        handler = signal.getsignal(signal.SIGCHLD)
        assert up(UpSettings(tun=name, workers=1, routes=()), serve) == 0
        assert signal.getsignal(signal.SIGCHLD) == handler
        assert set(SIGNALS) <= signal.pthread_sigmask(signal.SIG_BLOCK, ())
        assert not [each for each in find() if each.name == name]

    isolated(check)


def test_up_tells_the_service_manager_and_nobody_else_may() -> None:
    """The worker is a child of the service, and plugins are in it: neither finds the socket."""

    def serve(settings: WorkerSettings, *, stop_fd: int = -1, on_ready: Callable[[str], None]) -> None:
        on_ready("none" if "NOTIFY_SOCKET" not in os.environ else "the socket")
        time.sleep(30)

    def check() -> None:
        with ended_when_ready() as manager:
            assert up(UpSettings(workers=1, routes=(), worker_uid=0, mark=7), serve) == 0
            told = [manager.recv(2000, socket.MSG_DONTWAIT).decode() for _ in range(2)]
        assert told[0].startswith("READY=1\nSTATUS=none, no routes of ours, worker uid 0")
        assert told[1] == "STOPPING=1\nSTATUS=routes are put back"

    isolated(check)


def test_up_without_rights_is_refused() -> None:
    def check() -> None:
        libc.capset(effective=1 << CAP_NET_ADMIN, permitted=1 << CAP_NET_ADMIN)
        lacked = "CAP_SETUID, CAP_SETGID, CAP_KILL"
        with pytest.raises(
            SystemChangeError, match=rf"^cannot change routes: not permitted .*without {lacked}"
        ):
            up(UpSettings(workers=1), serve_and_ask_to_stop)

    isolated(check)


def test_up_bad_settings_are_refused() -> None:
    with pytest.raises(ConfigError):
        up(UpSettings(mtu=1), serve_and_ask_to_stop)
