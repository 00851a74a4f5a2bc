"""What happened, kept for people: events with their face crops in one SQLite file.

The service adds, while others read: the operator's page, `jetson-face events`. A file that cannot
be used costs history, never recognition: what cannot be written waits in memory, counted when it
is lost; a damaged file is set aside.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from jetson_face.core.errors import JetsonFaceError, OutputError, UsageError
from jetson_face.core.protocols import Cipher
from jetson_face.events import history_rows as rows
from jetson_face.events.history_rows import Marks, StoredEvent
from jetson_face.events.redaction import mask_id, mask_names
from jetson_face.events.schema import to_json
from jetson_face.util import sqlite
from jetson_face.util.files import Inode

__all__ = ["Erased", "History", "HistoryLimits", "HistoryState", "Marks", "NewEvent", "StoredEvent"]

logger = logging.getLogger(__name__)
PAGE_MAX = 1000
"""Events that one page may have."""
_MEMORY_MAX = 10_000
_CROPS_IN_MEMORY = 100
_RETRY_S = 1.0
_JPEG = b"\xff\xd8"
_WHAT, _REMEDY = "the event history", "remove it; only events that happened are in it"


class NewEvent(NamedTuple):
    """An event by the schema, as it was made or as the bytes that were stored; its face as JPEG."""

    event: Mapping[str, Any] | bytes
    jpeg: bytes | None = None
    age: float | None = None


class Erased(NamedTuple):
    """events: that lost name and id. crops: that were deleted."""

    events: int
    crops: int


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """max_age_s: service seconds (`Outbox.age`). max_bytes: of the file's used pages; beyond, the
    oldest crops go first, then the oldest events."""

    max_age_s: float = 30 * 86400.0
    max_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True)
class HistoryState:
    """For the status. events: stored. memory: that wait for the disk. lost: that it never took.
    error: why the disk takes nothing, None while it does."""

    events: int
    memory: int
    lost: int
    error: str | None


class History:
    """See the module. Any thread; reading never waits for writing.

    path: made where it is not. cipher: seals crops, None keeps them in the clear. age: service
    seconds now, never wall time: a clock step must expire nothing. Nothing is opened before it is
    used. What reads raises GalleryCorruptError, GalleryLockedError or OutputError for a file that
    cannot be used.
    """

    def __init__(
        self,
        path: Path,
        cipher: Cipher | None = None,
        *,
        age: Callable[[], float] = lambda: 0.0,
        limits: HistoryLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.path = path
        self._cipher, self._age, self._limits = cipher, age, limits or HistoryLimits()
        self._clock, self._wall = clock, wall
        self._write_lock, self._read_lock = threading.RLock(), threading.RLock()
        self._writer: _Open | None = None
        self._reader: _Open | None = None
        self._memory: deque[NewEvent] = deque()
        self._marks: Marks | None = None
        self._lost, self._retry_at = 0, clock()
        self._error: str | None = None

    # Writing

    def add(self, events: Sequence[NewEvent]) -> bool:
        """Store events and crops in one transaction; on True they are on the disk. Never raises for
        a bad disk: they wait in memory then, the oldest making room. An id that is there is left.
        """
        with self._write_lock:
            self._memory.extend(events)
            stored = self._flush()
            while len(self._memory) > _MEMORY_MAX:
                self._memory.popleft()
                self._lost += 1
            for index in range(len(self._memory) - _CROPS_IN_MEMORY):
                self._memory[index] = self._memory[index]._replace(jpeg=None)
            return stored

    def mark(self, marks: Marks) -> None:
        """Remember up to where history and outbox hold the same; goes to the disk with what is
        added next, or with `flush`."""
        with self._write_lock:
            self._marks = marks

    def marks(self) -> Marks:
        """As last stored. Raises as the module says."""
        return self._read(rows.read_marks)

    def flush(self) -> bool:
        """Write what waits, if the disk takes it."""
        with self._write_lock:
            return self._flush()

    def retry(self) -> None:
        """Write what waits in memory, if the disk takes it by now. For a timer; cheap."""
        if self._memory:
            self.flush()

    def last(self) -> int:
        """The newest cursor; 0 for none."""
        return self._read(rows.last_cursor)

    def prune(self) -> int:
        """Delete what is too old or too much; returns how many events. For a timer."""
        limits = self._limits

        def shrink(db: sqlite3.Connection) -> int:
            gone = rows.delete_older(db, self._age() - limits.max_age_s)
            return gone + rows.shrink(db, limits.max_bytes)

        with self._write_lock:
            self._flush()
            return self._use(shrink) or 0

    def erase(self, person: str) -> Erased:
        """Take a person's name and id out of every event, and delete the crops of every face that
        was ever called by them; the bytes are gone from the file on return. Raises."""

        def mask(body: bytes) -> bytes:
            return mask_id(mask_names(body, person), person)

        with self._write_lock, self._raising():
            self._retry_at = self._clock()
            if not self._flush():  # what waits in memory has faces, too
                raise OutputError(f"{self.path}: {_WHAT} cannot be used: {self._error}")
            db = self._open().db
            events, crops = rows.erase(db, person, mask)
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return Erased(events, crops)

    def forget_face(self, source: str, run: str, track: int) -> None:
        """Delete the crops of a track, on the disk and in memory. Never raises for a bad disk: what
        cannot be deleted now goes with its age."""
        with self._write_lock:
            for index, new in enumerate(self._memory):
                row = rows.Row.of(_body(new.event), 0.0)
                if (row.source, row.run, row.track) == (source, run, track):
                    self._memory[index] = new._replace(jpeg=None)
            self._use(lambda db: rows.forget_face(db, source, run, track))

    # Reading

    def page(
        self,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int = 100,
        person: str | None = None,
        source: str | None = None,
        kind: str | None = None,
        state: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> list[StoredEvent]:
        """Events newest first, those older than the cursor `before`; with `after` those newer than
        it, oldest first.

        limit: 1 to PAGE_MAX. person: an id, or a name as it was then; also who an event says was
        meant before. since, until: ISO 8601 with a zone, or UTC; both ends count.
        Raises UsageError for what is none of this.
        """
        if not 1 <= limit <= PAGE_MAX:
            raise UsageError(f"limit {limit}: a page has 1 to {PAGE_MAX} events")
        wanted = rows.HistoryFilter(
            before, after, person, source, kind, state, rows.moment(since), rows.moment(until)
        )
        return self._read(lambda db: rows.read_page(db, wanted, limit))

    def last_seen(self) -> dict[str, dict[str, Any]]:
        """By person (id): the last event in which a face was called by them."""
        return self._read(rows.last_seen)

    def get(self, event_id: str) -> StoredEvent | None:
        """The event of an id."""
        return self._read(lambda db: rows.read_event(db, event_id))

    def cursor_at(self, event_id: str) -> int:
        """The cursor of an event; where it is not there any more, of the newest one that was made
        before it; 0 for none."""
        return self._read(lambda db: rows.cursor_at(db, event_id))

    def crop(self, event_id: str) -> bytes | None:
        """The event's face as JPEG; None where none is kept. Raises GalleryError where the key is
        not the one it was sealed with; without a key, a sealed one counts as not kept."""
        sealed = self._read(lambda db: rows.read_crop(db, event_id))
        if sealed is None or sealed.startswith(_JPEG):  # kept while encryption was off
            return sealed
        return None if self._cipher is None else self._cipher.decrypt(sealed, _context(event_id))

    def state(self) -> HistoryState:
        """A snapshot; never raises."""
        try:
            count = self._read(rows.count)
        except JetsonFaceError as error:
            return HistoryState(0, len(self._memory), self._lost, self._error or str(error))
        return HistoryState(count, len(self._memory), self._lost, self._error)

    def close(self) -> None:
        """Write what waits, and close; harmless when repeated."""
        with self._write_lock, self._read_lock:
            if self._writer is not None or self._memory:
                self._retry_at = self._clock()
                self._flush()
            if self._memory:
                logger.error("history_lost events=%d error=%s", len(self._memory), self._error)
            for opened in (self._writer, self._reader):
                if opened is not None:
                    opened.close()
            self._writer = self._reader = None

    # The file

    def _flush(self) -> bool:
        """Write the memory and the marks; False where the disk takes nothing."""
        if self._error is not None and self._clock() < self._retry_at:
            return False
        waiting, marks = list(self._memory), self._marks
        if not waiting and marks is None:
            return True
        new = [self._row(event) for event in waiting]
        if self._use(lambda db: rows.insert(db, new, marks)) is None:
            return False
        self._memory.clear()
        self._marks = None
        return True

    def _row(self, new: NewEvent) -> rows.Row:
        body = _body(new.event)
        row = rows.Row.of(body, self._age() if new.age is None else new.age)
        if new.jpeg is None:
            return row
        sealed = self._cipher.encrypt(new.jpeg, _context(row.id)) if self._cipher else new.jpeg
        return replace(row, crop=sealed)

    def _use(self, call: Callable[[sqlite3.Connection], int]) -> int | None:
        """Change the file; None where that is not possible now."""
        for attempt in range(2):
            try:
                found = call(self._open().db)
            except (*sqlite.RAISED, OSError) as error:
                self._drop_writer()
                if attempt == 0 and self._set_aside(error):
                    continue
                self._retry_at = self._clock() + _RETRY_S
                if self._error is None:
                    logger.error("history_not_kept path=%s error=%s", self.path, error)
                self._error = str(error)
                return None
            break
        if self._error is not None:
            logger.warning("history_back path=%s", self.path)
            self._error = None
        return found

    def _open(self) -> _Open:
        if self._writer is not None and not self._writer.in_place:
            logger.error("history_gone path=%s begun=again", self.path)
            self._drop_writer()
        if self._writer is None:
            self._writer = _Open(self.path, first=int(self._wall() * 1000))
        return self._writer

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _set_aside(self, error: Exception) -> bool:
        """Move a damaged file away; True where the next try finds a new one."""
        if isinstance(error, OSError) or sqlite.fault(error) != "damaged":
            return False
        aside = self.path.with_name(f"{self.path.name}.broken")
        logger.error("history_damaged path=%s kept_as=%s error=%s", self.path, aside, error)
        try:
            self.path.replace(aside)
            for suffix in ("-wal", "-shm"):
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
        except OSError:
            return False
        return True

    def _read(self, call: Callable[[sqlite3.Connection], rows.T]) -> rows.T:
        with self._read_lock, self._raising():
            if self._reader is not None and not self._reader.in_place:
                self._reader.close()
                self._reader = None
            if self._reader is None:
                self._reader = _Open(self.path, first=int(self._wall() * 1000))
            return call(self._reader.db)

    @contextlib.contextmanager
    def _raising(self) -> Iterator[None]:
        with sqlite.in_our_words(self.path, _WHAT, _REMEDY):
            yield


class _Open:
    """A connection to the file. first: the first cursor of a new file. Raises `sqlite.RAISED`,
    OSError."""

    def __init__(self, path: Path, *, first: int) -> None:
        self._path = path
        self.db = sqlite.connect(path)
        try:
            self._inode = Inode.of(path.stat())
            sqlite.prepare(self.db, wal_autocheckpoint=256, journal_size_limit=1 << 20)
            rows.make_tables(self.db, first)
        except BaseException:
            self.close()
            raise

    @property
    def in_place(self) -> bool:
        """The path still leads to this file."""
        return self._inode.is_at(self._path)

    def close(self) -> None:
        """Harmless when repeated."""
        self.db.close()


def _body(event: Mapping[str, Any] | bytes) -> bytes:
    if isinstance(event, bytes):
        return event
    return to_json(event)


def _context(event_id: str) -> bytes:
    return f"history {event_id}".encode()
