"""The SQLite file of the outbox: rows with checksums, cursors, bounds. Raises `sqlite3.Error`.

WAL with `synchronous=FULL`: when a transaction returned, its rows are on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jetson_face.events.outbox_rows import (
    EVENT,
    Changes,
    Cursor,
    DamagedError,
    Db,
    Event,
    Refused,
    clock_of,
    counts_of,
    cursors_of,
    event_of,
    prepare,
    seq_of,
    transaction,
)
from jetson_face.util.files import Inode

_CHUNK = 500
_MAGIC = b"SQLite format 3\0"
_REFUSED = f"consumer, error, tries, again, {EVENT}"
_OPEN: Counter[Inode] = Counter()
_OPENING = threading.Lock()
"""How often this process has a file open, and what holds that still. Closing any descriptor of such
a file would drop the locks of its connections, and another process would delete the log under
them, with the events in it."""


@dataclass(frozen=True, slots=True)
class Evicted:
    """rows deleted; unread: how many of them some consumer had not acknowledged; refused: deleted
    of those that were set aside."""

    rows: int
    unread: int
    refused: int = 0


class OutboxFile:
    """An open outbox file. One thread at a time. Every method may raise `sqlite3.Error`."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._inode = _begin(path)
        self._open = True
        try:
            self._db = Db(str(path), timeout=5)
        except BaseException:
            self._end()
            raise
        try:
            self._set_up()
        except BaseException:
            self._db.close()
            self._end()
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
        prepare(self._db)

    @property
    def in_place(self) -> bool:
        """The path still leads to this file."""
        return self._inode.is_at(self._path)

    def copy_to(self, path: Path) -> None:
        """Write all of it to another file, also when this one was deleted."""
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.unlink(missing_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with contextlib.closing(sqlite3.connect(path)) as copy:
            self._db.backup(copy)

    @property
    def foreign_changes(self) -> int:
        """A number that is another one after another program wrote to the file."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def write(self, changes: Changes) -> None:
        """Store everything in one transaction; on return it is on the disk.

        An event that is there already is left: the attempt before may have reached the disk
        although it reported an error.
        """
        cursors = [(name, *cursor) for name, cursor in changes.cursors.items()]
        refused = [
            (r.consumer, r.error, r.tries, int(r.again), *r.event.row) for r in changes.refused
        ]
        with transaction(self._db):
            for statement, rows in (
                ("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?, ?, ?)",
                 [event.row for event in changes.events]),
                ("INSERT OR REPLACE INTO consumers VALUES (?, ?, ?)", cursors),
                ("INSERT OR REPLACE INTO counts VALUES (?, ?)", list(changes.counts.items())),
                ("INSERT OR REPLACE INTO refused VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", refused),
                ("DELETE FROM refused WHERE consumer = ? AND seq = ?", changes.settled),
            ):  # fmt: skip
                self._db.executemany(statement, rows)

    def read(self, after: int, limit: int) -> tuple[list[Event], list[int]]:
        """Up to `limit` rows after `after`, oldest first, and the numbers of damaged ones."""
        found = self._db.execute(
            f"SELECT {EVENT} FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
        )
        good: list[Event] = []
        bad: list[int] = []
        for row in found:
            event = event_of(row)
            if event is not None:
                good.append(event)
            else:
                bad.append(row[0])
        return good, bad

    def refused(
        self, consumer: str | None = None, *, again: bool = False, limit: int = -1
    ) -> list[Refused]:
        """What consumers, or one, will not take, oldest first; again: that is to be sent again.
        Damaged rows are passed over. limit: -1 for all."""
        found: list[Refused] = []
        for row in self._db.execute(
            f"SELECT {_REFUSED} FROM refused WHERE consumer = ifnull(?, consumer) "
            "AND again >= ? ORDER BY seq LIMIT ?",
            (consumer, int(again), limit),
        ):
            name, error, tries, marked, *rest = row
            event = event_of(rest)
            if event is not None:
                found.append(Refused(str(name), event, str(error), seq_of((tries,)), bool(marked)))
        return found

    def ask_again(self, which: Sequence[tuple[str, int]]) -> int:
        """Mark refused events (consumer, seq) to be sent once more; returns how many there are."""
        with transaction(self._db):
            return self._db.executemany(
                "UPDATE refused SET again = 1 WHERE consumer = ? AND seq = ?", which
            ).rowcount

    def refused_counts(self) -> dict[str, int]:
        """How many each consumer has."""
        return counts_of(
            self._db.execute("SELECT consumer, count(*) FROM refused GROUP BY consumer").fetchall()
        )

    def rewrite(self, needle: bytes, new_body: Callable[[bytes], bytes]) -> int:
        """Give every row whose body holds `needle` a new body and checksum; returns how many
        events.

        A few hundred rows in a transaction: a service that writes meanwhile waits for no more. A
        damaged row is removed. Returns when the old bytes are gone from the file.
        """
        events = self._rewrite("events", needle, new_body)
        apart = self._rewrite("refused", needle, new_body) - events
        # A receiver may have said of whom it will not hear.
        with transaction(self._db):
            self._db.execute(
                "UPDATE refused SET error = '' WHERE instr(CAST(error AS BLOB), ?) > 0", (needle,)
            )
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return len(events | apart)

    def _rewrite(self, table: str, needle: bytes, new_body: Callable[[bytes], bytes]) -> set[int]:
        found = self._db.execute(
            f"SELECT {EVENT}, rowid FROM {table} WHERE instr(body, ?) > 0", (needle,)
        ).fetchall()
        for start in range(0, len(found), _CHUNK):
            with transaction(self._db):
                for *row, number in found[start : start + _CHUNK]:
                    event = event_of(row)
                    if event is None:
                        self._db.execute(f"DELETE FROM {table} WHERE rowid = ?", (number,))
                        continue
                    event = replace(event, body=new_body(event.body))
                    self._db.execute(
                        f"UPDATE {table} SET body = ?, sum = ? WHERE rowid = ?",
                        (event.body, event.checksum, number),
                    )
        return {row[0] for row in found}

    def delete(self, seqs: Sequence[int]) -> None:
        """Remove rows by number. Raises DamagedError for one that does not stand in its place."""
        with transaction(self._db):
            rows = [(seq,) for seq in seqs]
            if self._db.executemany("DELETE FROM events WHERE seq = ?", rows).rowcount < len(rows):
                raise DamagedError("rows stand in another order than their numbers")

    def evict_older(self, age: float, low: int) -> Evicted:
        """Remove the rows written before `age`, seconds of service time. low: every consumer has
        acknowledged up to here."""
        return self._evict("age < ?", age, low)

    def evict_share(self, share: float, low: int) -> Evicted:
        """Remove the oldest `share` of all rows, at least one; refused ones among them."""
        both = "SELECT seq FROM events UNION ALL SELECT seq FROM refused"
        count = self._db.execute(f"SELECT count(*) FROM ({both})").fetchone()[0]
        nth = self._db.execute(
            f"{both} ORDER BY seq LIMIT 1 OFFSET ?", (max(0, int(count * share) - 1),)
        ).fetchone()
        return self._evict("seq <= ?", seq_of(nth), low)

    def _evict(self, where: str, value: float, low: int) -> Evicted:
        with transaction(self._db):
            unread = self._db.execute(
                f"SELECT count(*) FROM events WHERE {where} AND seq > ?", (value, low)
            ).fetchone()[0]
            rows, refused = (
                self._db.execute(f"DELETE FROM {table} WHERE {where}", (value,)).rowcount
                for table in ("events", "refused")
            )
        return Evicted(rows, unread, refused)

    def used_bytes(self) -> int:
        """Bytes of pages that hold something."""
        pages, free, size = (
            self._db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def rows(self) -> int:
        """Events stored."""
        return int(self._db.execute("SELECT count(*) FROM events").fetchone()[0])

    def first_seq(self) -> int:
        """The lowest number stored; 0 for none."""
        return seq_of(self._db.execute("SELECT min(seq) FROM events").fetchone())

    def last_seq(self) -> int:
        """The highest number ever given, also when its row is gone; 0 for none."""
        query = "SELECT seq FROM sqlite_sequence WHERE name = 'events'"
        acked = [cursor.acked for cursor in self.cursors().values()]
        return max(seq_of(self._db.execute(query).fetchone()), *acked, 0)

    def cursors(self) -> dict[str, Cursor]:
        """How far each consumer is."""
        return cursors_of(self._db.execute("SELECT name, acked, away FROM consumers").fetchall())

    def counts(self) -> dict[str, int]:
        """The counters that outlive the process."""
        return counts_of(self._db.execute("SELECT name, n FROM counts").fetchall())

    def forget(self, consumer: str) -> None:
        """Remove a consumer."""
        with transaction(self._db):
            self._db.execute("DELETE FROM consumers WHERE name = ?", (consumer,))

    def save_clock(self, age: float, wall: float) -> None:
        """Keep the service time."""
        with transaction(self._db):
            self._db.execute("INSERT OR REPLACE INTO clock VALUES (1, ?, ?)", (age, wall))

    def last_clock(self) -> tuple[float, float]:
        """The newest known (service time, wall time), (0, 0) for a new file."""
        kept = self._db.execute("SELECT age, wall FROM clock").fetchone()
        newest = self._db.execute("SELECT age, wall FROM events ORDER BY seq DESC LIMIT 1")
        return max(clock_of(kept), clock_of(newest.fetchone()))

    def close(self) -> None:
        """Close; never raises."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()
        self._end()

    def _end(self) -> None:
        with _OPENING:
            _OPEN[self._inode] -= self._open
            self._open = False
            if not _OPEN[self._inode]:
                del _OPEN[self._inode]


def _begin(path: Path) -> Inode:
    """Make the file where there is none, see that it can be a database, and count it as open."""
    with _OPENING:
        with contextlib.suppress(FileNotFoundError):
            inode = Inode.of(path.stat())
            if inode in _OPEN:
                _OPEN[inode] += 1
                return inode
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            found, head = os.fstat(fd), os.pread(fd, 20, 0)
        finally:
            os.close(fd)
        # What stands there says who may write, and would look like a disk that takes nothing.
        if head and not (head.startswith(_MAGIC) and set(head[18:20]) <= {1, 2}):
            raise DamagedError("file is not a database")
        inode = Inode.of(found)
        _OPEN[inode] += 1
        return inode


def is_full(error: Exception) -> bool:
    """The disk has no room."""
    if isinstance(error, OSError):  # its text has the path in it
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "disk is full" in str(error)


def is_damaged(error: Exception) -> bool:
    """The file, not the disk, is at fault."""
    if isinstance(error, sqlite3.OperationalError):
        # Our statements are right: what SQLite cannot make sense of then is the file. Python 3.10
        # does not tell the code.
        code = getattr(error, "sqlite_errorcode", None)
        return code == 1 or (code is None and "unsupported file format" in str(error))
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.IntegrityError | sqlite3.ProgrammingError
    )
