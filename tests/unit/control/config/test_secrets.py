"""Secrets that stand elsewhere."""

import os
from pathlib import Path

import pytest

from tunproxy.control.config.secrets import MAX_SECRET, SecretError, file_of, is_reference, look_up


def test_reference_is_a_table_with_one_of_two_keys() -> None:
    assert is_reference({"env": "X"})
    assert is_reference({"file": "x"})
    assert not any(is_reference(each) for each in ("x", {}, {"env": "X", "file": "x"}, {"other": "x"}, 3))


def test_variable_of_the_environment(tmp_path: Path) -> None:
    assert look_up({"env": "X"}, tmp_path, {"X": "geheim"}).reveal() == "geheim"
    with pytest.raises(SecretError, match="there is no environment variable 'Y'"):
        look_up({"env": "Y"}, tmp_path, {"X": "geheim"})
    with pytest.raises(SecretError, match="environment variable 'X' is empty"):
        look_up({"env": "X"}, tmp_path, {"X": ""})


def test_file_is_read_without_its_last_line_break(tmp_path: Path) -> None:
    (tmp_path / "p").write_bytes(b" a b \r\n")
    assert look_up({"file": "p"}, tmp_path, {}).reveal() == " a b "


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot read p: no such file"),
        (b"\xff", "is not UTF-8"),
        (b"\r\n", "p is empty"),
        (bytes(MAX_SECRET + 1), "has more than"),
    ],
)
def test_file_that_holds_no_secret(tmp_path: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (tmp_path / "p").write_bytes(content)
    with pytest.raises(SecretError, match=why):
        look_up({"file": "p"}, tmp_path, {})


def test_reference_to_no_text(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="env wants the name of a variable"):
        look_up({"env": 3}, tmp_path, {})
    with pytest.raises(SecretError, match="file wants the path of a file"):
        look_up({"file": ""}, tmp_path, {})


def test_relative_path_counts_from_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert file_of("../a", Path("/x/y")) == Path("/x/a")
    assert file_of("~/a", Path("/x")) == Path("/home/me/a")
    assert file_of("/a", Path("/x")) == Path("/a")


def test_contents_stand_for_files_and_have_those_that_were_read(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("from the disk\n")
    contents = {str(tmp_path / "q"): b"kept\n"}
    assert look_up({"file": "q"}, tmp_path, {}, contents).reveal() == "kept"
    assert look_up({"file": "p"}, tmp_path, {}, contents).reveal() == "from the disk"
    assert contents[str(tmp_path / "p")] == b"from the disk\n"


def test_pipe_that_nobody_writes_to_holds_no_secret(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    with pytest.raises(SecretError, match="cannot read p: it is a pipe that nobody writes to"):
        look_up({"file": "p"}, tmp_path, {})
