"""What can be read of a damaged outbox, on both sides of what cannot."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from jetson_face.events.outbox_file import OutboxFile, is_damaged, is_full
from jetson_face.events.outbox_repair import _around, salvage
from jetson_face.events.outbox_rows import Changes, Cursor, Event, Refused


class Torn:
    """Answers a query for rows 1 to 40 in order, up to the first that cannot be read."""

    def __init__(self, damaged: set[int]) -> None:
        self._damaged = damaged

    def execute(self, query: str, args: tuple[int, int, int]) -> Iterator[tuple[int, str]]:
        low, high, limit = args
        numbers = [n for n in range(1, 41) if low < n < high]
        for number in sorted(numbers, reverse="DESC" in query)[:limit]:
            if number in self._damaged:
                raise sqlite3.DatabaseError("database disk image is malformed")
            yield number, f"row {number}"


@pytest.mark.parametrize(
    "damaged",
    [set(), {20}, {1}, {40}, {1, 40}, {7, 8, 9}, {7, 9, 23}, {2, 3, 5, 7, 11, 13, 17, 19, 23, 29}],
)
def test_every_row_that_can_be_read_is_kept(damaged: set[int]) -> None:
    torn = cast("sqlite3.Connection", Torn(damaged))
    found = {row for (row,) in _around(torn, "body", "events", 1000)}
    assert found == {f"row {n}" for n in range(1, 41) if n not in damaged}


def test_all_of_a_whole_file_is_salvaged(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    events = [Event(n, 0.5, 1.7e9, "k", b"{}") for n in (1, 2, 3)]
    cursors = {"a": Cursor(1), "b": Cursor(2, 7.0)}
    refused = [Refused("a", events[0], "422"), Refused("b", events[1], "413")]
    with closing(OutboxFile(path)) as file:
        file.write(Changes(events, cursors, {"age": 1, "size": 2}, refused))
    kept: Any = salvage(path)
    assert kept.events == events
    assert kept.cursors == {"a": Cursor(1), "b": Cursor(2)}  # away: since another file's clock
    assert kept.counts == {"age": 1, "size": 2}
    assert kept.refused == refused


def error(kind: type[Exception], text: str, code: int | None = None) -> Exception:
    made = kind(text)
    if code is not None:
        made.sqlite_errorcode = code  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize(
    ("found", "damaged", "full"),
    [
        (error(sqlite3.DatabaseError, "file is not a database", 26), True, False),
        (error(sqlite3.DatabaseError, "database disk image is malformed"), True, False),
        (error(sqlite3.OperationalError, "no such table: events", 1), True, False),
        (error(sqlite3.OperationalError, "unsupported file format"), True, False),
        (error(sqlite3.OperationalError, "disk I/O error", 10), False, False),
        (error(sqlite3.OperationalError, "disk I/O error"), False, False),
        (error(sqlite3.OperationalError, "database or disk is full", 13), False, True),
        (error(sqlite3.OperationalError, "database or disk is full"), False, True),
        (error(sqlite3.IntegrityError, "UNIQUE constraint failed", 19), False, False),
        (error(sqlite3.ProgrammingError, "Cannot operate on a closed database."), False, False),
        (error(OSError, "Input/output error"), False, False),
    ],
)
def test_the_file_is_to_blame_or_the_disk(found: Exception, *, damaged: bool, full: bool) -> None:
    assert (is_damaged(found), is_full(found)) == (damaged, full)
