"""The ring of finished flows: an SQLite file that its owner alone reads, bounded by size and by age.

Entries are written in transactions with a write-ahead log: whoever dies while writing loses the last one, and
the file stays whole. A file that is broken is put aside under another name, once, and a new one begun.
"""

import contextlib
import os
import sqlite3
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final  # Any: a document, as JSON has it

import msgspec

from tunproxy.control.history.places import ASIDE, StoreError

FORMAT: Final = 1  # of the tables: PRAGMA user_version
APPLICATION: Final = 0x74756E68  # "tunh": PRAGMA application_id

# our choices
BUSY_SECONDS: Final = 2.0  # that we wait for another who writes
LOG_PAGES: Final = 256  # of the write-ahead log, before it is worked into the file
LOG_OCTETS: Final = 2 << 20
SHARE: Final = 16  # of the ring makes room when it is full
LEVEL: Final = 1  # of zlib: a quarter of the octets for 20 us
MOST_OCTETS: Final = 4 << 20  # of an entry
AGE_EVERY: Final = 60.0  # seconds between looks for what is too old

TABLES: Final = """
CREATE TABLE flows (
    id INTEGER PRIMARY KEY, ended REAL NOT NULL, host TEXT NOT NULL, process TEXT NOT NULL,
    upstream TEXT NOT NULL, rule TEXT NOT NULL, instance TEXT NOT NULL, entry BLOB NOT NULL
);
CREATE INDEX flows_ended ON flows (ended);
CREATE TABLE gaps (id INTEGER PRIMARY KEY, at REAL NOT NULL, flows INTEGER NOT NULL, why TEXT NOT NULL);
"""

Document = dict[str, Any]
_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode


class Store:
    """The ring at path. size is in octets, age in seconds; both may be changed. For one thread at a time."""

    def __init__(self, path: Path, *, size: int, age: int, instance: str = "") -> None:
        self.path: Final = path
        self.size = size
        self.age = age
        self.put_aside = ""  # what was said when a broken file was put aside
        self._instance: Final = instance
        self._db: sqlite3.Connection | None = None
        self._aged_at = 0.0

    def add(
        self, entries: Sequence[Document], missed: int = 0, why: str = "", now: float | None = None
    ) -> None:
        """Write entries, and that flows are missed; make room. Raises StoreError: nothing is written then."""
        now = time.time() if now is None else now
        try:
            self._add(entries, missed, why, now)
        except sqlite3.DatabaseError as error:
            if not _is_broken(error):
                raise self._problem(error) from error
            self._put_aside(error)
            try:
                self._add(entries, missed, why, now)
            except sqlite3.DatabaseError as again:
                raise self._problem(again) from again

    def count(self) -> tuple[int, int]:
        """Return how many entries there are, and how many octets they take. Raises StoreError."""
        try:
            db = self._open()
            return int(db.execute("SELECT count(*) FROM flows").fetchone()[0]), _octets(db)
        except sqlite3.DatabaseError as error:
            raise self._problem(error) from error

    def close(self) -> None:
        """Let go of the file; what was written is in it."""
        db, self._db = self._db, None
        if db is not None:
            with contextlib.suppress(sqlite3.DatabaseError):
                db.close()

    def _add(self, entries: Sequence[Document], missed: int, why: str, now: float) -> None:
        db = self._open()
        rows = [_row(entry, self._instance) for entry in entries]
        with db:  # one transaction
            db.executemany(
                "INSERT INTO flows (ended, host, process, upstream, rule, instance, entry)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            if missed:
                db.execute("INSERT INTO gaps (at, flows, why) VALUES (?, ?, ?)", (now, missed, why))
        self._make_room(db, now)

    def _make_room(self, db: sqlite3.Connection, now: float) -> None:
        if now - self._aged_at >= AGE_EVERY or now < self._aged_at:
            self._aged_at = now
            with db:
                db.execute("DELETE FROM flows WHERE ended < ?", (now - self.age,))
                db.execute("DELETE FROM gaps WHERE at < ?", (now - self.age,))
        if _octets(db) <= self.size:
            return
        while _octets(db) > self.size:
            with db:
                lowest, highest = db.execute("SELECT min(id), max(id) FROM flows").fetchone()
                if lowest is None:
                    break
                db.execute("DELETE FROM flows WHERE id <= ?", (lowest + (highest - lowest) // SHARE,))
        db.execute("PRAGMA incremental_vacuum").fetchall()

    def _open(self) -> sqlite3.Connection:
        """Return the file, made if need be. Raises sqlite3.DatabaseError, StoreError."""
        if self._db is not None:
            return self._db
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            os.close(os.open(self.path, flags, 0o600))  # SQLite's other files have the same rights
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise StoreError(f"cannot write {self.path}: {why}") from error
        db = sqlite3.connect(self.path, timeout=BUSY_SECONDS, check_same_thread=False)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        self._db = db
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found > FORMAT:
            raise StoreError(f"cannot write {self.path}: a newer tunproxy has written it (move it away)")
        if found:
            problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if problem != "ok":
                raise sqlite3.DatabaseError(f"malformed: {problem}")
        else:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL").fetchone()
        db.execute("PRAGMA synchronous = NORMAL")  # a power failure may cost the last second, not the file
        db.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES}").fetchone()
        db.execute(f"PRAGMA journal_size_limit = {LOG_OCTETS}").fetchone()
        if not found:
            db.executescript(
                f"BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION};"
                f" PRAGMA user_version = {FORMAT}; COMMIT;"
            )

    def _put_aside(self, error: sqlite3.DatabaseError) -> None:
        """Give a broken file another name, where it stays until the next one."""
        self.close()
        aside = self.path.with_name(self.path.name + ASIDE)
        try:
            self.path.replace(aside)
            for end in ("-wal", "-shm"):
                self.path.with_name(self.path.name + end).unlink(missing_ok=True)
        except OSError as fault:
            why = (fault.strerror or str(fault)).lower()
            raise StoreError(f"{self.path} is broken ({error}) and cannot be put aside: {why}") from fault
        self.put_aside = f"{self.path} was broken ({error}): it is {aside.name} now, and a new one begins"

    def _problem(self, error: sqlite3.DatabaseError) -> StoreError:
        self.close()
        return StoreError(f"cannot write {self.path}: {error}")


def _row(entry: Document, instance: str) -> tuple[object, ...]:
    process = entry.get("process") or {}
    return (
        entry["ended"],
        entry["name"] or entry["target"],
        process.get("name") or "",
        entry["chain"],
        entry["rule"] or "",
        instance,
        packed(entry),
    )


def packed(entry: Document) -> bytes:
    """Return an entry as it is kept."""
    return zlib.compress(_encode(entry), LEVEL)


def unpacked(data: bytes) -> object:
    """Return what was packed; raises ValueError for anything else."""
    try:
        unpacking = zlib.decompressobj()
        return _decode(unpacking.decompress(data, MOST_OCTETS))
    except (zlib.error, msgspec.DecodeError, TypeError) as error:
        raise ValueError(str(error)) from error


def _octets(db: sqlite3.Connection) -> int:
    """Return the octets that are in use, without what waits to be used again."""
    pages, free, size = (
        int(db.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def _is_broken(error: sqlite3.DatabaseError) -> bool:
    """Tell whether the file is not, or no longer, what SQLite has written."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
    return str(error).startswith("malformed")
