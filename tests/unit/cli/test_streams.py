"""Standard streams that are closed, or full."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tunproxy.cli import main, streams

OPENED = (
    "from tunproxy.cli.streams import open_closed; open_closed(); import os, sys; "
    "from pathlib import Path; "
    "found = [os.readlink(f'/proc/self/fd/{number}') for number in (0, 1, 2)]; "
    "said = [sys.stdin.read(), sys.stdout.write('x'), sys.stderr.write('x')]; "
    "Path(sys.argv[1]).write_text(f'{found} {said} {[os.get_inheritable(number) for number in (0, 1, 2)]}')"
)


def test_closed_streams_are_those_of_nobody(tmp_path: Path) -> None:
    """Whatever is opened next would be standard error: a device, say."""
    file = tmp_path / "said"
    shell = 'exec "$0" -c "$1" "$2" <&- >&- 2>&-'
    subprocess.run(["sh", "-c", shell, sys.executable, OPENED, str(file)], check=True, timeout=60)
    assert file.read_text() == f"{['/dev/null'] * 3} ['', 1, 1] [False, False, False]"


def test_open_streams_stay(capfd: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    streams.open_closed()
    assert sys.stdout is before
    assert streams.why_full(PermissionError(13, "no")) == ""
    assert capfd.readouterr().out == ""


def test_terminal_that_has_gone_is_noticed() -> None:
    terminal, ours = pty.openpty()
    try:
        assert not streams.has_hung_up(ours)
        os.close(terminal)
        assert streams.has_hung_up(ours)
    finally:
        os.close(ours)


@pytest.mark.parametrize("size", [10, 100_000])
def test_full_disk_is_told_in_a_line(
    size: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        monkeypatch.setattr("tunproxy.version.describe", lambda: "x" * size)
        assert main.run(["version"]) == 2
        full.flush()  # as when the process ends
    assert capfd.readouterr().err == "tunproxy: cannot write to standard output: no space left on device\n"


def test_other_mistake_is_not_taken_for_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise OSError(28, "no room elsewhere")

    monkeypatch.setattr("tunproxy.version.describe", fail)
    with pytest.raises(OSError, match="no room elsewhere"):
        main.run(["version"])
