"""What to do when the outbox's file is damaged, or was taken away: keep what can be read of it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jetson_face.events.outbox_file import OutboxFile
from jetson_face.events.outbox_rows import (
    EVENT,
    SEQ_MAX,
    Changes,
    Cursor,
    DamagedError,
    Db,
    Refused,
    counts_of,
    cursors_of,
    event_of,
)

_ROWS_MAX = 1_000_000
_PROBES_MAX = 200
_UNREADABLE = (sqlite3.Error, OverflowError, MemoryError)
_BESIDE = ("-wal", "-shm", "-journal")
_DRAFT = ".new"


def salvage(path: Path, limit: int = _ROWS_MAX) -> Changes:
    """Everything in a damaged file that can still be read, also of an earlier version; never
    raises."""
    try:
        db = Db(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error:
        return Changes()
    try:
        cursors: dict[str, Cursor] = {}
        counts: dict[str, int] = {}
        for name, acked in _rows(db, "SELECT name, acked FROM consumers"):
            with contextlib.suppress(DamagedError):
                cursors |= cursors_of([(name, acked, None)])
        for row in _rows(db, "SELECT name, n FROM counts"):
            with contextlib.suppress(DamagedError):
                counts |= counts_of([row])
        events = [event_of(row) for row in _around(db, EVENT, "events", limit)]
        refused: list[Refused] = []
        for name, error, *row in _around(db, f"consumer, error, {EVENT}", "refused", limit):
            event = event_of(row)
            if event is not None:
                refused.append(Refused(str(name), event, str(error)))
        return Changes([event for event in events if event is not None], cursors, counts, refused)
    finally:
        db.close()


def _rows(db: sqlite3.Connection, query: str) -> Iterator[Sequence[Any]]:
    """As many rows as can be read."""
    with contextlib.suppress(*_UNREADABLE):
        yield from db.execute(query)


def _around(
    db: sqlite3.Connection, columns: str, table: str, limit: int
) -> Iterator[Sequence[Any]]:
    """The rows of a table on both sides of what cannot be read, and between such places."""
    spans = [(0, SEQ_MAX)]
    for _ in range(_PROBES_MAX):
        if not spans:
            return
        low, high = spans.pop()
        for order in ("ASC", "DESC"):
            query = (
                f"SELECT rowid, {columns} FROM {table} WHERE rowid > ? AND rowid < ? "
                f"ORDER BY rowid {order} LIMIT ?"
            )
            try:
                for number, *row in db.execute(query, (low, high, limit)):
                    low, high = (number, high) if order == "ASC" else (low, number)
                    yield row
                break  # to the end of the span
            except _UNREADABLE:
                continue
        else:
            middle = (low + high) // 2
            spans += [(low, middle + 1), (middle, high)] if high - low > 2 else []


def put_aside(path: Path) -> Path:
    """Rename the file, so that another one can be begun; returns the new name. Raises OSError."""
    aside = path.with_name(f"{path.name}.broken")
    path.replace(aside)
    for suffix in _BESIDE:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    return aside


def begin_again(path: Path, open_file: Callable[[Path], OutboxFile]) -> tuple[Path, int]:
    """Put a damaged file aside, and in its place one with what can be read of it.

    Returns where the damaged one is now, and how many events were kept. Raises OSError,
    sqlite3.Error, as where the disk is full; the damaged file then stands where it was.
    """
    kept = salvage(path)
    clear_drafts(path)
    draft = path.with_name(path.name + _DRAFT)
    try:
        with contextlib.closing(open_file(draft)) as file:
            file.write(kept)
        aside = put_aside(path)
    except BaseException:
        clear_drafts(path)
        raise
    draft.replace(path)
    _sync_folder(path)
    return aside, len(kept.events)


def put_back(file: OutboxFile, path: Path) -> Path | None:
    """Write an open file, which was deleted or replaced, to `path` again, and close it.

    Returns where another file that was there is now. Raises OSError, sqlite3.Error; the file is
    still open then, for another try.
    """
    draft = path.with_name(path.name + _DRAFT)
    file.copy_to(draft)
    aside = put_aside(path) if path.exists() else None
    for suffix in _BESIDE:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    draft.replace(path)
    _sync_folder(path)
    file.close()
    return aside


def _sync_folder(path: Path) -> None:
    """See that a new name is on the disk."""
    fd = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def clear_drafts(path: Path) -> None:
    """Remove what a process that was killed in `begin_again` or `put_back` left; never raises."""
    for suffix in ("", *_BESIDE):
        with contextlib.suppress(OSError):
            path.with_name(path.name + _DRAFT + suffix).unlink()
