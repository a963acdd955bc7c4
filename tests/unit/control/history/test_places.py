"""Where the ring is."""

import os
from pathlib import Path

import pytest

from tunproxy.control.history.places import FILE, find_ring, ring_path
from tunproxy.errors import ConfigError


def touched(path: Path, at: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (at, at))
    return path


def test_ring_is_in_the_state_folder(tmp_path: Path) -> None:
    assert ring_path({"STATE_DIRECTORY": "/var/lib/tunproxy"}) == Path("/var/lib/tunproxy", FILE)
    assert ring_path({"XDG_STATE_HOME": str(tmp_path)}) == tmp_path / "tunproxy" / FILE


def test_ring_that_was_written_last_is_looked_at(tmp_path: Path) -> None:
    environment, system = {"STATE_DIRECTORY": str(tmp_path / "mine")}, tmp_path / "system"
    theirs = touched(system / FILE, 100)
    assert find_ring("", environment, system) == theirs
    mine = touched(tmp_path / "mine" / FILE, 200)
    assert find_ring("", environment, system) == mine
    touched(system / f"{FILE}-wal", 300)
    assert find_ring("", environment, system) == theirs


def test_no_ring_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"nothing was recorded: there is no .*enabled = true.*: sudo; --file"
    ):
        find_ring("", {"STATE_DIRECTORY": str(tmp_path)}, tmp_path / "none")


def test_named_file(tmp_path: Path) -> None:
    named = touched(tmp_path / "x", 1)
    assert find_ring(str(named), {}) == named
    with pytest.raises(ConfigError, match="there is no such file"):
        find_ring(str(tmp_path / "y"), {})
