"""What can be read of a damaged outbox, on both sides of what cannot."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from jetson_face.events import outbox_repair
from jetson_face.events.outbox_file import OutboxFile, is_damaged, is_full
from jetson_face.events.outbox_repair import _around, clear_drafts, put_aside, put_back, salvage
from jetson_face.events.outbox_rows import SEQ_MAX, Changes, Cursor, Event, Refused


class Torn:
    """Answers a query for rows 1 to 40 in order, up to the first that cannot be read."""

    def __init__(self, damaged: set[int]) -> None:
        self._damaged = damaged

    def execute(self, query: str, args: tuple[int, int, int]) -> Iterator[tuple[int, str]]:
        low, high, limit = args
        numbers = [n for n in range(1, 41) if low < n < high]
        backwards = {"ASC": False, "DESC": True}[query.partition("ORDER BY rowid ")[2].split()[0]]
        for number in sorted(numbers, reverse=backwards)[:limit]:
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
        (error(sqlite3.DatabaseError, "fullness is no column", 1), True, False),
        (error(sqlite3.IntegrityError, "UNIQUE constraint failed", 19), False, False),
        (error(sqlite3.ProgrammingError, "Cannot operate on a closed database."), False, False),
        (error(OSError, "Input/output error"), False, False),
        (OSError(errno.ENOSPC, "No space left on device", "/data/outbox.db"), False, True),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/data/outbox.db"), False, True),
        (OSError(errno.EACCES, "Permission denied", "/data/full/outbox.db"), False, False),
    ],
)
def test_the_file_is_to_blame_or_the_disk(found: Exception, *, damaged: bool, full: bool) -> None:
    assert (is_damaged(found), is_full(found)) == (damaged, full)


# --- salvage -------------------------------------------------------------------------------------


def test_of_a_file_that_is_not_there_nothing_is_salvaged_and_none_is_made(tmp_path: Path) -> None:
    assert salvage(tmp_path / "outbox.db") == Changes()
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_found_by_any_name_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a b#c").mkdir()
    monkeypatch.chdir(tmp_path / "a b#c")
    path = Path("out%20box?mode=rwc.db")
    events = [Event(n, 0.5, 1.7e9, "k", b"{}") for n in (1, 2, 3)]
    with closing(OutboxFile(path)) as file:
        file.write(Changes(events))
    before = path.read_bytes()
    assert salvage(path).events == events
    assert salvage(path, 2).events == events[:2]
    assert path.read_bytes() == before


def test_what_makes_no_sense_is_left_out_and_the_rest_kept(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    events = [Event(n, 0.5, 1.7e9, "k", b"{}") for n in (1, 2, 3)]
    refused = [Refused("a", one, "422") for one in events]
    cursors = {"a": Cursor(1), "b": Cursor(2), "c": Cursor(3)}
    with closing(OutboxFile(path)) as file:
        file.write(Changes(events, cursors, {"age": 1, "memory": 2, "size": 3}, refused))
        for damage in (
            "UPDATE events SET age = 9.0 WHERE seq = 2",
            "UPDATE refused SET age = 9.0 WHERE seq = 1",
            "UPDATE consumers SET acked = 'x' WHERE name = 'b'",
            "UPDATE counts SET n = 'x' WHERE name = 'memory'",
        ):
            file._db.execute(damage)
    kept = salvage(path)
    assert kept.events == [events[0], events[2]]
    assert kept.cursors == {"a": Cursor(1), "c": Cursor(3)}
    assert kept.counts == {"age": 1, "size": 3}
    assert kept.refused == refused[1:]


def test_a_search_for_readable_rows_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each place that cannot be read is looked for from both its sides; not without end."""
    looks: list[tuple[int, int]] = []

    class Unreadable:
        def execute(self, query: str, args: tuple[int, int, int]) -> Iterator[tuple[int, str]]:
            looks.append(args[:2])
            raise sqlite3.DatabaseError("database disk image is malformed")

    found = list(_around(cast("sqlite3.Connection", Unreadable()), "body", "events", 1000))
    assert found == []
    assert len(looks) == 400
    assert looks[0] == (0, SEQ_MAX)
    monkeypatch.setattr(outbox_repair, "SEQ_MAX", 5)
    looks.clear()
    assert list(_around(cast("sqlite3.Connection", Unreadable()), "body", "events", 9)) == []
    # Down to single numbers, and no number twice.
    assert sorted(set(looks)) == [(0, 2), (0, 3), (0, 5), (1, 3), (2, 4), (2, 5), (3, 5)]
    assert len(looks) == 2 * 7


def test_a_table_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE consumers (name TEXT, acked INTEGER)")
        db.execute("INSERT INTO consumers VALUES ('a', 7)")
        db.commit()
    assert salvage(path) == Changes([], {"a": Cursor(7)}, {}, [])


# --- files beside it -----------------------------------------------------------------------------

BESIDE = ("-wal", "-shm", "-journal")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_put_aside_without_what_belongs_to_it(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    for suffix in ("", *BESIDE):
        path.with_name(f"outbox.db{suffix}").write_text(suffix)
    path.with_name("outbox.db.broken").write_text("an earlier one")
    assert put_aside(path) == tmp_path / "outbox.db.broken"
    assert names(tmp_path) == ["outbox.db.broken"]
    assert (tmp_path / "outbox.db.broken").read_text() == ""
    with pytest.raises(FileNotFoundError):
        put_aside(path)


@pytest.mark.parametrize("other", [False, True])
def test_an_open_file_is_written_back_to_its_place(tmp_path: Path, *, other: bool) -> None:
    path = tmp_path / "outbox.db"
    file = OutboxFile(path)
    file.write(Changes([Event(1, 0.5, 1.7e9, "k", b"{}")]))
    for name in names(tmp_path):
        (tmp_path / name).unlink()
    if other:
        path.write_text("another")
    for suffix in BESIDE:  # of whatever was there meanwhile
        path.with_name(f"outbox.db{suffix}").write_text("another's")
    synced: list[Path] = []
    fsync = os.fsync

    def sync(fd: int) -> None:
        synced.append(Path(f"/proc/self/fd/{fd}").readlink())
        fsync(fd)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        aside = put_back(file, path)
    assert synced == [tmp_path]
    assert aside == (tmp_path / "outbox.db.broken" if other else None)
    assert names(tmp_path) == ["outbox.db", *(["outbox.db.broken"] if other else [])]
    with pytest.raises(sqlite3.ProgrammingError):
        file.rows()
    with closing(OutboxFile(path)) as again:
        assert again.rows() == 1


def test_only_drafts_are_cleared_away(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    for name in ("outbox.db", "outbox.db-wal", "outbox.db.new", "outbox.db.broken"):
        path.with_name(name).write_text("x")
    for suffix in BESIDE:
        path.with_name(f"outbox.db.new{suffix}").write_text("x")
    clear_drafts(path)
    assert names(tmp_path) == ["outbox.db", "outbox.db-wal", "outbox.db.broken"]
    path.with_name("outbox.db.new").mkdir()  # what cannot be removed stays
    path.with_name("outbox.db.new-shm").write_text("x")
    clear_drafts(path)
    assert names(tmp_path) == ["outbox.db", "outbox.db-wal", "outbox.db.broken", "outbox.db.new"]
