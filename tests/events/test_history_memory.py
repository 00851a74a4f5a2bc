"""What the history keeps in memory while the disk takes nothing, and what it says of it."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from jetson_face.core.errors import OutputError
from jetson_face.events import history as history_module
from jetson_face.events.history import History, HistoryState, Marks, NewEvent
from jetson_face.util import sqlite
from tests.events.event_help import ADA, BOB
from tests.events.test_history import FACE, visit


class Blocked:
    """A history whose folder cannot be made: a file is in the way. opened: how often it tried."""

    def __init__(self, folder: Path) -> None:
        self.in_the_way, self.now, self.opened = folder, 0.0, 0
        self.block()
        self.history = History(folder / "history.db", clock=lambda: self.now, wall=self._wall)

    def block(self) -> None:
        self.in_the_way.write_text("in the way")

    def free(self) -> None:
        self.in_the_way.unlink()

    def _wall(self) -> float:
        self.opened += 1
        return 1.7e9


@pytest.fixture
def blocked(tmp_path: Path) -> Iterator[Blocked]:
    made = Blocked(tmp_path / "folder")
    yield made
    made.history.close()


def new_events(count: int = 3, jpeg: bytes | None = None) -> list[NewEvent]:
    """Of one face each."""
    made = [event for n in range(count) for event in visit(ADA, track=n)[1:2]]
    return [NewEvent(event, jpeg) for event in made]


def id_of(new: NewEvent) -> str:
    assert not isinstance(new.event, bytes)
    return str(new.event["id"])


def ids(history: History) -> list[str]:
    """Oldest first."""
    return [stored.event["id"] for stored in history.page(after=0)]


def test_a_new_history_has_nothing_and_no_error(tmp_path: Path) -> None:
    with closing(History(tmp_path / "history.db")) as history:
        assert history.state() == HistoryState(0, 0, 0, None)


def test_the_state_says_what_waits_and_why(blocked: Blocked) -> None:
    blocked.history.add(new_events(2))
    state = blocked.history.state()
    assert state == HistoryState(0, 2, 0, state.error)
    assert "Not a directory" in str(state.error) or "File exists" in str(state.error)
    blocked.free()
    assert blocked.history.state() == HistoryState(0, 2, 0, state.error)
    blocked.now = 1.0
    blocked.history.retry()
    assert blocked.history.state() == HistoryState(2, 0, 0, None)


def test_a_history_that_cannot_be_read_says_so_before_anything_is_written(
    blocked: Blocked,
) -> None:
    state = blocked.history.state()
    assert state == HistoryState(0, 0, 0, state.error)
    assert f"{blocked.history.path}: cannot be written" in str(state.error)


def test_a_disk_that_takes_nothing_is_tried_once_a_second(blocked: Blocked) -> None:
    tries = []
    for now in (0.0, 0.5, 0.99, 1.0, 1.5, 2.0):
        blocked.now = now
        blocked.history.add([])
        blocked.history.retry()
        tries.append(blocked.opened)
    assert tries == [0, 0, 0, 0, 0, 0]  # nothing waits
    tries.clear()
    blocked.now = 0.0
    for now in (0.0, 0.5, 0.99, 1.0, 1.5, 2.0):
        blocked.now = now
        assert not blocked.history.add(new_events(1))
        blocked.history.retry()
        assert not blocked.history.flush()
        tries.append(blocked.opened)
    assert tries == [1, 1, 1, 2, 2, 3]


def test_it_is_said_once_that_nothing_is_kept_and_once_that_it_is_again(
    blocked: Blocked, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "jetson_face.events.history")
    for now in (0.0, 1.0, 2.0):
        blocked.now = now
        blocked.history.add(new_events(1))
    blocked.free()
    for now in (3.0, 4.0):
        blocked.now = now
        assert blocked.history.add(new_events(1))
    assert [record.message.split()[0] for record in caplog.records] == [
        "history_not_kept",
        "history_back",
    ]


def test_beyond_its_room_the_oldest_make_room_and_are_counted(
    blocked: Blocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "_MEMORY_MAX", 4)
    made = new_events(6)
    blocked.history.add(made[:4])
    assert (blocked.history.state().memory, blocked.history.state().lost) == (4, 0)
    blocked.history.add(made[4:])
    assert (blocked.history.state().memory, blocked.history.state().lost) == (4, 2)
    blocked.free()
    assert blocked.history.state().lost == 2
    blocked.now = 1.0
    assert blocked.history.flush()
    assert ids(blocked.history) == [id_of(new) for new in made[2:]]
    assert blocked.history.state() == HistoryState(4, 0, 2, None)


def test_only_the_newest_keep_their_faces_in_memory(
    blocked: Blocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "_CROPS_IN_MEMORY", 2)
    blocked.history.add(new_events(3, FACE))
    blocked.history.add(new_events(2, FACE))
    blocked.free()
    blocked.now = 1.0
    assert blocked.history.flush()
    kept = [stored.has_crop for stored in blocked.history.page(after=0)]
    assert kept == [False, False, False, True, True]


def test_forgetting_a_face_reaches_what_waits_in_memory(blocked: Blocked) -> None:
    made = [*visit(ADA, track=1), *visit(BOB, track=2), *visit(None, source="gate", track=1)]
    run = made[0]["run"]
    made.append({**visit(ADA, track=1)[0], "run": "another run"})
    for event in made[:9]:
        event["run"] = run
    blocked.history.add([NewEvent(event, FACE) for event in made])
    blocked.history.forget_face("door", run, 1)
    blocked.free()
    blocked.now = 1.0
    assert blocked.history.flush()
    stored = blocked.history.page(after=0)
    assert [one.event["id"] for one in stored] == [event["id"] for event in made]
    assert [one.has_crop for one in stored] == [False] * 3 + [True] * 7


def test_forgetting_a_face_reaches_the_disk(tmp_path: Path) -> None:
    with closing(History(tmp_path / "history.db")) as history:
        made = [*visit(ADA, track=1), *visit(BOB, track=2), *visit(BOB, source="gate", track=1)]
        for event in made:
            event["run"] = "a run"
        made.append({**visit(ADA, track=1)[0], "run": "another run"})
        history.add([NewEvent(event, FACE) for event in made])
        history.forget_face("door", "a run", 1)
        kept = [stored.has_crop for stored in history.page(after=0)]
        assert kept == [False] * 3 + [True] * 7


def test_closing_writes_what_waits_whenever_it_was_tried_last(blocked: Blocked) -> None:
    made = new_events(2)
    blocked.history.add(made)
    blocked.free()
    blocked.history.close()
    blocked.history.close()
    assert len(ids(blocked.history)) == 2


def test_closing_says_how_many_events_are_lost_and_why(
    blocked: Blocked, caplog: pytest.LogCaptureFixture
) -> None:
    blocked.history.add(new_events(2))
    error = blocked.history.state().error
    blocked.history.close()
    assert caplog.messages[-1] == f"history_lost events=2 error={error}"


def test_closing_what_was_never_used_makes_no_file(tmp_path: Path) -> None:
    History(tmp_path / "history.db").close()
    assert list(tmp_path.iterdir()) == []


def test_closing_writes_the_marks(tmp_path: Path) -> None:
    with closing(History(tmp_path / "history.db")) as history:
        history.add(new_events(1))
        history.mark(Marks(history.last(), 7))
    with closing(History(tmp_path / "history.db")) as history:
        assert history.marks() == Marks(history.last(), 7)


def test_marks_alone_are_written_by_a_flush(tmp_path: Path) -> None:
    with closing(History(tmp_path / "history.db")) as history:
        history.mark(Marks(3, 4))
        assert history.marks() == Marks()
        assert history.flush()
        assert history.marks() == Marks(3, 4)


def test_marks_go_to_the_disk_once(tmp_path: Path) -> None:
    """What another process marks later is not taken back."""
    with (
        closing(History(tmp_path / "history.db")) as history,
        closing(History(tmp_path / "history.db")) as other,
    ):
        history.mark(Marks(3, 4))
        history.flush()
        other.mark(Marks(5, 6))
        other.flush()
        history.add(new_events(1))
        assert history.marks() == Marks(5, 6)


def test_marks_wait_for_the_disk_with_the_events(blocked: Blocked) -> None:
    blocked.history.add(new_events(1))
    blocked.history.mark(Marks(3, 4))
    blocked.free()
    blocked.now = 1.0
    blocked.history.add([])
    assert blocked.history.marks() == Marks(3, 4)


def test_pruning_a_disk_that_takes_nothing_deletes_nothing(blocked: Blocked) -> None:
    blocked.history.add(new_events(1))
    assert blocked.history.prune() == 0
    assert blocked.history.state().memory == 1


def test_pruning_writes_what_waits(blocked: Blocked) -> None:
    blocked.history.add(new_events(2))
    blocked.free()
    blocked.now = 1.0
    assert blocked.history.prune() == 0
    assert blocked.history.state() == HistoryState(2, 0, 0, None)


def test_erasing_says_why_it_cannot(blocked: Blocked) -> None:
    blocked.history.add(new_events(1))
    error = blocked.history.state().error
    with pytest.raises(OutputError) as caught:
        blocked.history.erase(ADA.id)
    assert str(caught.value) == (
        f"{blocked.history.path}: the event history cannot be used: {error}"
    )


# The file


def damage(path: Path) -> None:
    """Bytes that are no database, in the file that is there."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    path.write_bytes(b"no database at all" * 1000)


