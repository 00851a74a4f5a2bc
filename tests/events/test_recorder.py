"""What happened goes to the history and to the outbox, and after a kill both hold the same."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jetson_face.core.errors import OutputError
from jetson_face.events import recorder as recorder_module
from jetson_face.events.history import History, HistoryLimits, Marks, NewEvent
from jetson_face.events.outbox import Appended, Outbox
from jetson_face.events.recorder import EventRecorder
from jetson_face.events.schema import to_json
from tests.events.event_help import ADA, BOB, read_event
from tests.events.test_history import FACE, visit


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "o.db")
    yield made
    made.close()


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path / "h.db", wall=lambda: 1.0)
    yield made
    made.close()


def new(events: list[dict[str, Any]]) -> list[NewEvent]:
    return [NewEvent(event) for event in events]


def records(events: list[dict[str, Any]]) -> list[tuple[str, bytes]]:
    return [(event["kind"], to_json(event)) for event in events]


def ids_out(outbox: Outbox) -> list[str]:
    return [read_event(event.body)["id"] for event in outbox.since(0)]


def ids_kept(history: History) -> list[str]:
    return [stored.event["id"] for stored in history.page(after=0)]


def ids_of(events: list[dict[str, Any]]) -> list[str]:
    return [event["id"] for event in events]


def test_both_get_every_event_as_it_was_made_or_as_bytes(outbox: Outbox, history: History) -> None:
    recorder = EventRecorder(outbox, history)
    made = visit(ADA)
    assert recorder.append([NewEvent(made[0], FACE)]) == Appended(1, 1, True)
    assert recorder.append([NewEvent(to_json(e), FACE) for e in made[1:]]) == Appended(2, 3, True)
    stored = outbox.since(0)
    assert [(event.kind, event.body) for event in stored] == records(made)
    assert [one.event for one in history.page(after=0)] == made
    assert [history.crop(event["id"]) for event in made] == [FACE] * 3
    assert [one.event for one in history.page(kind="left")] == made[2:]


def test_without_a_history_the_outbox_has_all(outbox: Outbox) -> None:
    recorder, made = EventRecorder(outbox), visit(ADA)
    assert recorder.append(new(made)) == Appended(1, 3, True)
    assert ids_out(outbox) == ids_of(made)
    recorder.close()
    recorder.close()
    assert not recorder.append(new(made)).durable


def test_what_json_does_not_have_is_stored_nowhere(outbox: Outbox, history: History) -> None:
    recorder, made = EventRecorder(outbox, history), visit(ADA)
    with pytest.raises(ValueError, match="JSON"):
        recorder.append(new([made[0], {**made[1], "similarity": float("nan")}]))
    assert (outbox.since(0), history.page()) == ([], [])
    assert recorder.append(new(made[2:])) == Appended(1, 1, True)
    assert ids_kept(history) == ids_of(made[2:])


def test_what_both_hold_is_marked_as_equal(outbox: Outbox, history: History) -> None:
    recorder = EventRecorder(outbox, history)
    assert history.marks() == Marks(0, 0)
    recorder.append(new(visit(ADA)))
    recorder.append(new(visit(BOB)[:2]))
    history.flush()
    assert history.marks() == Marks(1005, 5)


def test_a_history_whose_disk_takes_nothing_is_not_marked(tmp_path: Path, outbox: Outbox) -> None:
    (tmp_path / "folder").write_text("in the way")
    history = History(tmp_path / "folder" / "h.db", wall=lambda: 1.0)
    recorder = EventRecorder(outbox, history)
    assert recorder.append(new(visit(ADA))).durable
    (tmp_path / "folder").unlink()
    recorder.close()
    with closing(history):
        assert (history.state().events, history.marks()) == (3, Marks())


class Unreadable(History):
    """Takes what is added, and does not tell its last cursor."""

    def last(self) -> int:
        raise OutputError("cannot be read")


def test_a_history_that_cannot_be_marked_stops_nothing(
    tmp_path: Path, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Unreadable(tmp_path / "h.db")) as history:
        recorder = EventRecorder(outbox, history)
        assert recorder.append(new(visit(ADA))) == Appended(1, 3, True)
        assert caplog.messages == ["history_not_marked error=cannot be read"]
        assert len(history.page()) == 3


def test_closing_closes_both(outbox: Outbox, history: History) -> None:
    recorder = EventRecorder(outbox, history)
    recorder.append(new(visit(ADA)))
    recorder.close()
    assert not outbox.append([("left", b"{}")]).durable
    assert not history.path.with_name("h.db-wal").exists()
    with closing(History(history.path)) as later:
        assert later.marks() == Marks(1003, 3)


# What a kill left in only one of them


def test_a_new_pair_is_equal_and_says_nothing(
    outbox: Outbox, history: History, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "jetson_face.events.recorder")
    EventRecorder(outbox, history)
    assert caplog.messages == []
    assert history.marks() == Marks(0, 0)


def test_page_by_page_each_gets_what_only_the_other_one_has(
    outbox: Outbox, history: History, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(recorder_module, "_PAGE", 2)
    both, out, kept = visit(ADA), visit(BOB), visit(None)
    EventRecorder(outbox, history).append(new(both))
    history.flush()
    outbox.append(records(out))
    history.add(new(kept))
    EventRecorder(outbox, history)
    assert ids_out(outbox) == ids_of([*both, *out, *kept])
    assert ids_kept(history) == ids_of([*both, *kept, *out])
    assert history.marks() == Marks(1009, 9)
    # Three are more than a page, and each page is said.
    assert caplog.messages == ["outbox_completed events=2", "outbox_completed events=1"]
    assert [event.kind for event in outbox.since(6)] == ["appeared", "decided", "left"]


def test_what_was_equal_is_not_looked_at_again(outbox: Outbox, history: History) -> None:
    """An event that one of them has let go comes back into neither."""
    made = visit(ADA)
    EventRecorder(outbox, history).append(new(made))
    history.flush()
    for path, table, number in (
        (history.path, "events", 1001),
        (history.path.with_name("o.db"), "events", 2),
    ):
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(f"DELETE FROM {table} WHERE rowid = ?", (number,))
    EventRecorder(outbox, history)
    assert ids_kept(history) == ids_of(made[1:])
    assert ids_out(outbox) == ids_of([made[0], made[2]])
    assert history.marks() == Marks(1003, 3)


def test_an_outbox_that_was_lost_is_looked_at_from_its_first_event(
    tmp_path: Path, outbox: Outbox, history: History
) -> None:
    EventRecorder(outbox, history).append(new(visit(ADA)))
    history.flush()
    made = visit(BOB)[:2]
    with closing(Outbox(tmp_path / "new.db")) as begun:
        begun.append(records(made))
        EventRecorder(begun, history)
        assert ids_kept(history)[3:] == ids_of(made)
        assert ids_out(begun) == ids_of(made)  # what was delivered is not sent again
        assert history.marks() == Marks(1005, 2)


def test_an_event_comes_into_the_history_as_old_as_the_outbox_has_it(tmp_path: Path) -> None:
    now, limits = [0.0], HistoryLimits(max_age_s=50)
    outbox = Outbox(tmp_path / "o.db", clock=lambda: now[0])
    outbox.append(records(visit(ADA)))
    now[0] = 60.0
    outbox.append(records(visit(BOB)))
    history = History(tmp_path / "h.db", age=outbox.age, limits=limits)
    with closing(EventRecorder(outbox, history)):
        assert history.prune() == 3
        assert [one.event["name"] for one in history.page()] == ["Bob", "Bob", None]


def test_what_the_outbox_does_not_take_is_given_to_it_again(
    tmp_path: Path, history: History
) -> None:
    (tmp_path / "folder").write_text("in the way")
    made = visit(ADA)
    history.add(new(made))
    EventRecorder(Outbox(tmp_path / "folder" / "o.db"), history)  # and killed
    history.flush()
    assert history.marks() == Marks()
    (tmp_path / "folder").unlink()
    with closing(EventRecorder(Outbox(tmp_path / "folder" / "o.db"), history)) as recorder:
        assert ids_out(recorder.outbox) == ids_of(made)
        assert history.marks() == Marks(1003, 3)


def test_a_history_that_cannot_be_read_is_not_compared(
    tmp_path: Path, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    made = visit(ADA)
    outbox.append(records(made))
    (tmp_path / "folder").write_text("in the way")
    history = History(tmp_path / "folder" / "h.db")
    recorder = EventRecorder(outbox, history)
    assert caplog.messages[-1].startswith("history_not_compared error=")
    assert str(history.path) in caplog.messages[-1]
    assert recorder.append(new(visit(BOB))).last == 6
    assert history.state().memory == 3


def test_an_event_of_an_earlier_version_is_kept_by_the_id_it_gets(
    outbox: Outbox, history: History
) -> None:
    outbox.append([("decision", json.dumps({"name": "Old", "source": "door"}).encode())])
    EventRecorder(outbox, history)
    assert [one.event["name"] for one in history.page()] == ["Old"]
    assert len(outbox.since(0)) == 1
