"""Ending a running one: told to, waited for, and what is said where it does not."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunproxy.control.down import end
from tunproxy.control.endpoint import ALIVE, Found
from tunproxy.errors import SystemChangeError, TunproxyError

PATH = Path("/run/tunproxy/tunproxy0.sock")
SLEEP = "import signal, sys; print('ready', flush=True); {}; signal.pause()"


def found(pid: int) -> Found:
    return Found(PATH, ALIVE, pid)


@pytest.fixture
def sleeper(request: pytest.FixtureRequest) -> Iterator["subprocess.Popen[str]"]:
    """Run a process that does with signals what the parameter says."""
    program = SLEEP.format(getattr(request, "param", "pass"))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_process_is_told_to_end_and_waited_for(sleeper: "subprocess.Popen[str]") -> None:
    end(found(sleeper.pid))
    assert sleeper.wait(0.0) == -signal.SIGTERM


@pytest.mark.parametrize("sleeper", ["signal.signal(15, signal.SIG_IGN); print(flush=True)"], indirect=True)
def test_one_that_does_not_end_is_said_not_to(sleeper: "subprocess.Popen[str]") -> None:
    assert sleeper.stdout is not None
    sleeper.stdout.readline()
    with pytest.raises(TunproxyError, match=rf"has not ended within 0.05 s \(sudo kill -9 {sleeper.pid};"):
        end(found(sleeper.pid), patience=0.05)


def test_one_that_has_ended_meanwhile_is_no_error(sleeper: "subprocess.Popen[str]") -> None:
    sleeper.kill()
    sleeper.wait()
    end(found(sleeper.pid))


def test_process_that_cannot_be_told_is_said_to_be_elsewhere() -> None:
    with pytest.raises(TunproxyError, match="its process is in another container"):
        end(found(0))


def test_whoever_may_not_is_told_to_be_root(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    with pytest.raises(
        SystemChangeError, match=r"cannot end tunproxy0, process \d+: not permitted \(try as root"
    ):
        end(found(os.getpid()))
