"""The ring: bounded, whole whoever dies, and put aside when it is broken."""

import errno
import os
import signal
import sqlite3
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.control.history.world import entry
from tunproxy.control.history import store as module
from tunproxy.control.history.places import StoreError
from tunproxy.control.history.query import Filter, Ring
from tunproxy.control.history.store import FORMAT, Store

NOW = 10_000.0


def made(folder: Path, *, size: int = 1 << 20, age: int = 3600) -> Store:
    return Store(folder / "state" / "h.sqlite", size=size, age=age, instance="tun0")


def numbers(store: Store) -> list[int]:
    with Ring(store.path) as ring:
        return [each["number"] for each in ring.entries(Filter())]


def test_entries_come_back_the_newest_last(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.add([entry(number=1, ended=NOW), entry(number=2, ended=NOW)], now=NOW)
    store.add([entry(number=3, ended=NOW)], now=NOW)
    assert numbers(store) == [1, 2, 3]
    assert store.count()[0] == 3
    store.close()
    assert numbers(store) == [1, 2, 3]
    with Ring(store.path) as ring:
        assert next(ring.entries(Filter())) == {"id": 1, "instance": "tun0", **entry(number=1, ended=NOW)}


def test_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = made(tmp_path)
        store.add([entry(ended=NOW)], now=NOW)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in store.path.parent.iterdir()}
    assert modes == {"h.sqlite": 0o600, "h.sqlite-wal": 0o600, "h.sqlite-shm": 0o600}
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700


def test_link_to_elsewhere_is_not_followed(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.path.parent.mkdir()
    store.path.symlink_to(tmp_path / "precious")
    with pytest.raises(StoreError, match="cannot write"):
        store.add([entry()], now=NOW)
    assert not (tmp_path / "precious").exists()


def test_what_is_too_old_goes(tmp_path: Path) -> None:
    store = made(tmp_path, age=100)
    store.add(
        [entry(number=1, ended=NOW - 99), entry(number=2, ended=NOW)], missed=5, why="too fast", now=NOW
    )
    store.add([entry(number=3, ended=NOW)], now=NOW + 30)  # too soon to look
    assert numbers(store) == [1, 2, 3]
    store.add([], now=NOW + 61)
    assert numbers(store) == [2, 3]
    with Ring(store.path) as ring:
        assert ring.gaps(0) == (5, ["too fast"])
    store.add([], now=NOW + 200)
    with Ring(store.path) as ring:
        assert ring.gaps(0) == (0, [])


def test_file_stays_below_its_size_and_the_oldest_make_room(tmp_path: Path) -> None:
    store = made(tmp_path, size=256 << 10)
    for first in range(0, 2000, 100):
        store.add([entry(number=first + at, ended=NOW) for at in range(100)], now=NOW)
        assert store.count()[1] <= 256 << 10
    found = numbers(store)
    assert found[-1] == 1999
    assert found == list(range(found[0], 2000))
    assert 100 < len(found) < 600
    store.close()
    assert store.path.stat().st_size < 2 * (256 << 10)
    store.size = 64 << 10
    store.add([], now=NOW)
    assert store.count()[1] <= 64 << 10
    assert numbers(store)[-1] == 1999


@settings(max_examples=15, deadline=None)
@given(batches=st.lists(st.integers(0, 60), max_size=12), size=st.integers(24 << 10, 128 << 10))
def test_ring_is_a_run_of_the_newest_below_its_size(
    batches: list[int], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = made(tmp_path_factory.mktemp("ring"), size=size)
    count = 0
    for batch in batches:
        store.add([entry(number=count + at, ended=NOW) for at in range(batch)], now=NOW)
        count += batch
    kept, octets = store.count()
    assert octets <= max(size, 24 << 10)  # the tables of an empty ring
    assert numbers(store) == list(range(count - kept, count))
    store.close()


def test_broken_file_is_put_aside_and_said(tmp_path: Path) -> None:
    octets = b"not a database at all, but long enough to be looked at" * 40
    store = made(tmp_path)
    store.path.parent.mkdir()
    store.path.write_bytes(octets)
    store.add([entry(number=9, ended=NOW)], now=NOW)
    assert numbers(store) == [9]
    aside = store.path.with_name("h.sqlite.broken")
    assert aside.read_bytes() == octets
    assert "is h.sqlite.broken now, and a new one begins" in store.put_aside


def test_file_that_breaks_while_it_is_written_is_put_aside(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.add([entry(number=at, ended=NOW) for at in range(200)], now=NOW)
    store.close()
    data = bytearray(store.path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    store.path.write_bytes(data)
    store.add([entry(number=777, ended=NOW)], now=NOW)
    assert numbers(store) == [777]
    assert "was broken" in store.put_aside


def test_file_of_a_newer_tunproxy_is_left_alone(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.add([entry()], now=NOW)
    store.close()
    db = sqlite3.connect(store.path)
    db.execute(f"PRAGMA user_version = {FORMAT + 1}")
    db.close()
    with pytest.raises(StoreError, match="a newer tunproxy has written it"):
        store.add([entry()], now=NOW)


def test_folder_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **more: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(module.os, "open", refuse)
    with pytest.raises(StoreError, match="read-only file system"):
        made(tmp_path).add([entry()], now=NOW)


def test_full_disk_writes_nothing_and_is_told(tmp_path: Path) -> None:
    store = made(tmp_path)
    store.add([entry(number=1, ended=NOW)], now=NOW)
    assert store._db is not None
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")  # as SQLite meets a disk without room: SQLITE_FULL
    with pytest.raises(StoreError, match="full"):
        store.add([entry(number=at, ended=NOW) for at in range(2, 200)], now=NOW)
    store.add([entry(number=500, ended=NOW)], now=NOW)
    assert numbers(store) == [1, 500]


def test_whoever_is_killed_while_writing_leaves_a_whole_file(tmp_path: Path) -> None:
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            store = made(tmp_path)
            for at in range(1_000_000):
                store.add([entry(number=at, ended=NOW)], now=NOW)
                if at == 20:
                    os.write(told, b".")
        finally:
            os._exit(1)
    assert os.read(ready, 1) == b"."
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(ready)
    os.close(told)
    store = made(tmp_path)
    found = numbers(store)  # by who reads only, before anybody mends anything
    assert len(found) > 20
    store.add([entry(number=-1, ended=NOW)], now=NOW)
    assert store.put_aside == ""
    assert numbers(store) == [*range(len(numbers(store)) - 1), -1]
    assert len(numbers(store)) >= len(found) + 1
