"""What a process is doing: as the kernel tells, and as it tells itself."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.unit.waiting import eventually
from tunproxy.host.activity import SIGNAL, STOPPED, Shot, activity_of, place_in


def test_stopped_process_is_seen_as_such_and_one_that_has_ended_not_at_all() -> None:
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(pid, os.WUNTRACED)
    found = activity_of(pid)
    assert found is not None
    assert found.state == STOPPED
    assert found.waited >= 0
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert activity_of(pid) is None


def test_names_with_spaces_and_brackets_and_kernels_without_statistics(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/stat").write_text("7 (a) b (c) D 1 7 7 0")
    found = activity_of(7, tmp_path)
    assert found is not None
    assert (found.state, found.waited) == ("D", 0)
    (tmp_path / "7/schedstat").write_text("12345 2500000000 3\n")
    found = activity_of(7, tmp_path)
    assert found is not None
    assert found.waited == 2.5
    (tmp_path / "7/stat").write_text("")
    assert activity_of(7, tmp_path) is None


HANGS = """
import sys
from tunproxy.host.activity import Shot
shot = Shot()
shot.take_here()
def hang_here():
    print(shot.fd, flush=True)
    while True:
        pass
hang_here()
"""


def test_process_that_hangs_says_where_as_often_as_it_is_asked() -> None:
    with (
        closing(Shot()) as shot,
        subprocess.Popen([sys.executable, "-c", HANGS], stdout=subprocess.PIPE) as other,
    ):
        try:
            assert other.stdout is not None
            theirs = int(other.stdout.readline())
            with open(f"/proc/{other.pid}/fd/{theirs}", "rb") as file:
                os.dup2(file.fileno(), shot.fd)
            for _ in range(2):
                shot.ask(other.pid)
                assert eventually(lambda: shot.place() == "<module> (<string>:10)")
        finally:
            other.kill()


def test_place_is_the_plugins_even_where_it_calls_a_library() -> None:
    stack = (
        "Current thread 0x1 (most recent call first):\n"
        '  File "/usr/lib/python3/socket.py", line 720 in readinto\n'
        '  File "/etc/tunproxy/plugins/slow.py", line 9 in ask\n'
        '  File "/etc/tunproxy/plugins/slow.py", line 4 in decide_flow\n'
        '  File "/opt/tunproxy/lib/python3/site-packages/pluggy/_callers.py", line 3 in call\n'
        '  File "/usr/bin/tunproxy", line 9 in <module>\n'
    )
    assert place_in(stack) == "decide_flow (/etc/tunproxy/plugins/slow.py:4)"
    assert (
        place_in("Current thread 0x1:\n" + stack.partition("pluggy")[2]) == "<module> (/usr/bin/tunproxy:9)"
    )
    assert place_in("Current thread 0x1 (most recent call first):\n  <no Python frame>\n") == ""


def test_signal_is_none_that_programs_are_ended_by() -> None:
    assert SIGNAL not in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
