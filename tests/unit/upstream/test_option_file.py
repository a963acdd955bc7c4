"""Files that options name."""

import os
from pathlib import Path

import pytest

from tunproxy.upstream.option_file import MAX_SIZE, OptionFile, read_option_file


def test_file_is_read_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    path.write_bytes(b"secret")
    found = read_option_file(str(path))
    assert found == OptionFile(str(path), b"secret")
    assert "secret" not in repr(found)


def test_contents_have_a_path_while_they_are_needed() -> None:
    with OptionFile("a.pem", b"x" * 100_000).opened() as path:
        assert Path(path).read_bytes() == b"x" * 100_000
    assert not os.path.exists(path)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("missing", "no such file"),
        ("folder", "is a directory"),
        ("pipe", "no regular file"),
        ("large", f"more than {MAX_SIZE} octets"),
        ("nul\0l", "embedded null"),
    ],
)
def test_what_is_no_such_file_is_told(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_SIZE + 1)
    with pytest.raises(ValueError, match=r"^cannot read ") as raised:
        read_option_file(str(tmp_path / name))
    assert why in str(raised.value)
