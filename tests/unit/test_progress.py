"""Who looks at a terminal sees how far a long operation is; nobody else notices that there is something."""

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunproxy import progress
from tunproxy.progress import is_seen, showing

SHOWS = """
import sys, threading
from tunproxy import progress
with progress.showing("reading [red]one", patience=0.0, is_quiet=bool(sys.argv[1:])) as shown:
    while not quiet and shown._bar is None:
        threading.Event().wait(0.01)
    for number in shown.each(range(4), "learning"):
        pass
    threading.Event().wait(0 if quiet else 0.5)
    with shown.hidden():
        print("a line", flush=True)
print("done", flush=True)
"""


def at_terminal(quiet: bool, terminal: str = "xterm", out: int | None = None) -> tuple[str, str]:
    """Return what a program that SHOWS writes to its terminal, and to standard output if that is another."""
    leader, follower = pty.openpty()
    code = SHOWS.replace("import sys, threading", f"import sys, threading; quiet = {quiet}")
    environment = {**os.environ, "TERM": terminal}
    arguments = ["quiet"] if quiet and terminal == "xterm" else []
    program = subprocess.Popen(
        [sys.executable, "-P", "-c", code, *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if out else follower, stderr=follower,
        env=environment,
    )  # fmt: skip
    os.close(follower)
    piped = program.stdout.read().decode() if program.stdout is not None else ""
    shown = b"".join(iter(lambda: _read(leader), b""))
    os.close(leader)
    assert program.wait(60) == 0
    return shown.decode(), piped


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except OSError:  # EIO: the other end is closed
        return b""


def test_terminal_shows_words_and_share_and_nothing_is_left() -> None:
    shown, _ = at_terminal(quiet=False)
    assert "learning" in shown
    assert "100%" in shown
    before, _, after = shown.rpartition("a line")
    assert (
        before.count("\x1b[?25l") == before.count("\x1b[?25h") == 1
    )  # the cursor is back while lines are written
    assert after.endswith("\x1b[2Kdone\r\n")  # the last that is drawn is taken back


def test_what_is_piped_stays_whole() -> None:
    shown, piped = at_terminal(quiet=False, out=1)
    assert piped == "a line\ndone\n"
    assert "learning" in shown


@pytest.mark.parametrize("terminal", ["xterm", "dumb"])
def test_quiet_and_poor_terminals_show_nothing(terminal: str) -> None:
    assert at_terminal(quiet=True, terminal=terminal) == ("a line\r\ndone\r\n", "")


def test_without_a_terminal_no_library_is_loaded(capfd: pytest.CaptureFixture[str]) -> None:
    with showing("learning", 3, patience=0.0) as shown:
        for _ in shown.each(iter("abc"), "reading", total=3):
            shown.advance()
        shown.begins("learning")
    assert shown._bar is None
    assert capfd.readouterr() == ("", "")


def test_short_operation_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "is_seen", lambda stream: True)
    with showing("learning", patience=3600.0) as shown:
        pass
    shown.show()  # as the timer may, in the very moment of the end
    assert shown._bar is None


def test_closed_stream_is_not_seen(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w") as file:
        assert not is_seen(file)
    assert not is_seen(file)


def test_generator_tells_after_each(monkeypatch: pytest.MonkeyPatch) -> None:
    def four() -> Iterator[int]:
        yield from range(4)

    with showing("x") as shown:
        done = [shown._done for _ in shown.each(four(), "y")]
    assert done == [0, 1, 2, 3]
