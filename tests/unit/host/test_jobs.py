"""A command that is waited for; what needs a terminal is tested in ``tests/system/test_exec.py``."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tunproxy.host import jobs
from tunproxy.host.jobs import CommandJob

pytestmark = pytest.mark.usefixtures("unchanged_signals")


def nothing() -> None:
    pass


STARTED: list[int] = []  # the commands of a test
C_LIBRARY_S_OWN = 0b11 << 31  # signals 32 and 33, which no program can set and some starters leave blocked


@pytest.fixture
def unchanged_signals() -> Iterator[None]:
    """Check that handlers and mask are as they were before, and nothing is pending.

    Whoever started the tests may ignore a signal (nohup does): what a job does then has a test of its own.
    Whatever a test that fails leaves behind goes, so that others do not fail with it.
    """

    def state() -> tuple[dict[Any, Any], set[Any], Any]:
        handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
        return handlers, signal.pthread_sigmask(signal.SIG_BLOCK, ()), signal.sigpending()

    ignored = [number for number in jobs.RELAYED if signal.getsignal(number) == signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    before = state()
    try:
        yield
        assert state() == before
    finally:
        end_commands()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        while signal.sigtimedwait(blocked, 0) is not None:
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before[1])
        for each, handler in before[0].items():
            if signal.getsignal(each) != handler:
                signal.signal(each, handler)
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def end_commands() -> None:
    while STARTED:
        pid = STARTED.pop()
        with contextlib.suppress(ChildProcessError):  # waited for, as it should be
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def start(job: CommandJob, program: str) -> None:
    """Run a shell program as the job's command."""
    pid = os.fork()
    if pid == 0:
        try:
            job.become_child()
            os.execv("/bin/sh", ["sh", "-c", program])
        finally:
            os._exit(99)
    STARTED.append(pid)
    job.adopt(pid)


def test_wait_returns_the_status_and_tells_of_changes() -> None:
    changes = []
    job = CommandJob()
    start(job, "sleep 0.2; exit 5")
    assert os.waitstatus_to_exitcode(job.wait(lambda: changes.append(1))) == 5
    job.close()
    assert changes


@pytest.mark.parametrize("number", jobs.RELAYED)
def test_signal_sent_to_us_reaches_the_command(number: signal.Signals, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    name = number.name.removeprefix("SIG")
    job = CommandJob()
    start(job, f"trap 'exit 9' {name}; : >{ready}; while :; do sleep 0.05; done")
    while not ready.exists():
        time.sleep(0.01)
    os.kill(os.getpid(), number)
    assert os.waitstatus_to_exitcode(job.wait(nothing)) == 9
    os.kill(os.getpid(), number)  # too late for the command, and must harm neither us nor anybody else
    job.send(number)
    job.close()


def test_signal_ignored_from_the_start_stays_ignored_for_us_and_the_command() -> None:
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    job = CommandJob()
    start(job, "kill -HUP $$ $PPID; sleep 0.1; exit 4")
    assert os.waitstatus_to_exitcode(job.wait(nothing)) == 4
    job.close()
    assert signal.signal(signal.SIGHUP, previous) == signal.SIG_IGN


def test_command_gets_the_signals_that_programs_expect() -> None:
    program = (
        "import os; from tunproxy.host.jobs import CommandJob; CommandJob().become_child();"
        "os.execlp('grep', 'grep', '-E', 'Sig(Ign|Blk)', '/proc/self/status')"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20).stdout
    masks = {int(line.split()[1], 16) & ~C_LIBRARY_S_OWN for line in shown.splitlines()}
    assert masks == {0}


def test_close_waits_for_a_command_that_was_not_waited_for() -> None:
    job = CommandJob()
    start(job, "sleep 0.2")
    job.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_command_stopped_where_no_shell_could_wake_us_leaves_us_running() -> None:
    """That is, in an orphaned process group."""
    program = (
        "import os, signal, time, threading; from tunproxy.host.jobs import CommandJob\n"
        "os.setsid(); job = CommandJob(); pid = os.fork()\n"
        "if pid == 0: job.become_child(); os.execlp('sleep', 'sleep', '30')\n"
        "job.adopt(pid); stat = f'/proc/{pid}/stat'; job.send(signal.SIGSTOP)\n"
        "def look():\n"
        "    while open(stat).read().split()[2] != 'T': time.sleep(0.01)\n"
        "    time.sleep(0.5); print('T', flush=True); os.kill(pid, signal.SIGKILL)\n"
        "threading.Thread(target=look).start(); print(job.wait(lambda: None)); job.close()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20)
    assert (done.stdout, done.stderr) == ("T\n9\n", "")


def ended_like(status: int) -> int:
    program = f"import sys; from tunproxy.host.jobs import end_like; sys.exit(end_like({status}))"
    return subprocess.run([sys.executable, "-c", program], timeout=20).returncode


@pytest.mark.parametrize("code", [0, 3, 255])
def test_end_like_exit_code(code: int) -> None:
    assert jobs.end_like(code << 8) == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL, signal.SIGPIPE])
def test_end_like_signal_ends_by_it(number: signal.Signals) -> None:
    assert ended_like(number) == -number


def test_end_like_signal_that_ends_nobody_is_128_and_more() -> None:
    assert ended_like(signal.SIGCHLD) == 128 + signal.SIGCHLD
