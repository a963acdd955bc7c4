"""Files of users are written whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from tunproxy.cli import main
from tunproxy.control.writing import replace_file, write_private
from tunproxy.errors import ConfigError

CLASH = "rules:\n  - MATCH,DIRECT\n"


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written does not get to the disk."""

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)


@pytest.mark.usefixtures("no_room")
def test_old_content_stays_where_the_new_cannot_be_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rules, clash = tmp_path / "a.rules", tmp_path / "c.yaml"
    rules.write_text("match , a\n")
    clash.write_text(CLASH)
    for command in (["rules", "fmt", str(rules)], ["convert", str(clash), "-o", str(rules)]):
        assert main.run(command) == 2
        assert capfd.readouterr().err == f"tunproxy: cannot write {rules}: no space left on device\n"
    assert rules.read_text() == "match , a\n"
    assert sorted(tmp_path.iterdir()) == [rules, clash], "nothing stays behind"


def test_mode_and_symbolic_link_stay(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o640)
    link.symlink_to("a")
    replace_file(str(link), b"new")
    assert (link.is_symlink(), path.read_text(), path.stat().st_mode & 0o777) == (True, "new", 0o640)


def test_new_file_has_the_usual_mode(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        replace_file(str(tmp_path / "a"), b"new")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert ((tmp_path / "a").read_bytes(), (tmp_path / "a").stat().st_mode & 0o777) == (b"new", 0o640)


def test_device_is_written_to(tmp_path: Path) -> None:
    replace_file("/dev/null", b"new")
    assert Path("/dev/null").is_char_device()


def test_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^cannot write .*/x/a: no such file or directory$"):
        replace_file(str(tmp_path / "x" / "a"), b"")


def test_file_of_our_own_is_its_owners_and_has_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    for mode in (0o600, 0o400):
        write_private(path, b"data", path.with_name("other"), mode, is_synced=False)
        assert path.stat().st_mode & 0o777 == mode
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [each.name for each in path.parent.iterdir()] == ["file"]


@pytest.mark.usefixtures("no_room")
def test_file_of_our_own_that_cannot_be_written_stays_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(OSError, match="No space"):
        write_private(path, b"data", tmp_path / "other", is_synced=True)
    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
