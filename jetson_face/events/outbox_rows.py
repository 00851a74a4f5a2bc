"""The rows of the outbox, and the tables that hold them."""

from __future__ import annotations

import hashlib
import math
import sqlite3
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeGuard

VERSION = 2
SEQ_MAX = 1 << 60
_CHECK_BYTES = 8
_TABLES = {
    "events": (
        "seq INTEGER PRIMARY KEY AUTOINCREMENT",
        "age REAL NOT NULL",
        "wall REAL NOT NULL",
        "kind TEXT NOT NULL",
        "body BLOB NOT NULL",
        "sum BLOB NOT NULL",
    ),
    "consumers": ("name TEXT PRIMARY KEY", "acked INTEGER NOT NULL", "away REAL"),
    "counts": ("name TEXT PRIMARY KEY", "n INTEGER NOT NULL"),
    "clock": ("one INTEGER PRIMARY KEY CHECK (one = 1)", "age REAL", "wall REAL"),
    "refused": (
        "consumer TEXT NOT NULL",
        "error TEXT NOT NULL",
        "tries INTEGER NOT NULL",
        "again INTEGER NOT NULL",
        "seq INTEGER NOT NULL",
        "age REAL NOT NULL",
        "wall REAL NOT NULL",
        "kind TEXT NOT NULL",
        "body BLOB NOT NULL",
        "sum BLOB NOT NULL",
    ),
}
_INDEXES = (
    "CREATE INDEX events_by_age ON events (age)",
    "CREATE UNIQUE INDEX refused_once ON refused (seq, consumer)",
)
EVENT = "seq, age, wall, kind, body, sum"


class DamagedError(sqlite3.DatabaseError):
    """The file is no outbox, or holds what this program never writes."""


class Db(sqlite3.Connection):
    """A connection whose every error is an `sqlite3.Error`, whatever bytes the file has."""

    def __init__(self, path: str, **more: Any) -> None:
        super().__init__(path, isolation_level=None, check_same_thread=False, **more)
        self.text_factory = lambda raw: raw.decode("utf-8", "replace")

    def execute(self, *args: Any) -> sqlite3.Cursor:
        """See sqlite3.Connection."""
        try:
            return super().execute(*args)
        except UnicodeDecodeError as error:  # an error message that names a damaged table
            raise DamagedError("malformed database schema") from error


class Cursor(NamedTuple):
    """How far a consumer is. away: service time since which nothing delivers to it, None while
    something does."""

    acked: int
    away: float | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """One row. seq: from 1, rising, in this file only. age: seconds of service time at writing.

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

    @property
    def row(self) -> tuple[object, ...]:
        """The columns of `EVENT`."""
        return (self.seq, self.age, self.wall, self.kind, self.body, self.checksum)


@dataclass(frozen=True, slots=True)
class Refused:
    """An event that a consumer will not take as it is. tries: how often it was sent; error: the
    last answer. again: somebody asked to send it once more."""

    consumer: str
    event: Event
    error: str
    tries: int = 1
    again: bool = False


@dataclass(frozen=True, slots=True)
class Changes:
    """What one transaction stores. settled: refused events (consumer, seq) that were taken."""

    events: Sequence[Event] = ()
    cursors: Mapping[str, Cursor] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    refused: Sequence[Refused] = ()
    settled: Sequence[tuple[str, int]] = ()


def event_of(row: Sequence[object]) -> Event | None:
    """The event in the columns of `EVENT`; None for a damaged row."""
    seq, age, wall, kind, body, total = row
    if not (
        isinstance(seq, int)
        and isinstance(age, float)
        and isinstance(wall, float)
        and isinstance(kind, str)
        and isinstance(body, bytes)
    ):
        return None
    event = Event(seq, age, wall, kind, body)
    return event if event.checksum == total else None


def prepare(db: sqlite3.Connection) -> None:
    """Make the tables in an empty file, or bring those of an earlier version up to date.

    Raises DamagedError for other tables, or those of a later version.
    """
    version = _version(db)
    if version > VERSION:
        raise DamagedError(f"outbox version {version}, this program knows {VERSION}")
    if version < VERSION:
        with transaction(db):
            _upgrade(db)
    wanted = {name: [col.split()[0] for col in cols] for name, cols in _TABLES.items()}
    if _columns(db) != wanted:
        raise DamagedError("not the tables of an outbox")


def _upgrade(db: sqlite3.Connection) -> None:
    version, tables = _version(db), _columns(db).keys()  # another process may have been quicker
    statements: list[str] = []
    if version == 0 and not tables:
        made = [f"CREATE TABLE {name} ({', '.join(cols)})" for name, cols in _TABLES.items()]
        statements = [*made, *_INDEXES]
    elif version == 1 and tables == _TABLES.keys() - {"refused"}:
        made = [f"CREATE TABLE refused ({', '.join(_TABLES['refused'])})", _INDEXES[1]]
        statements = ["ALTER TABLE consumers ADD COLUMN away REAL", *made]
    elif version != VERSION:
        raise DamagedError("not the tables of an outbox")
    for statement in statements:
        db.execute(statement)
    db.execute(f"PRAGMA user_version = {VERSION}")


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """BEGIN IMMEDIATE … COMMIT, or ROLLBACK on any exception."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        # Some errors have rolled back already; the error that led here is the one to report.
        with suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise


def _columns(db: sqlite3.Connection) -> dict[str, list[str]]:
    names = db.execute(
        "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') "
        "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    ).fetchall()
    info = "SELECT name FROM pragma_table_info(?) ORDER BY cid"
    return {name: [row[0] for row in db.execute(info, (name,))] for (name,) in names}


def cursors_of(rows: Sequence[Sequence[object]]) -> dict[str, Cursor]:
    """Rows (name, acked, away). Raises DamagedError."""
    found: dict[str, Cursor] = {}
    for name, acked, away in rows:
        if not isinstance(name, str) or not _whole(acked):
            raise DamagedError("a consumer's position is no number")
        found[name] = Cursor(acked, away if _finite(away) else None)
    return found


def counts_of(rows: Sequence[Sequence[object]]) -> dict[str, int]:
    """Rows (name, n). Raises DamagedError."""
    found: dict[str, int] = {}
    for name, n in rows:
        if not isinstance(name, str) or not _whole(n):
            raise DamagedError("a count is no number")
        found[name] = n
    return found


def clock_of(row: Sequence[object] | None) -> tuple[float, float]:
    """A row (age, wall), (0, 0) for none or one that makes no sense."""
    age, wall = row if row is not None else (0.0, 0.0)
    return (age, wall) if _finite(age) and _finite(wall) else (0.0, 0.0)


def seq_of(row: Sequence[object] | None) -> int:
    """A row (seq,), 0 for none. Raises DamagedError."""
    seq = None if row is None else row[0]
    if seq is not None and not _whole(seq):
        raise DamagedError("a number of an event is none")
    return seq or 0


def _whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and 0 <= value < SEQ_MAX


def _finite(value: object) -> TypeGuard[float]:
    return isinstance(value, float) and math.isfinite(value) and 0 <= value < 1e12
