"""The file of fake addresses: whole after any death, in one process's hands, never in the way."""

import errno
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.waiting import eventually
from tunproxy.dns.fake_store import FakeStore, open_files
from tunproxy.errors import ConfigError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "below" / "fake-ip"


def load(path: Path, ranges: str = "ranges") -> dict[int, str]:
    store = FakeStore(path, ranges)
    try:
        return store.load()
    finally:
        store.close()


def test_what_was_appended_is_there_in_order(path: Path) -> None:
    store = FakeStore(path, "ranges")
    assert store.load() == {}
    for number, name in ((17, "b.example"), (16, "a.example"), (17, "c.example")):
        store.append(number, name)
    store.close()
    assert list(load(path).items()) == [(16, "a.example"), (17, "c.example")]


def test_name_with_two_numbers_has_the_later_one(path: Path) -> None:
    store = FakeStore(path, "ranges")
    store.load()
    store.append(16, "a.example")
    store.append(17, "a.example")
    store.close()
    assert load(path) == {17: "a.example"}


@pytest.mark.parametrize("cut", range(1, 28))
def test_line_that_was_cut_off_is_left_out_and_what_follows_counts(path: Path, cut: int) -> None:
    store = FakeStore(path, "ranges")
    store.load()
    store.append(16, "a.example")
    store.append(17, "b.example")
    store.close()
    path.write_bytes(path.read_bytes()[:-cut])
    store = FakeStore(path, "ranges")
    assert store.load() == ({16: "a.example"} if cut < 23 else {})
    store.append(18, "c.example")
    store.close()
    assert load(path).get(18) == "c.example"


@pytest.mark.parametrize(
    "data", [b"", b"something else\n", bytes(100), b"tunproxy fake-ip 1 ranges\n\xff\n1\n 2 \n"]
)
def test_file_of_something_else_is_begun_anew(path: Path, data: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(data)
    assert load(path) == {}
    assert path.read_bytes() == b"tunproxy fake-ip 1 ranges\n"


def test_file_for_other_ranges_is_begun_anew(path: Path) -> None:
    store = FakeStore(path, "ranges")
    store.load()
    store.append(16, "a.example")
    store.close()
    assert load(path, "other") == {}


def test_file_is_one_processs(path: Path) -> None:
    store = FakeStore(path, "ranges")
    with pytest.raises(ConfigError, match="another tunproxy has it"):
        FakeStore(path, "ranges")
    store.close()
    FakeStore(path, "ranges").close()


def test_file_is_opened_by_one_and_used_by_another(path: Path) -> None:
    files = open_files(path)
    store = FakeStore(path, "ranges", files)
    store.load()
    store.append(16, "a.example")
    with pytest.raises(ConfigError, match="another tunproxy has it"):
        FakeStore(path, "ranges", open_files(path))
    store.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(files.fd)
    assert load(path) == {16: "a.example"}


def test_file_that_was_replaced_after_it_was_opened_is_not_written_to(path: Path) -> None:
    files = open_files(path)
    store = FakeStore(path, "ranges")
    store.load()  # which writes it anew
    store.append(16, "a.example")
    store.close()
    store = FakeStore(path, "ranges", files)
    assert store.load() == {16: "a.example"}
    store.append(17, "b.example")
    store.close()
    assert load(path) == {16: "a.example", 17: "b.example"}


def test_file_that_was_opened_for_us_is_used_where_we_may_not_look(path: Path) -> None:
    files = open_files(path)
    path.unlink()
    path.parent.joinpath("fake-ip.lock").unlink()
    path.parent.rmdir()
    path.parent.write_text("")  # so that nothing can be opened below it, whoever we are
    store = FakeStore(path, "ranges", files)
    assert store.load() == {}
    store.append(16, "a.example")
    assert b"16 a.example" in os.pread(store.fileno(), 1000, 0)
    store.close()


def test_file_that_cannot_be_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot open"):
        FakeStore(tmp_path / "file" / "fake-ip", "ranges")


def test_long_file_is_written_anew(path: Path) -> None:
    store = FakeStore(path, "ranges")
    store.load()
    assert not store.is_long(1)
    for _ in range(10_003):
        store.append(16, "a.example")
    assert store.is_long(1)
    store.rewrite([(16, "a.example")])
    assert not store.is_long(1)
    store.append(17, "b.example")
    store.close()
    assert len(path.read_bytes().splitlines()) == 3
    assert load(path) == {16: "a.example", 17: "b.example"}
    assert [each.name for each in path.parent.iterdir() if each.name.endswith(".new")] == []


def test_full_disk_is_told_once_and_stops_nobody(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = FakeStore(path, "ranges")
    store.load()
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, store.fileno())
    os.close(full)
    with caplog.at_level(logging.WARNING):
        store.append(16, "a.example")
        store.append(17, "b.example")
    store.close()
    [record] = caplog.records
    assert "no space left on device (fake addresses will not outlive this run)" in record.message


def test_killed_process_leaves_whole_lines(path: Path) -> None:
    """kill -9 while it appends and rewrites as fast as it can."""
    program = (
        "import sys; from pathlib import Path; from tunproxy.dns.fake_store import FakeStore\n"
        "store = FakeStore(Path(sys.argv[1]), 'ranges'); known = store.load(); number = len(known)\n"
        "print(number, flush=True)\n"
        "while True:\n"
        "    known[number] = f'n{number}.example'; store.append(number, known[number]); number += 1\n"
        "    if number % 50 == 0: store.rewrite(known.items())\n"
    )
    before = 0
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert int(process.stdout.readline()) >= before
        assert eventually(lambda least=before + 60: path.read_bytes().count(b"\n") > least)  # type: ignore[misc]
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        found = load(path)
        assert found == {number: f"n{number}.example" for number in range(len(found))}
        assert len(found) >= before
        before = len(found)
    assert before > 100


@pytest.mark.parametrize("before", [b"", b"something else", None], ids=["new", "foreign", "cut off"])
def test_file_beside_which_nothing_can_be_written_is_used_as_it_is(
    tmp_path: Path, before: bytes | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker has given its rights up when it writes, and complains about nothing: names are kept."""
    path = tmp_path / "fake"
    if before is None:
        store = FakeStore(path, "ranges")
        store.load()
        store.append(16, "a.example")
        store.close()
        before = path.read_bytes() + b"17 b.exa"
    path.write_bytes(before)
    kept = {16: "a.example"} if b"a.example" in before else {}

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refuse)
    store = FakeStore(path, "ranges")
    assert store.load() == kept
    store.append(20, "c.example")
    store.rewrite([(1, "never.example")])
    assert not store.is_long(0)
    store.close()
    monkeypatch.undo()
    again = FakeStore(path, "ranges")
    assert again.load() == {**kept, 20: "c.example"}
    again.close()
    assert caplog.text == ""
