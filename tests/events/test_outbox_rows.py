"""What rows of the outbox's tables mean, whatever stands in them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jetson_face.events.outbox_rows import (
    SEQ_MAX,
    VERSION,
    Cursor,
    DamagedError,
    Db,
    Event,
    _upgrade,
    clock_of,
    counts_of,
    cursors_of,
    event_of,
    prepare,
    seq_of,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("row", "clock"),
    [
        (None, (0.0, 0.0)),
        ((3.5, 1.7e9), (3.5, 1.7e9)),
        ((0.0, 0.5), (0.0, 0.5)),
        ((NAN, 1.7e9), (0.0, 0.0)),
        ((3.5, NAN), (0.0, 0.0)),
        ((-1.0, 1.7e9), (0.0, 0.0)),
        ((3.5, 1e12), (0.0, 0.0)),
        ((3, 1.7e9), (0.0, 0.0)),
        ((None, None), (0.0, 0.0)),
    ],
)
def test_a_clock_that_makes_no_sense_is_none(
    row: Sequence[Any] | None, clock: tuple[float, float]
) -> None:
    assert clock_of(row) == clock


def test_a_place_has_since_when_nobody_delivers_to_it() -> None:
    found = cursors_of([("a", 3, 7.5), ("b", 0, None), ("c", 1, NAN), ("d", SEQ_MAX - 1, 0.0)])
    assert found == {
        "a": Cursor(3, 7.5),
        "b": Cursor(0),
        "c": Cursor(1),
        "d": Cursor(SEQ_MAX - 1, 0.0),
    }


@pytest.mark.parametrize("number", [-1, SEQ_MAX, 1.0, "1", b"1"])
def test_what_is_no_number_is_damage(number: object) -> None:
    with pytest.raises(DamagedError, match="a consumer's position is no number"):
        cursors_of([("a", number, None)])
    with pytest.raises(DamagedError, match="a count is no number"):
        counts_of([("a", number)])
    with pytest.raises(DamagedError, match="a number of an event is none"):
        seq_of((number,))


def test_a_count_is_by_its_name() -> None:
    assert counts_of([("age", 3), ("size", 0)]) == {"age": 3, "size": 0}


def test_a_name_that_is_no_text_is_damage() -> None:
    with pytest.raises(DamagedError):
        cursors_of([(b"a", 1, None)])
    with pytest.raises(DamagedError):
        counts_of([(1, 1)])


def test_no_row_is_number_0() -> None:
    assert (seq_of(None), seq_of((None,)), seq_of((0,)), seq_of((5,))) == (0, 0, 0, 5)


@pytest.mark.parametrize(
    ("column", "value"),
    [(0, 8), (0, "7"), (1, 3.5), (1, 3), (2, 2.5), (2, 2), (3, "other"), (3, b"k"), (4, b"{ }"),
     (4, "{}"), (5, b"12345678"), (5, None)],
)  # fmt: skip
def test_a_row_in_which_anything_changed_is_no_event(column: int, value: object) -> None:
    event = Event(7, 3.0, 2.0, "k", b"{}")
    row = list(event.row)
    assert event_of(row) == event
    row[column] = value
    assert event_of(row) is None


NOT_OURS = "^not the tables of an outbox$"
OLD = """
CREATE TABLE events (seq INTEGER PRIMARY KEY AUTOINCREMENT, age REAL NOT NULL, wall REAL NOT NULL,
    kind TEXT NOT NULL, body BLOB NOT NULL, sum BLOB NOT NULL);
CREATE TABLE consumers (name TEXT PRIMARY KEY, acked INTEGER NOT NULL);
CREATE TABLE counts (name TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), age REAL, wall REAL);
"""


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Db]:
    with closing(Db(str(tmp_path / "outbox.db"))) as made:
        yield made


def version_of(db: Db) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def test_tables_are_made_once(db: Db) -> None:
    prepare(db)
    prepare(db)
    assert version_of(db) == VERSION


def test_the_tables_of_the_version_before_get_what_they_lack(db: Db) -> None:
    db.executescript(f"{OLD} PRAGMA user_version = 1; INSERT INTO consumers VALUES ('mqtt', 4)")
    prepare(db)
    assert version_of(db) == VERSION
    assert db.execute("SELECT * FROM consumers").fetchall() == [("mqtt", 4, None)]
    assert db.execute("SELECT * FROM refused").fetchall() == []


def test_tables_that_another_process_made_meanwhile_are_good(db: Db) -> None:
    prepare(db)
    _upgrade(db)
    prepare(db)


@pytest.mark.parametrize(
    ("version", "statements"),
    [
        (0, "CREATE TABLE events (x)"),
        (0, OLD),
        (1, ""),
        (1, "CREATE TABLE events (x)"),
        (1, OLD + "CREATE TABLE more (x)"),
        (2, ""),
        (2, OLD),
    ],
)
def test_tables_that_are_no_outbox_are_damage_and_are_left_alone(
    db: Db, version: int, statements: str
) -> None:
    db.executescript(f"{statements} ; PRAGMA user_version = {version}")
    before = db.execute("SELECT sql FROM sqlite_master").fetchall()
    with pytest.raises(DamagedError, match=NOT_OURS):
        prepare(db)
    assert version_of(db) == version
    assert db.execute("SELECT sql FROM sqlite_master").fetchall() == before


def test_a_later_version_is_left_alone(db: Db) -> None:
    prepare(db)
    db.execute("PRAGMA user_version = 3")
    with pytest.raises(DamagedError, match="outbox version 3, this program knows 2"):
        prepare(db)
    assert version_of(db) == 3


def test_a_statement_outside_of_a_transaction_is_stored_at_once(db: Db, tmp_path: Path) -> None:
    prepare(db)
    db.execute("INSERT INTO counts VALUES ('age', 1)")
    with closing(Db(str(tmp_path / "outbox.db"))) as other:
        assert other.execute("SELECT * FROM counts").fetchall() == [("age", 1)]


def test_a_text_that_is_none_is_read_as_far_as_it_goes(db: Db) -> None:
    assert db.execute("SELECT CAST(x'41ff42' AS TEXT), 'Zoë'").fetchone() == ("A\ufffdB", "Zoë")


def test_any_thread_may_use_a_connection(db: Db) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(db.execute("SELECT 7").fetchone()))
    thread.start()
    thread.join()
    assert found == [(7,)]


def test_a_connection_waits_for_others_as_long_as_it_is_told(tmp_path: Path) -> None:
    with closing(Db(str(tmp_path / "outbox.db"), timeout=0.25)) as waiting:
        assert waiting.execute("PRAGMA busy_timeout").fetchone() == (250,)
