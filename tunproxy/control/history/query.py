"""Looks for entries in the ring: read only, also while somebody writes, and when nobody does."""

import contextlib
import fnmatch
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final  # Any: a document, as JSON has it
from urllib.parse import quote

from tunproxy.control.history.store import FORMAT, unpacked
from tunproxy.errors import ConfigError

_MANY: Final = 200  # our choice: rows that are read at a time

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are meant; "" and 0 for any.

    since and until are seconds since 1970, of a flow's end. process, host, rule and upstream are parts of
    what they name, in letters of either size, or patterns with * and ?.
    """

    since: float = 0.0
    until: float = 0.0
    process: str = ""
    host: str = ""
    rule: str = ""
    upstream: str = ""

    def where(self) -> tuple[str, list[object]]:
        """Return it as SQL, and what the question marks stand for."""
        parts = ["ended >= ?"]
        values: list[object] = [self.since]
        if self.until:
            parts.append("ended <= ?")
            values.append(self.until)
        for column in ("process", "host", "rule", "upstream"):
            wanted = getattr(self, column)
            if wanted:
                parts.append(f"meets({column}, ?)")
                values.append(wanted)
        return " AND ".join(parts), values


class Ring:
    """The ring at path, for reading. Raises ConfigError where it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path
        try:
            with open(path, "rb"):  # says better than SQLite why it cannot
                pass
            self._db = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5.0)
            found = self._db.execute("PRAGMA user_version").fetchone()[0]
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            hint = " (try as root: sudo)" if isinstance(error, PermissionError) else ""
            raise ConfigError(f"cannot read {path}: {why}{hint}") from error
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"cannot read {path}: {error} (it is no history of ours)") from error
        if found != FORMAT:
            self.close()
            why = "a newer tunproxy has written it" if found > FORMAT else "it is no history of ours"
            raise ConfigError(f"cannot read {path}: {why}")
        self._db.create_function("meets", 2, meets, deterministic=True)

    def __enter__(self) -> "Ring":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        with contextlib.suppress(sqlite3.DatabaseError):
            self._db.close()

    def count(self, wanted: Filter) -> int:
        """Return how many entries there are."""
        where, values = wanted.where()
        return int(self._ask(f"SELECT count(*) FROM flows WHERE {where}", values).fetchone()[0])

    def entries(self, wanted: Filter, limit: int = 0) -> Iterator[Document]:
        """Yield entries, the newest last; with a limit the newest ones. ``id`` is theirs in the ring."""
        where, values = wanted.where()
        columns = "SELECT id, instance, entry FROM flows"
        if limit:
            newest = f"SELECT id FROM flows WHERE {where} ORDER BY ended DESC, id DESC LIMIT ?"
            cursor = self._ask(f"{columns} WHERE id IN ({newest}) ORDER BY ended, id", [*values, limit])
        else:
            cursor = self._ask(f"{columns} WHERE {where} ORDER BY ended, id", values)
        while rows := self._fetch(cursor):
            for number, instance, entry in rows:
                yield {"id": number, "instance": instance, **self._entry(entry)}

    def entry(self, number: int) -> Document:
        """Return the entry of an id. Raises ConfigError where there is none."""
        found = self._ask("SELECT id, instance, entry FROM flows WHERE id = ?", [number]).fetchone()
        if found is None:
            raise ConfigError(f"there is no flow {number} in {self._path} (any more)")
        return {"id": found[0], "instance": found[1], **self._entry(found[2])}

    def gaps(self, since: float) -> tuple[int, list[str]]:
        """Return how many flows were not recorded since, and why."""
        found = self._ask("SELECT sum(flows), why FROM gaps WHERE at >= ? GROUP BY why", [since]).fetchall()
        return sum(int(flows) for flows, _ in found), [str(why) for _, why in found]

    def _ask(self, sql: str, values: list[object] | None = None) -> sqlite3.Cursor:
        try:
            return self._db.execute(sql, values or [])
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"cannot read {self._path}: {error}") from error

    def _fetch(self, cursor: sqlite3.Cursor) -> list[Any]:
        try:
            return cursor.fetchmany(_MANY)
        except sqlite3.DatabaseError as error:
            raise ConfigError(f"cannot read {self._path}: {error}") from error

    def _entry(self, data: bytes) -> Document:
        try:
            found = unpacked(data)
        except ValueError as error:
            raise ConfigError(f"cannot read {self._path}: an entry is broken: {error}") from error
        return found if isinstance(found, dict) else {}


def meets(value: str, wanted: str) -> bool:
    """Tell whether a value has wanted in it, or is as that pattern says, in letters of either size."""
    value, wanted = value.lower(), wanted.lower()
    if "*" in wanted or "?" in wanted:
        return fnmatch.fnmatchcase(value, wanted)
    return wanted in value
