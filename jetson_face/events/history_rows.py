"""The rows of the event history, and the statements on them. Raises `sqlite.RAISED`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any, TypeVar

from jetson_face.core.errors import UsageError
from jetson_face.util import sqlite

T = TypeVar("T")
_VERSION = 1
# AUTOINCREMENT: a cursor that somebody kept stands for one event, for ever.
_TABLES = """
CREATE TABLE events (
    cursor INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE, age REAL NOT NULL, time TEXT NOT NULL, kind TEXT NOT NULL,
    source TEXT, state TEXT, run TEXT, track INTEGER,
    person TEXT, name TEXT, before_person TEXT, before_name TEXT, body BLOB NOT NULL
);
CREATE TABLE crops (cursor INTEGER PRIMARY KEY, jpeg BLOB NOT NULL);
CREATE TABLE marks (one INTEGER PRIMARY KEY CHECK (one = 1), cursor INTEGER, outbox INTEGER);
CREATE INDEX events_by_age ON events (age);
CREATE INDEX events_by_person ON events (person);
CREATE INDEX events_by_face ON events (source, run, track)
"""
_COLUMNS = (
    "id", "age", "time", "kind", "source", "state", "run", "track",
    "person", "name", "before_person", "before_name", "body",
)  # fmt: skip
_SHOWN = "cursor, body, EXISTS (SELECT 1 FROM crops WHERE crops.cursor = events.cursor)"
_CHUNK = 200
_CURSOR_MAX = (1 << 63) - 1
_SHARE = 10
"""A tenth of the rows goes at once where there are too many bytes."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """cursor: rising, and never used again, also not by a new file. event: by the schema."""

    cursor: int
    event: dict[str, Any]
    has_crop: bool


@dataclass(frozen=True, slots=True)
class Marks:
    """Up to the cursor of the history and the number of the outbox, both hold the same."""

    cursor: int = 0
    outbox: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """What is stored of an event. crop: sealed."""

    id: str
    age: float
    time: str
    kind: str
    source: str | None
    state: str | None
    run: str | None
    track: int | None
    person: str | None
    name: str | None
    before_person: str | None
    before_name: str | None
    body: bytes
    crop: bytes | None = None

    @classmethod
    def of(cls, body: bytes, age: float) -> Row:
        """The columns of an event of our schema."""
        event = json.loads(body)
        before = event.get("before") or {}
        return cls(
            event["id"], age, event["time"], event["kind"], event.get("source"),
            event.get("state"), event.get("run"), event.get("track"),
            event.get("person"), event.get("name"), before.get("person"), before.get("name"), body,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    """Which events; see `History.page`. since, until: as events have their time.

    Raises UsageError for what SQLite cannot even be asked for.
    """

    before: int | None = None
    after: int | None = None
    person: str | None = None
    source: str | None = None
    kind: str | None = None
    state: str | None = None
    since: str | None = None
    until: str | None = None

    def __post_init__(self) -> None:
        for cursor in (self.before, self.after):
            if cursor is not None and abs(cursor) > _CURSOR_MAX:
                raise UsageError("no cursor has so many digits: `events list` shows them first")
        for text in (self.person, self.source, self.kind, self.state):
            try:
                (text or "").encode()
            except UnicodeEncodeError:  # bytes of a command line that are no UTF-8
                raise UsageError(f"{text!r:.60}: not text in UTF-8") from None


def make_tables(db: sqlite3.Connection, first: int) -> None:
    """The tables of a new file. first: its first cursor; later than any of a file before it, as
    long as there is less than an event a millisecond."""
    if sqlite.create_tables(db, _TABLES, _VERSION) != _VERSION:
        raise sqlite3.DatabaseError("a history of another version of this program")
    if db.execute("SELECT 1 FROM sqlite_sequence WHERE name = 'events'").fetchone():
        return
    with sqlite.transaction(db):
        db.execute(
            "INSERT INTO sqlite_sequence SELECT 'events', ? WHERE NOT EXISTS "
            "(SELECT 1 FROM sqlite_sequence WHERE name = 'events')",
            (max(0, first),),
        )


def insert(db: sqlite3.Connection, new: Sequence[Row], marks: Marks | None) -> int:
    """Store rows, passing over those whose id is there, and the marks; returns how many."""
    names, places = ", ".join(_COLUMNS), ", ".join("?" * len(_COLUMNS))
    count = 0
    with sqlite.transaction(db):
        for row in new:
            done = db.execute(
                f"INSERT OR IGNORE INTO events ({names}) VALUES ({places})",
                [getattr(row, name) for name in _COLUMNS],
            )
            if done.rowcount and row.crop is not None:
                db.execute("INSERT INTO crops VALUES (?, ?)", (done.lastrowid, row.crop))
            count += done.rowcount
        if marks is not None:
            db.execute(
                "INSERT OR REPLACE INTO marks VALUES (1, ?, ?)", (marks.cursor, marks.outbox)
            )
    return count


def read_marks(db: sqlite3.Connection) -> Marks:
    """As stored last; zeros for none."""
    found = db.execute("SELECT cursor, outbox FROM marks").fetchone()
    return Marks(*found) if found else Marks()


def last_cursor(db: sqlite3.Connection) -> int:
    """The newest; 0 for none."""
    return int(db.execute("SELECT ifnull(max(cursor), 0) FROM events").fetchone()[0])


def count(db: sqlite3.Connection) -> int:
    """Events stored."""
    return int(db.execute("SELECT count(*) FROM events").fetchone()[0])


def read_page(db: sqlite3.Connection, wanted: HistoryFilter, limit: int) -> list[StoredEvent]:
    """See `History.page`."""
    tests = {
        "before": "cursor < :before",
        "after": "cursor > :after",
        "person": ":person IN (person, name, before_person, before_name)",
        "source": "source = :source",
        "kind": "kind = :kind",
        "state": "state = :state",
        "since": "time >= :since",
        "until": "time <= :until",
    }
    given = {key: value for key, value in asdict(wanted).items() if value is not None}
    where = " AND ".join(["1", *(tests[key] for key in given)])
    order = "ASC" if "after" in given else "DESC"
    found = db.execute(
        f"SELECT {_SHOWN} FROM events WHERE {where} ORDER BY cursor {order} LIMIT :limit",
        given | {"limit": limit},
    ).fetchall()
    return [_shown(row) for row in found]


def last_seen(db: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    """By person (id): the last event in which a face was called by them."""
    # The other columns are those of the row with the largest cursor: SQLite says so.
    found = db.execute(
        "SELECT max(cursor), body FROM events "
        "WHERE person IS NOT NULL AND state = 'known' GROUP BY person"
    )
    events = [json.loads(body) for _, body in found]
    return {event["person"]: event for event in events}


def read_event(db: sqlite3.Connection, event_id: str) -> StoredEvent | None:
    """The event of an id."""
    row = db.execute(f"SELECT {_SHOWN} FROM events WHERE id = ?", (event_id,)).fetchone()
    return None if row is None else _shown(row)


def cursor_at(db: sqlite3.Connection, event_id: str) -> int:
    """Of the event, or of the newest with a lower id: ids rise with the time."""
    row = db.execute(
        "SELECT cursor FROM events WHERE id <= ? ORDER BY id DESC LIMIT 1", (event_id,)
    ).fetchone()
    return 0 if row is None else int(row[0])


def read_crop(db: sqlite3.Connection, event_id: str) -> bytes | None:
    """As it is stored."""
    row = db.execute(
        "SELECT jpeg FROM crops JOIN events USING (cursor) WHERE id = ?", (event_id,)
    ).fetchone()
    return None if row is None else bytes(row[0])


def delete_older(db: sqlite3.Connection, age: float) -> int:
    """Delete what was written before `age`; returns how many events."""
    with sqlite.transaction(db):
        db.execute(
            "DELETE FROM crops WHERE cursor IN (SELECT cursor FROM events WHERE age < ?)", (age,)
        )
        return db.execute("DELETE FROM events WHERE age < ?", (age,)).rowcount


def shrink(db: sqlite3.Connection, max_bytes: int) -> int:
    """Delete the oldest crops, then the oldest events, until the used pages fit; returns how many
    events."""
    gone = 0
    for table in ("crops", "events"):
        while _used_bytes(db) > max_bytes:
            with sqlite.transaction(db):
                rows = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                if rows == 0:
                    break
                done = db.execute(
                    f"DELETE FROM {table} WHERE cursor IN "
                    f"(SELECT cursor FROM {table} ORDER BY cursor LIMIT ?)",
                    (rows // _SHARE + 1,),
                )
                gone += done.rowcount if table == "events" else 0
    return gone


def forget_face(db: sqlite3.Connection, source: str, run: str, track: int) -> int:
    """Delete the crops of a track; returns how many."""
    with sqlite.transaction(db):
        return db.execute(
            "DELETE FROM crops WHERE cursor IN "
            "(SELECT cursor FROM events WHERE source = ? AND run = ? AND track = ?)",
            (source, run, track),
        ).rowcount


def erase(db: sqlite3.Connection, person: str, mask: Callable[[bytes], bytes]) -> tuple[int, int]:
    """Mask every event that names a person, and delete the crops of each face that was ever called
    by them, also before it was; returns (events, crops). A few hundred events in a transaction: a
    service that writes meanwhile waits for no more."""
    named = [
        row[0]
        for row in db.execute(
            "SELECT cursor FROM events WHERE instr(body, ?) > 0", (person.encode(),)
        )
    ]
    crops = 0
    for start in range(0, len(named), _CHUNK):
        with sqlite.transaction(db):
            for cursor in named[start : start + _CHUNK]:
                found = db.execute(
                    "SELECT body, source, run, track FROM events WHERE cursor = ?", (cursor,)
                ).fetchone()
                if found is None:  # it has grown old meanwhile
                    continue
                body, source, run, track = found
                crops += db.execute(
                    "DELETE FROM crops WHERE cursor = ? OR cursor IN (SELECT cursor FROM events "
                    "WHERE source = ? AND run = ? AND track = ?)",
                    (cursor, source, run, track),
                ).rowcount
                row = Row.of(mask(body), 0.0)
                db.execute(
                    "UPDATE events SET person = ?, name = ?, before_person = ?, before_name = ?, "
                    "body = ? WHERE cursor = ?",
                    (row.person, row.name, row.before_person, row.before_name, row.body, cursor),
                )
    return len(named), crops


def moment(text: str | None) -> str | None:
    """A time as events have it: UTC with milliseconds. Raises UsageError."""
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        if when.tzinfo is None:
            when = when.replace(tzinfo=timezone.utc)
        when = when.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r:.60}: not a time; write it like 2026-11-28T09:30:00Z or 2026-11-28"
        ) from None
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _shown(row: Sequence[Any]) -> StoredEvent:
    return StoredEvent(int(row[0]), json.loads(row[1]), bool(row[2]))


def _used_bytes(db: sqlite3.Connection) -> int:
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
