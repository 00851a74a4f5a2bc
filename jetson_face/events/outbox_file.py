"""The SQLite file of the outbox: rows with checksums, cursors, bounds. Raises `sqlite3.Error`.

WAL with `synchronous=FULL`: when a transaction returned, its rows are on the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

_CHECK_BYTES = 8
_VERSION = 1
_CHUNK = 500
_SCHEMA = f"""
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    age REAL NOT NULL, wall REAL NOT NULL, kind TEXT NOT NULL,
    body BLOB NOT NULL, sum BLOB NOT NULL
);
CREATE INDEX events_by_age ON events (age);
CREATE TABLE consumers (name TEXT PRIMARY KEY, acked INTEGER NOT NULL);
CREATE TABLE counts (name TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), age REAL, wall REAL);
PRAGMA user_version = {_VERSION};
"""


@dataclass(frozen=True, slots=True)
class Event:
    """One row. seq: from 1, rising, never used twice. age: seconds of service time at writing.

    wall: UTC seconds, for people. kind: a word. body: opaque, JSON in this program.
    """

    seq: int
    age: float
    wall: float
    kind: str
    body: bytes

    @property
    def checksum(self) -> bytes:
        """BLAKE2b over every field."""
        head = struct.pack(">qdd", self.seq, self.age, self.wall) + self.kind.encode() + b"\0"
        return hashlib.blake2b(head + self.body, digest_size=_CHECK_BYTES).digest()


@dataclass(frozen=True, slots=True)
class Evicted:
    """rows deleted; unread: how many of them some consumer had not acknowledged."""

    rows: int
    unread: int


class OutboxFile:
    """An open outbox file. One thread at a time. Every method may raise `sqlite3.Error`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
        try:
            self._set_up()
        except BaseException:
            self._db.close()
            raise

    def _set_up(self) -> None:
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "wal_autocheckpoint = 256",
            "journal_size_limit = 1048576",
            "secure_delete = ON",
        ):
            self._db.execute(f"PRAGMA {pragma}")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._db.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        elif version != _VERSION:
            raise sqlite3.DatabaseError(f"outbox version {version}, this program knows {_VERSION}")

    def write(
        self, events: Iterable[Event], cursors: Mapping[str, int], counts: Mapping[str, int]
    ) -> None:
        """Store rows, cursors and counts in one transaction; on return they are on the disk.

        A row that is there already is left: the attempt before may have reached the disk although
        it reported an error.
        """
        rows = [(e.seq, e.age, e.wall, e.kind, e.body, e.checksum) for e in events]
        with self._transaction():
            self._db.executemany("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._db.executemany("INSERT OR REPLACE INTO consumers VALUES (?, ?)", cursors.items())
            self._db.executemany("INSERT OR REPLACE INTO counts VALUES (?, ?)", counts.items())

    def read(self, after: int, limit: int) -> tuple[list[Event], list[int]]:
        """Up to `limit` rows after `after`, oldest first, and the numbers of damaged ones."""
        found = self._db.execute(
            "SELECT seq, age, wall, kind, body, sum FROM events WHERE seq > ? ORDER BY seq LIMIT ?",
            (after, limit),
        )
        good: list[Event] = []
        bad: list[int] = []
        for *fields, total in found:
            event = _event(fields)
            if event is not None and event.checksum == total:
                good.append(event)
            else:
                bad.append(fields[0])
        return good, bad

    def rewrite(self, needle: bytes, new_body: Callable[[bytes], bytes]) -> int:
        """Give every row whose body holds `needle` a new body and checksum; returns how many.

        A few hundred rows in a transaction: a service that writes meanwhile waits for no more. A
        damaged row is removed. Returns when the old bytes are gone from the file.
        """
        found = self._db.execute(
            "SELECT seq, age, wall, kind, body, sum FROM events WHERE instr(body, ?) > 0", (needle,)
        ).fetchall()
        for start in range(0, len(found), _CHUNK):
            with self._transaction():
                for *fields, total in found[start : start + _CHUNK]:
                    event = _event(fields)
                    if event is None or event.checksum != total:
                        self._db.execute("DELETE FROM events WHERE seq = ?", (fields[0],))
                        continue
                    event = replace(event, body=new_body(event.body))
                    self._db.execute(
                        "UPDATE events SET body = ?, sum = ? WHERE seq = ?",
                        (event.body, event.checksum, event.seq),
                    )
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return len(found)

    def delete(self, seqs: Sequence[int]) -> None:
        """Remove rows by number."""
        with self._transaction():
            self._db.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq in seqs])

    def evict_older(self, age: float) -> Evicted:
        """Remove the rows written before `age`, seconds of service time."""
        return self._evict("age < ?", age)

    def evict_oldest(self, rows: int) -> Evicted:
        """Remove the oldest `rows` rows."""
        return self._evict("seq IN (SELECT seq FROM events ORDER BY seq LIMIT ?)", rows)

    def _evict(self, where: str, value: float) -> Evicted:
        low = min(self.cursors().values(), default=0)
        with self._transaction():
            unread = self._db.execute(
                f"SELECT count(*) FROM events WHERE {where} AND seq > ?", (value, low)
            ).fetchone()[0]
            rows = self._db.execute(f"DELETE FROM events WHERE {where}", (value,)).rowcount
        return Evicted(rows, unread)

    def used_bytes(self) -> int:
        """Bytes of pages that hold something."""
        pages, free, size = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def rows(self) -> int:
        """Rows stored."""
        return int(self._db.execute("SELECT count(*) FROM events").fetchone()[0])

    def last_seq(self) -> int:
        """The highest number ever given, also when its row is gone; 0 for none."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        return max(0 if row is None else int(row[0]), *self.cursors().values(), 0)

    def cursors(self) -> dict[str, int]:
        """The last acknowledged number of each consumer."""
        return dict(self._db.execute("SELECT name, acked FROM consumers").fetchall())

    def counts(self) -> dict[str, int]:
        """The counters that outlive the process."""
        return dict(self._db.execute("SELECT name, n FROM counts").fetchall())

    def forget(self, consumer: str) -> None:
        """Remove a consumer."""
        with self._transaction():
            self._db.execute("DELETE FROM consumers WHERE name = ?", (consumer,))

    def save_clock(self, age: float, wall: float) -> None:
        """Keep the service time."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO clock VALUES (1, ?, ?)", (age, wall))

    def last_clock(self) -> tuple[float, float]:
        """The newest known (service time, wall time), (0, 0) for a new file."""
        kept = self._db.execute("SELECT age, wall FROM clock").fetchone()
        newest = self._db.execute("SELECT age, wall FROM events ORDER BY seq DESC LIMIT 1")
        return max(kept or (0.0, 0.0), newest.fetchone() or (0.0, 0.0))

    def close(self) -> None:
        """Close; never raises."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db)


class _Transaction:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK on any exception."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            try:
                self._db.execute("COMMIT")
                return
            except sqlite3.Error:
                self._roll_back()
                raise
        self._roll_back()

    def _roll_back(self) -> None:
        # Some errors have rolled back already; the error that led here is the one to report.
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("ROLLBACK")


def _event(fields: Sequence[object]) -> Event | None:
    seq, age, wall, kind, body = fields
    if not (
        isinstance(seq, int)
        and isinstance(age, float)
        and isinstance(wall, float)
        and isinstance(kind, str)
        and isinstance(body, bytes)
    ):
        return None
    return Event(seq, age, wall, kind, body)


def salvage(path: Path, limit: int = 1_000_000) -> tuple[list[Event], dict[str, int]]:
    """Every row and cursor of a damaged file that can still be read; never raises."""
    events: list[Event] = []
    cursors: dict[str, int] = {}
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    except sqlite3.Error:
        return events, cursors
    with contextlib.suppress(sqlite3.Error, TypeError, ValueError):
        cursors = dict(db.execute("SELECT name, acked FROM consumers").fetchall())
    try:
        rows = db.execute("SELECT seq, age, wall, kind, body, sum FROM events LIMIT ?", (limit,))
        for *fields, total in rows:
            event = _event(fields)
            if event is not None and event.checksum == total:
                events.append(event)
    except (sqlite3.Error, OverflowError):
        pass
    finally:
        db.close()
    return events, {k: v for k, v in cursors.items() if isinstance(v, int)}
