"""Looking for entries."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.unit.control.history.world import entry
from tunproxy.control.history.query import Filter, Ring, meets
from tunproxy.control.history.store import FORMAT, Store
from tunproxy.errors import ConfigError

ENTRIES = [
    entry(number=1, ended=100.0, name="www.Example.com"),
    entry(number=2, ended=200.0, name=None, target="192.0.2.9", process={"name": None}),
    entry(number=3, ended=300.0, chain="work → node-3", rule="DST-PORT,443,work"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    store = Store(tmp_path / "h.sqlite", size=1 << 20, age=3600)
    store.add(ENTRIES, now=300.0)
    store.close()
    return store.path


def found(path: Path, limit: int = 0, **wanted: Any) -> list[int]:
    with Ring(path) as ring:
        entries = [each["number"] for each in ring.entries(Filter(**wanted), limit)]
        assert limit or ring.count(Filter(**wanted)) == len(entries)
        return entries


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        ({}, [1, 2, 3]),
        ({"since": 200.0}, [2, 3]),
        ({"until": 200.0}, [1, 2]),
        ({"host": "EXAMPLE"}, [1, 3]),
        ({"host": "192.0.2.?"}, [2]),
        ({"process": "curl"}, [1, 3]),
        ({"process": "url*"}, []),
        ({"rule": "dst-port"}, [3]),
        ({"upstream": "work"}, [3]),
        ({"upstream": "*node-3"}, [3]),
        ({"upstream": "direct", "since": 150.0}, [2]),
        ({"host": "'; DROP TABLE flows; --"}, []),
    ],
)
def test_filters(path: Path, wanted: dict[str, Any], numbers: list[int]) -> None:
    assert found(path, **wanted) == numbers


def test_limit_keeps_the_newest_in_their_order(path: Path) -> None:
    assert found(path, 2) == [2, 3]


def test_one_entry_by_its_id(path: Path) -> None:
    with Ring(path) as ring:
        assert ring.entry(3)["chain"] == "work → node-3"
        with pytest.raises(ConfigError, match="there is no flow 4"):
            ring.entry(4)


def test_ring_is_read_while_somebody_writes(path: Path) -> None:
    store = Store(path, size=1 << 20, age=3600)
    store.add([entry(number=4, ended=400.0)], now=400.0)
    with Ring(path) as ring:
        entries = ring.entries(Filter())
        next(entries)
        store.add([entry(number=5, ended=400.0)], now=400.0)
        assert [each["number"] for each in entries] == [2, 3, 4]
    assert found(path) == [1, 2, 3, 4, 5]
    store.close()


def test_what_is_no_ring_is_told(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("text " * 500)
    empty = tmp_path / "empty"
    empty.touch()
    newer = tmp_path / "newer"
    db = sqlite3.connect(newer)
    db.execute(f"PRAGMA user_version = {FORMAT + 1}")
    db.close()
    for path, why in (
        (other, "it is no history of ours"),
        (empty, "it is no history of ours"),
        (newer, "a newer tunproxy has written it"),
        (tmp_path, "is a directory"),
        (tmp_path / "none", "no such file"),
    ):
        with pytest.raises(ConfigError, match=why):
            Ring(path)


def test_broken_entry_is_told(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("UPDATE flows SET entry = ? WHERE id = 2", (b"{nonsense",))
    db.commit()
    db.close()
    with Ring(path) as ring, pytest.raises(ConfigError, match="an entry is broken"):
        list(ring.entries(Filter()))


def test_part_or_pattern() -> None:
    assert meets("Firefox", "fire")
    assert not meets("firefox", "fire?")
    assert meets("firefox", "fire*")
