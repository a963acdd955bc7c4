"""What is written down of a generation."""

import msgspec

from tests.unit.control.generations.kept import CONFIG_PATH, blank, contents
from tunproxy.control.generations.contents import CONFIG, FileState
from tunproxy.control.generations.record import Generation, content_of, kept_file


def with_files(*data: bytes) -> Generation:
    files = contents(*data)
    return msgspec.structs.replace(
        blank(), files=tuple(kept_file(path, each, is_kept=True) for path, each in files.items())
    )


def test_content_is_that_of_the_files() -> None:
    assert with_files(b"a").content() == with_files(b"a").content() == content_of(CONFIG_PATH, contents(b"a"))
    assert with_files(b"a").content() != with_files(b"b").content()
    assert with_files(b"a").content() != content_of("", contents(b"a"))
    assert content_of("", {"/a": FileState(CONFIG, b"x")}) != content_of("", {"/b": FileState(CONFIG, b"x")})


def test_it_reads_as_it_was_written() -> None:
    made = with_files(b"a")
    assert msgspec.json.decode(msgspec.json.encode(made), type=Generation) == made


def test_what_is_written_down_of_a_file() -> None:
    state = FileState(CONFIG, b"abc", 0o640, 5, 6, "/real")
    made = kept_file("/x", state, is_kept=False)
    assert (made.path, made.kind, made.size, made.mode, made.uid, made.gid) == ("/x", CONFIG, 3, 0o640, 5, 6)
    assert (made.real, made.is_kept, made.digest) == ("/real", False, state.digest)
