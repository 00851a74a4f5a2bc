"""The history of events: read while it is written, by cursors that are never used again."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jetson_face.core.errors import GalleryError, OutputError, UsageError
from jetson_face.core.types import Person, State
from jetson_face.events.history import History, HistoryLimits, Marks, NewEvent
from jetson_face.events.making import EventMaker
from jetson_face.events.outbox import Outbox
from jetson_face.events.recorder import EventRecorder
from jetson_face.privacy.encryption import AesGcm
from tests.events.event_help import ADA, BOB, read_event, report, sighting

FACE = b"\xff\xd8 a face"
CIPHER = AesGcm(bytes(32))


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path / "history.db", CIPHER)
    yield made
    made.close()


def visit(
    person: Person | None, *, source: str = "door", track: int = 1, first: int = 0
) -> list[dict[str, Any]]:
    """A face from `appeared` to `left`."""
    maker = EventMaker({source})
    state: State = "unknown" if person is None else "known"
    seen = sighting(state, person, track=track)
    return [
        *maker.of(report(first, sighting("pending", track=track), source=source)),
        *maker.of(report(first + 1, seen, source=source)),
        *maker.of(report(first + 2, source=source)),
    ]


def told(history: History, **filters: Any) -> list[tuple[str, str | None]]:
    return [(s.event["kind"], s.event["name"]) for s in history.page(**filters)]


def test_events_are_read_newest_first_or_on_from_a_cursor(history: History) -> None:
    made = [*visit(ADA), *visit(None, first=10)]
    assert history.add([NewEvent(event, FACE) for event in made])
    newest = history.page(limit=2)
    assert [s.event for s in newest] == made[::-1][:2]
    assert [read_event(json.dumps(s.event)) for s in newest]
    assert [s.has_crop for s in newest] == [True, True]
    older = history.page(before=newest[-1].cursor)
    assert [s.event for s in older] == made[::-1][2:]
    on = history.page(after=older[-1].cursor, limit=3)
    assert [s.event for s in on] == made[1:4]
    assert [history.crop(s.event["id"]) for s in on] == [FACE] * 3
    assert history.crop("no such id") is None


def test_filters(history: History) -> None:
    for events in (visit(ADA), visit(BOB, source="gate", first=100), visit(None, first=200)):
        history.add([NewEvent(event) for event in events])
    ada = [("left", "Ada"), ("decided", "Ada")]
    assert told(history, person=ADA.id) == told(history, person="Ada") == ada
    assert {s.event["source"] for s in history.page(source="gate")} == {"gate"}
    assert told(history, kind="decided") == [("decided", n) for n in (None, "Bob", "Ada")]
    assert told(history, state="unknown") == [("left", None), ("decided", None)]
    first, second, third = (s.event["time"] for s in history.page(kind="left"))
    assert told(history, since=second, until=second) == [("left", "Bob")]
    assert [s.event["time"] for s in history.page(since=first)] == [first]
    assert len(history.page(until=third)) == 3
    assert len(history.page(since="2001-01-01", until="2100-01-01T00:00:00+02:00")) == 9


def test_who_was_meant_before_is_found(history: History) -> None:
    maker = EventMaker({"door"})
    events = [
        *maker.of(report(0, sighting("known", ADA))),
        *maker.of(report(1, sighting("unknown"))),
    ]
    history.add([NewEvent(event) for event in events])
    assert told(history, person=ADA.id) == [
        ("retracted", None),
        ("decided", "Ada"),
        ("appeared", "Ada"),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"since": "yesterday"},
        {"until": "9999-12-31T23:00:00-05:00"},
        {"limit": 0},
        {"after": 1 << 63},
        {"before": -(1 << 80)},
        {"person": "\udcff"},
        {"source": "door\udcff"},
    ],
)
def test_what_cannot_be_asked_is_said(history: History, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"not a time|a page has|no cursor has|not text in UTF-8"):
        history.page(**wrong)


def test_crops_are_sealed_and_bound_to_their_event(history: History, tmp_path: Path) -> None:
    first, second = visit(ADA)[:2]
    history.add([NewEvent(first, FACE), NewEvent(second, FACE)])
    history.close()
    held = b"".join(path.read_bytes() for path in tmp_path.glob("history.db*"))
    assert b" a face" not in held
    assert (tmp_path / "history.db").stat().st_mode & 0o777 == 0o600
    with pytest.raises(GalleryError, match="another key"):
        History(history.path, AesGcm(b"x" * 32)).crop(first["id"])
    assert History(history.path).crop(first["id"]) is None
    with sqlite3.connect(history.path) as db:
        db.execute("UPDATE crops SET jpeg = (SELECT jpeg FROM crops ORDER BY cursor DESC LIMIT 1)")
    with pytest.raises(GalleryError, match="changed or moved"):
        History(history.path, CIPHER).crop(first["id"])


def test_an_event_is_stored_once(history: History) -> None:
    events = [NewEvent(event, FACE) for event in visit(ADA)]
    history.add(events)
    history.add(events)
    assert len(history.page()) == 3


def test_no_cursor_is_used_twice_also_by_a_new_file(tmp_path: Path) -> None:
    path, now = tmp_path / "history.db", [1.7e9]
    history = History(path, wall=lambda: now[0])
    history.add([NewEvent(event) for event in visit(ADA)])
    first = {s.cursor for s in history.page()}
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM events")
    history.add([NewEvent(event) for event in visit(ADA)])
    second = {s.cursor for s in history.page()}
    assert min(second) > max(first)
    now[0] += 60
    path.unlink()  # under the open file
    history.add([NewEvent(event) for event in visit(ADA)])
    third = {s.cursor for s in history.page()}
    assert (len(third), min(third) > max(second)) == (3, True)
    history.close()


def test_an_event_that_has_gone_still_is_a_place_to_go_on_from(history: History) -> None:
    made = [*visit(ADA), *visit(BOB)]
    history.add([NewEvent(event) for event in made])
    with sqlite3.connect(history.path) as db:
        db.execute("DELETE FROM events WHERE id = ?", (made[2]["id"],))
    on = history.page(after=history.cursor_at(made[2]["id"]))
    assert [s.event for s in on] == made[3:]
    assert history.cursor_at("00000000-0000-7000-8000-000000000000") == 0


def test_what_is_too_old_or_too_much_goes(tmp_path: Path) -> None:
    now = [0.0]
    limits = HistoryLimits(max_age_s=100, max_bytes=300_000)
    history = History(tmp_path / "history.db", age=lambda: now[0], limits=limits)
    history.add([NewEvent(event, FACE) for event in visit(ADA)])
    now[0] = 90.0
    history.add([NewEvent(event, FACE) for event in visit(BOB)])
    assert history.prune() == 0
    now[0] = 101.0
    assert history.prune() == 3
    assert told(history) == [("left", "Bob"), ("decided", "Bob"), ("appeared", None)]
    large = [NewEvent(event, bytes(20_000)) for n in range(20) for event in visit(ADA, first=n)]
    history.add(large)
    assert history.prune() == 0  # the faces go first, the oldest before the others
    left = history.page()
    assert len(left) == 63
    kept = [s.has_crop for s in left]
    assert kept == sorted(kept, reverse=True)
    assert 5 <= sum(kept) <= 15
    history.close()


def test_an_event_that_waited_is_as_old_as_it_is(tmp_path: Path) -> None:
    limits = HistoryLimits(max_age_s=50)
    history = History(tmp_path / "history.db", age=lambda: 100.0, limits=limits)
    early, late, now = visit(ADA)
    history.add([NewEvent(early, age=49.0), NewEvent(late, age=51.0), NewEvent(now)])
    assert history.prune() == 1
    assert [s.event["id"] for s in history.page()] == [now["id"], late["id"]]
    history.close()


def test_erasing_takes_names_and_the_faces_of_every_track(history: History) -> None:
    made = [*visit(ADA), *visit(BOB), *visit(None)]
    history.add([NewEvent(event, FACE) for event in made])
    assert history.erase(ADA.id) == (2, 3)  # the face that appeared had no name yet
    assert told(history, person=ADA.id) == []
    assert [s.has_crop for s in history.page()] == [True] * 6 + [False] * 3
    assert history.page()[-2].event["name"] == "***"
    for part in history.path.parent.glob("history.db*"):
        data = part.read_bytes()
        assert (ADA.id.encode() in data, b'"Ada"' in data) == (False, False)
    assert told(history, person=BOB.id) == [("left", "Bob"), ("decided", "Bob")]


def test_a_damaged_file_is_set_aside(history: History) -> None:
    history.add([NewEvent(event) for event in visit(ADA)])
    history.close()
    history.path.write_bytes(b"no database at all" * 100)
    assert history.add([NewEvent(event) for event in visit(BOB)])
    assert told(history)[0] == ("left", "Bob")
    assert history.path.with_name("history.db.broken").read_bytes().startswith(b"no database")


def test_what_the_disk_does_not_take_waits_in_memory(tmp_path: Path) -> None:
    now, blocked = [0.0], tmp_path / "folder"
    blocked.write_text("in the way")
    history = History(blocked / "history.db", clock=lambda: now[0])
    made = visit(ADA)
    assert not history.add([NewEvent(event) for event in made])
    assert (history.state().memory, history.state().error is None) == (3, False)
    blocked.unlink()
    now[0] += 2
    assert history.add([])
    assert [s.event for s in history.page()] == made[::-1]
    assert (history.state().memory, history.state().error) == (0, None)
    history.close()


def test_erasing_reaches_what_waits_in_memory(tmp_path: Path) -> None:
    """All faces of the track, also the one from before it had a name."""
    blocked = tmp_path / "folder"
    blocked.write_text("in the way")
    history = History(blocked / "history.db", clock=lambda: 0.0)
    history.add([NewEvent(event, FACE) for event in visit(ADA)])
    with pytest.raises(OutputError, match="cannot be used"):
        history.erase(ADA.id)
    assert history.state().memory == 3
    blocked.unlink()
    assert history.erase(ADA.id) == (2, 3)
    assert not any(s.has_crop for s in history.page())
    assert history.page(person="Ada") == history.page(person=ADA.id) == []
    history.close()


# With the outbox


def ids(outbox: Outbox) -> list[str]:
    return [read_event(event.body)["id"] for event in outbox.since(0)]


def test_what_a_kill_left_in_one_file_goes_into_the_other(tmp_path: Path) -> None:
    outbox, history = Outbox(tmp_path / "o.db"), History(tmp_path / "h.db")
    recorder = EventRecorder(outbox, history)
    first, second, third, fourth = (visit(ADA) for _ in range(4))
    recorder.append([NewEvent(event) for event in first])
    recorder.append([NewEvent(event) for event in second])
    # Killed after the history and before the outbox; and, another time, with a history whose disk
    # took nothing.
    history.add([NewEvent(event) for event in third])
    outbox.append([("left", json.dumps(event).encode()) for event in fourth])
    recorder.close()
    outbox, history = Outbox(tmp_path / "o.db"), History(tmp_path / "h.db")
    EventRecorder(outbox, history).close()
    outbox, history = Outbox(tmp_path / "o.db"), History(tmp_path / "h.db")
    wanted = {event["id"] for events in (first, second, third, fourth) for event in events}
    assert len(ids(outbox)) == len(history.page()) == 12
    assert set(ids(outbox)) == {s.event["id"] for s in history.page()} == wanted
    recorder = EventRecorder(outbox, history)
    assert history.marks().outbox == 12
    recorder.close()


def test_what_the_outbox_has_not_got_is_not_marked_as_equal(tmp_path: Path) -> None:
    blocked = tmp_path / "folder"
    blocked.write_text("in the way")
    path = blocked / "o.db"
    recorder = EventRecorder(Outbox(path), History(tmp_path / "h.db"))
    assert not recorder.append([NewEvent(event) for event in visit(ADA)]).durable
    recorder.close()  # what waited in memory is lost with the process
    blocked.unlink()
    history = History(tmp_path / "h.db")
    assert history.marks() == Marks()
    outbox = Outbox(path)
    recorder = EventRecorder(outbox, history)
    assert len(ids(outbox)) == 3
    assert recorder.append([NewEvent(event) for event in visit(BOB)]).durable
    history.flush()
    assert history.marks() == Marks(history.last(), 6)
    recorder.close()


def test_a_history_that_begins_takes_what_the_outbox_has(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "o.db")
    EventRecorder(outbox).append([NewEvent(event) for event in visit(ADA)])
    outbox.append([("decision", b'{"name": "Old", "seq": 4, "source": "door"}')])
    history = History(tmp_path / "h.db")
    EventRecorder(outbox, history)
    assert [s.event["name"] for s in history.page()] == ["Old", "Ada", "Ada", None]
    outbox.close()
    history.close()


def test_another_process_that_reads_takes_nothing_away(history: History) -> None:
    """A second connection must not drop the first one's locks: the other process would delete the
    log under it, and what is added then would be lost."""
    history.add([NewEvent(event) for event in visit(ADA)])
    assert len(history.page()) == 3
    program = "import sys, pathlib; from jetson_face.events.history import History\n" \
              "h = History(pathlib.Path(sys.argv[1])); print(len(h.page())); h.close()"  # fmt: skip
    command = [sys.executable, "-c", program, str(history.path)]
    for count in (3, 6):
        told = subprocess.run(command, capture_output=True, text=True, check=True)
        assert told.stdout == f"{count}\n"
        history.add([NewEvent(event) for event in visit(BOB)])
