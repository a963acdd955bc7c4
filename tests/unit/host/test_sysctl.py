"""Kernel settings, in a tree of files that stands for /proc/sys."""

from pathlib import Path

import pytest

from tunproxy.host import sysctl


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sysctl, "ROOT", tmp_path)
    (tmp_path / "net/ipv4").mkdir(parents=True)
    return tmp_path


def test_read_setting_without_newline_or_none(root: Path) -> None:
    (root / "net/ipv4/ip_forward").write_text("1\n")
    assert sysctl.read("net/ipv4/ip_forward") == "1"
    assert sysctl.read("net/ipv4/no_such") is None


def test_write_tells_whether_it_was_taken(root: Path) -> None:
    assert sysctl.write("net/ipv4/ip_forward", "0")
    assert (root / "net/ipv4/ip_forward").read_text() == "0"
    assert not sysctl.write("net/ipv9/ip_forward", "0")


@pytest.mark.parametrize(
    ("value", "gid", "allowed"),
    [
        ("1 0", 0, False),
        ("1 0", 1, False),
        ("0 2147483647", 60777, True),
        ("100\t200", 200, True),
        ("100\t200", 201, False),
    ],
)
def test_ping_is_allowed_inside_the_range(root: Path, value: str, gid: int, allowed: bool) -> None:
    (root / "net/ipv4/ping_group_range").write_text(value)
    assert sysctl.allows_ping(gid) is allowed


def test_ping_without_the_setting_is_not_allowed(root: Path) -> None:
    assert not sysctl.allows_ping(0)