def test_a_new_file_counts_from_its_millisecond(tmp_path: Path) -> None:
    for name, use in (("w.db", "write"), ("r.db", "read")):
        with closing(History(tmp_path / name, wall=lambda: 1.7e9)) as history:
            assert use == "write" or history.last() == 0
            history.add(new_events(2))
            cursors = [stored.cursor for stored in history.page(after=0)]
        assert cursors == [1_700_000_000_001, 1_700_000_000_002]


def test_a_link_to_a_disk_that_is_not_there_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.symlink_to(tmp_path / "no disk" / "history.db")
    with closing(History(path, clock=lambda: 0.0)) as history:
        assert not history.add(new_events(1))
        assert path.is_symlink()
        (tmp_path / "no disk").mkdir()
    assert (tmp_path / "no disk" / "history.db").exists()
    assert not (tmp_path / "history.db.broken").exists()


def test_a_file_that_another_process_holds_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "connect", partial(sqlite.connect, timeout_s=0.05))
    with closing(History(tmp_path / "history.db", clock=lambda: 0.0)) as history:
        history.add(new_events(1))
        with closing(sqlite3.connect(history.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert not history.add(new_events(1))
            assert history.state() == HistoryState(1, 1, 0, "database is locked")
        assert not (tmp_path / "history.db.broken").exists()
        history.close()
        assert history.state() == HistoryState(2, 0, 0, None)


def test_who_reads_meanwhile_shares_nothing_with_the_file_that_follows(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    with closing(History(path)) as history, closing(History(path)) as reader:
        history.add(new_events(1))
        assert len(reader.page()) == 1
        history.close()
        before = {n: Path(f"{path}{n}").stat().st_ino for n in ("-shm", "-wal")}
        damage(path)
        assert history.add(new_events(2))
        after = {n: Path(f"{path}{n}").stat().st_ino for n in ("-shm", "-wal")}
        assert all(before[name] != after[name] for name in before)
        assert len(reader.page()) == len(history.page()) == 2


def test_a_damaged_file_that_cannot_be_moved_is_left_for_a_second(tmp_path: Path) -> None:
    opened: list[int] = []

    def wall() -> float:
        opened.append(1)
        return 1.7e9

    (tmp_path / "history.db").write_bytes(b"no database at all" * 1000)
    (tmp_path / "history.db.broken").mkdir()
    history = History(tmp_path / "history.db", clock=lambda: 0.0, wall=wall)
    assert not history.add(new_events(1))
    assert not history.add([])
    assert len(opened) == 1
    assert history.state() == HistoryState(0, 1, 0, "file is not a database")
    (tmp_path / "history.db.broken").rmdir()
    history.close()
    assert history.state() == HistoryState(1, 0, 0, None)
    history.close()


@pytest.fixture
def log_bytes(tmp_path: Path) -> Iterator[Callable[[int, int], int]]:
    """How long the write-ahead log is after so many events of so many bytes."""
    history = History(tmp_path / "history.db")

    def after(count: int, size: int) -> int:
        for new in new_events(count, FACE + bytes(size)):
            history.add([new])
        return Path(f"{history.path}-wal").stat().st_size

    yield after
    history.close()


def test_the_log_stays_short(log_bytes: Callable[[int, int], int]) -> None:
    assert log_bytes(30, 100_000) < 1_600_000
    assert log_bytes(1, 4_000_000) > 4_000_000
    assert log_bytes(2, 10) == 1 << 20
