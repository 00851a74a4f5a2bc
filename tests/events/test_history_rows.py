"""What stands in the rows of the history, what is found there, and what goes first."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jetson_face.core.errors import GalleryCorruptError, UsageError
from jetson_face.events import history_rows as rows
from jetson_face.events.history import History, HistoryLimits, Marks, NewEvent, StoredEvent
from jetson_face.events.making import EventMaker
from jetson_face.events.schema import to_json
from jetson_face.privacy.encryption import AesGcm
from tests.events.event_help import ADA, BOB, report, sighting
from tests.events.test_history import FACE, visit

COLUMNS = "id, age, time, kind, source, state, run, track, person, name, before_person, before_name"


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path / "history.db", wall=lambda: 1.0)
    yield made
    made.close()


@pytest.fixture
def db(history: History) -> Iterator[sqlite3.Connection]:
    """The file of `history`, with its tables."""
    assert history.last() == 0
    with closing(sqlite3.connect(history.path, isolation_level=None)) as made:
        yield made


def mistaken() -> list[dict[str, Any]]:
    """A face that was called Ada, and is nobody."""
    maker = EventMaker({"door"})
    return [
        *maker.of(report(0, sighting("known", ADA))),
        *maker.of(report(1, sighting("unknown"))),
    ]


def told(history: History, **filters: Any) -> list[tuple[str, str | None]]:
    return [(s.event["kind"], s.event["name"]) for s in history.page(**filters)]


def counted(db: sqlite3.Connection) -> tuple[int, int]:
    """Events and crops."""
    found = [db.execute(f"SELECT count(*) FROM {name}").fetchone() for name in ("events", "crops")]
    return int(found[0][0]), int(found[1][0])


# What is stored


def test_the_columns_hold_what_the_event_says(history: History, db: sqlite3.Connection) -> None:
    made = mistaken()
    history.add([NewEvent(event, age=5.0) for event in made])
    assert [event.get("before", {}).get("name") for event in made] == [None, None, "Ada"]
    where = "SELECT {} FROM events ORDER BY cursor"
    found = db.execute(where.format(f"{COLUMNS}, body")).fetchall()
    same = ("id", "time", "kind", "source", "state", "run", "track", "person", "name")
    wanted = [
        (event["id"], 5.0, *(event.get(name) for name in same[1:]), *before, to_json(event))
        for event, before in zip(made, [(None, None), (None, None), (ADA.id, "Ada")], strict=True)
    ]
    assert found == wanted


def test_an_event_of_no_camera_has_none(history: History, db: sqlite3.Connection) -> None:
    body = b'{"id": "x", "time": "2026-01-01T00:00:00.000Z", "kind": "canary_failed"}'
    history.add([NewEvent(body)])
    assert db.execute(f"SELECT {COLUMNS} FROM events").fetchall() == [
        ("x", 0.0, "2026-01-01T00:00:00.000Z", "canary_failed", *[None] * 8)
    ]
    assert history.page() == [StoredEvent(1001, json.loads(body), False)]


def test_an_event_that_is_there_gets_no_other_face(
    history: History, db: sqlite3.Connection
) -> None:
    first, second = visit(ADA)[:2]
    history.add([NewEvent(first), NewEvent(second, FACE)])
    history.add([NewEvent(first, b"\xff\xd8 other"), NewEvent(second, b"\xff\xd8 other")])
    assert counted(db) == (2, 1)
    assert (history.crop(first["id"]), history.crop(second["id"])) == (None, FACE)


def test_how_many_rows_were_new_is_told(db: sqlite3.Connection) -> None:
    new = [rows.Row.of(to_json(event), 0.0) for event in visit(ADA)]
    assert rows.insert(db, new[:1], None) == 1
    assert rows.insert(db, new, Marks(1, 2)) == 2
    assert rows.insert(db, new, None) == 0
    assert (rows.read_marks(db), rows.count(db)) == (Marks(1, 2), 3)


def test_a_clock_before_1970_begins_at_the_first_cursor(tmp_path: Path) -> None:
    with closing(History(tmp_path / "history.db", wall=lambda: -5.0)) as history:
        history.add([NewEvent(event) for event in visit(ADA)])
        assert [stored.cursor for stored in history.page()] == [3, 2, 1]


def test_a_file_that_was_begun_keeps_its_numbers(history: History) -> None:
    history.add([NewEvent(visit(ADA)[0])])
    history.close()
    with closing(History(history.path, wall=lambda: 9.0)) as later:
        later.add([NewEvent(visit(ADA)[0])])
        assert [stored.cursor for stored in later.page()] == [1002, 1001]


def test_a_history_of_another_version_is_not_read(history: History, db: sqlite3.Connection) -> None:
    history.close()
    db.execute("PRAGMA user_version = 2")
    with pytest.raises(GalleryCorruptError, match="another version of this program"):
        history.page()
    assert history.add([NewEvent(event) for event in visit(ADA)])
    assert len(history.page()) == 3
    assert history.path.with_name("history.db.broken").exists()


# What is found


def test_a_page_has_a_hundred_events_or_as_many_as_are_wanted(history: History) -> None:
    history.add([NewEvent(event) for n in range(334) for event in visit(ADA, first=10 * n)])
    assert len(history.page()) == 100
    assert len(history.page(limit=1)) == 1
    assert len(history.page(limit=1000)) == 1000
    for wrong in (0, 1001):
        with pytest.raises(UsageError, match=f"^limit {wrong}: a page has 1 to 1000 events$"):
            history.page(limit=wrong)


def test_one_page_between_two_cursors_is_oldest_first(history: History) -> None:
    history.add([NewEvent(event) for event in [*visit(ADA), *visit(BOB)]])
    assert [s.cursor for s in history.page(after=1001, before=1005)] == [1002, 1003, 1004]
    assert [s.cursor for s in history.page(after=1001, before=1005, limit=2)] == [1002, 1003]
    assert [s.cursor for s in history.page(before=1003)] == [1002, 1001]
    assert [s.cursor for s in history.page(after=0)] == list(range(1001, 1007))


def test_who_was_meant_before_is_found_by_id_and_by_name(history: History) -> None:
    history.add([NewEvent(event) for event in mistaken()])
    wanted = [("retracted", None), ("decided", "Ada"), ("appeared", "Ada")]
    assert told(history, person=ADA.id) == told(history, person="Ada") == wanted
    assert told(history, person="Bob") == []


def test_who_was_seen_last_is_the_last_event_that_called_a_face_so(history: History) -> None:
    ada, bob = visit(ADA), visit(BOB, first=10)
    alert = {**visit(ADA, first=20)[1], "state": "pending"}
    history.add([NewEvent(event) for event in [*ada, *bob, *mistaken(), *visit(None), alert]])
    seen = history.last_seen()
    assert seen.keys() == {ADA.id, BOB.id}
    assert seen[BOB.id] == bob[-1]
    assert (seen[ADA.id]["kind"], seen[ADA.id]["name"]) == ("decided", "Ada")
    assert seen[ADA.id]["frame"] == 0


def test_the_last_cursor_and_the_number_of_events(history: History) -> None:
    assert (history.last(), history.state().events) == (0, 0)
    history.add([NewEvent(event) for event in visit(ADA)])
    assert (history.last(), history.state().events) == (1003, 3)


def test_the_cursor_of_an_event_that_is_there(history: History) -> None:
    made = visit(ADA)
    history.add([NewEvent(event) for event in made])
    assert [history.cursor_at(event["id"]) for event in made] == [1001, 1002, 1003]
    assert history.get(made[1]["id"]) == StoredEvent(1002, made[1], False)
    assert history.get("nothing") is None


def test_a_face_that_was_kept_in_the_clear_opens_with_and_without_a_key(history: History) -> None:
    event = visit(ADA)[0]
    history.add([NewEvent(event, FACE)])
    assert history.crop(event["id"]) == FACE
    with closing(History(history.path, AesGcm(bytes(32)))) as sealed:
        assert sealed.crop(event["id"]) == FACE


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (None, None),
        ("2026-11-28", "2026-11-28T00:00:00.000Z"),
        ("2026-11-28T09:30:00Z", "2026-11-28T09:30:00.000Z"),
        (" 2026-11-28T09:30:00.123456+02:00\n", "2026-11-28T07:30:00.123Z"),
    ],
)
def test_a_time_is_read_as_events_have_it(text: str | None, wanted: str | None) -> None:
    assert rows.moment(text) == wanted


def test_where_the_machine_stands_moves_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as there:
        there.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        found = [rows.moment(text) for text in ("2026-11-28", "2026-11-28T09:00:00+09:00")]
    time.tzset()
    assert found == ["2026-11-28T00:00:00.000Z"] * 2


# What goes


def test_what_is_exactly_as_old_as_allowed_stays(tmp_path: Path) -> None:
    limits = HistoryLimits(max_age_s=50)
    with closing(History(tmp_path / "h.db", age=lambda: 100.0, limits=limits)) as history:
        early, late, now = visit(ADA)
        history.add([NewEvent(early, FACE, 49.0), NewEvent(late, FACE, 50.0), NewEvent(now, FACE)])
        assert history.prune() == 1
        with closing(sqlite3.connect(history.path)) as db:
            assert counted(db) == (2, 2)
        assert [s.event["id"] for s in history.page()] == [now["id"], late["id"]]


def used_bytes(db: sqlite3.Connection) -> int:
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def test_a_tenth_of_the_faces_goes_and_then_a_tenth_of_the_events(
    history: History, db: sqlite3.Connection
) -> None:
    made = [event for n in range(35) for event in visit(ADA, first=10 * n)]
    history.add([NewEvent(event, FACE + bytes(9000)) for event in made])
    assert rows.shrink(db, used_bytes(db)) == 0
    assert counted(db) == (105, 105)
    assert rows.shrink(db, used_bytes(db) - 1) == 0  # one more than a tenth
    assert counted(db) == (105, 94)
    assert [s.has_crop for s in history.page(limit=105)] == [True] * 94 + [False] * 11
    db.execute("DELETE FROM crops")
    assert rows.shrink(db, used_bytes(db) - 1) == 11
    assert [s.event["id"] for s in history.page(after=0)] == [e["id"] for e in made[11:]]


def test_where_there_is_no_room_nothing_stays(history: History, db: sqlite3.Connection) -> None:
    history.add([NewEvent(event, FACE) for n in range(35) for event in visit(ADA, first=10 * n)])
    assert rows.shrink(db, 0) == 105
    assert counted(db) == (0, 0)


def test_pruning_tells_what_was_too_old_and_what_was_too_much(tmp_path: Path) -> None:
    limits = HistoryLimits(max_age_s=50, max_bytes=0)
    with closing(History(tmp_path / "h.db", age=lambda: 100.0, limits=limits)) as history:
        history.add([NewEvent(event, FACE, 49.0) for event in visit(ADA)])
        history.add([NewEvent(event, FACE) for event in visit(BOB)[:2]])
        assert history.prune() == 5


def test_how_many_faces_are_forgotten_is_told(history: History, db: sqlite3.Connection) -> None:
    made = [*visit(ADA), *visit(BOB)]
    history.add([NewEvent(event, FACE) for event in made])
    assert rows.forget_face(db, "door", made[0]["run"], 1) == 3
    assert rows.forget_face(db, "door", made[0]["run"], 1) == 0
    assert counted(db) == (6, 3)


def test_erasing_goes_on_past_an_event_that_has_grown_old_meanwhile(
    history: History, db: sqlite3.Connection
) -> None:
    made = visit(ADA)
    history.add([NewEvent(event) for event in [*made, *visit(ADA)]])

    def mask(body: bytes) -> bytes:
        db.execute("DELETE FROM events WHERE id = ?", (made[2]["id"],))
        return body.replace(ADA.id.encode(), b"*****").replace(b'"Ada"', b'"***"')

    assert rows.erase(db, ADA.id, mask) == (4, 0)
    assert told(history, person=ADA.id) == told(history, person="Ada") == []
    assert [s.event["name"] for s in history.page()] == ["***", "***", None, "***", None]


def test_erasing_stops_a_service_that_writes_for_a_few_events_at_most(
    history: History, db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_CHUNK", 2)
    history.add([NewEvent(event) for n in range(3) for event in visit(ADA, first=10 * n)[1:]])
    said: list[str] = []
    db.set_trace_callback(said.append)
    assert rows.erase(db, ADA.id, lambda body: body.replace(b"Ada", b"***")) == (6, 0)
    assert [s.event["name"] for s in history.page()] == ["***"] * 6
    assert said.count("BEGIN IMMEDIATE") == said.count("COMMIT") == 3


def test_erasing_takes_the_name_out_of_what_was_meant_before(
    history: History, db: sqlite3.Connection
) -> None:
    history.add([NewEvent(event) for event in mistaken()])
    before = db.execute("SELECT id, age, time, kind, source, state, run, track FROM events")
    kept = before.fetchall()
    history.erase(ADA.id)
    left = db.execute(
        "SELECT person, name, before_person, before_name FROM events ORDER BY cursor"
    ).fetchall()
    gone = ("0" * len(ADA.id), "***")
    assert left == [(*gone, None, None), (*gone, None, None), (None, None, *gone)]
    before = db.execute("SELECT id, age, time, kind, source, state, run, track FROM events")
    assert before.fetchall() == kept


def test_the_faces_of_a_track_go_only_where_it_was_called_so(history: History) -> None:
    """Same number, another camera or another run: another face."""
    made = [*visit(ADA), *visit(BOB, source="gate"), *visit(BOB)]
    for event in made[:6]:
        event["run"] = made[0]["run"]
    history.add([NewEvent(event, FACE) for event in made])
    assert history.erase(ADA.id) == (2, 3)
    assert [s.has_crop for s in history.page(after=0)] == [False] * 3 + [True] * 6


def test_an_event_without_a_face_loses_its_own_crop_only(history: History) -> None:
    """One that names a person and belongs to no track."""
    alert = {**visit(ADA)[1], "track": None}
    history.add([NewEvent(alert, FACE), NewEvent({**visit(BOB)[1], "track": None}, FACE)])
    assert history.erase(ADA.id) == (1, 1)
    assert [s.has_crop for s in history.page(after=0)] == [False, True]
