"""An outbox whose disk fails, is full, or holds a damaged file: what is tried, told and kept."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jetson_face.events.outbox import Appended, Outbox, OutboxLimits, OutboxState
from jetson_face.events.outbox_file import OutboxFile
from jetson_face.events.outbox_rows import Changes, Event
from tests.events.test_outbox import Clocks, bodies, put

IO_ERROR = sqlite3.OperationalError("disk I/O error")
FULL = sqlite3.OperationalError("database or disk is full")
DAMAGE = sqlite3.DatabaseError("database disk image is malformed")


class Disk:
    """Opens outbox files whose calls fail while an error is set for them; counts the calls."""

    def __init__(self) -> None:
        self.errors: dict[str, list[Exception]] = {}
        self.calls: Counter[str] = Counter()

    def fail(self, call: str, *errors: Exception, times: int = 1000) -> None:
        """The next calls fail with these, one after another, or often with the only one."""
        self.errors[call] = list(errors) if len(errors) > 1 else [*errors] * times

    def mend(self) -> None:
        self.errors.clear()

    def meet(self, call: str) -> None:
        self.calls[call] += 1
        if self.errors.get(call):
            raise self.errors[call].pop(0)

    def open(self, path: Path) -> OutboxFile:
        self.meet("open")
        disk = self

        class File(OutboxFile):
            def write(self, changes: Changes) -> None:
                disk.meet("write")
                super().write(changes)

            def read(self, after: int, limit: int) -> tuple[list[Event], list[int]]:
                disk.meet("read")
                return super().read(after, limit)

            def copy_to(self, path: Path) -> None:
                disk.meet("copy_to")
                super().copy_to(path)

        return File(path)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


Start = Callable[..., Outbox]


@pytest.fixture
def start(path: Path, disk: Disk, clocks: Clocks) -> Iterator[Start]:
    """Opens the outbox of this test, for the consumer `mqtt`, with a disk that can fail."""
    made: list[Outbox] = []

    def _start(limits: OutboxLimits | None = None, **more: object) -> Outbox:
        outbox = Outbox(
            path,
            limits,
            clock=lambda: clocks.mono,
            wall=lambda: clocks.wall,
            open_file=disk.open,
            **more,  # type: ignore[arg-type]
        )
        outbox.subscribe("mqtt")
        made.append(outbox)
        return outbox

    yield _start
    for outbox in made:
        outbox.close()


def stored(path: Path) -> list[bytes]:
    """The events of a file."""
    with closing(OutboxFile(path)) as file:
        return bodies(file.read(0, 1000)[0])


def test_a_disk_that_was_never_there_is_an_empty_outbox_with_its_error(
    start: Start, disk: Disk
) -> None:
    disk.fail("open", IO_ERROR)
    outbox = start()
    assert outbox.append([("k", b"a"), ("k", b"b")]) == Appended(0, 0, durable=False)
    assert outbox.state() == OutboxState(
        rows=0,
        used_bytes=0,
        memory=2,
        lag={"mqtt": 0},
        error="disk I/O error",
        counts={},
        set_aside={},
        refused={},
    )
    assert not outbox.wait("mqtt", 0)
    assert outbox.since(0) == []
    assert outbox.read_again("mqtt") == []


def test_what_came_before_the_disk_gets_the_next_numbers_and_its_own_age(
    start: Start, disk: Disk, clocks: Clocks
) -> None:
    first = start()
    put(first, "a")
    clocks.mono += 100
    first.close()  # at 100 s of service time, by a wall clock that stood still
    clocks.wall += 30
    disk.fail("open", IO_ERROR)
    outbox = start()
    put(outbox, "b", "c")
    clocks.pass_time(5)
    put(outbox, "d")
    disk.mend()
    clocks.pass_time(5)
    assert put(outbox, "e")
    assert [(e.seq, e.body, e.age) for e in outbox.read("mqtt")] == [
        (1, b"a", 0.0), (2, b"b", 140.0), (3, b"c", 140.0), (4, b"d", 145.0), (5, b"e", 150.0),
    ]  # fmt: skip


def test_nothing_is_acknowledged_before_the_disk_could_be_read(
    start: Start, disk: Disk, clocks: Clocks
) -> None:
    put(start(), "a", "b")
    disk.fail("open", IO_ERROR)
    outbox = start()
    outbox.ack("mqtt", 2)
    disk.mend()
    clocks.pass_time(1)
    outbox.prune()
    assert bodies(outbox.read("mqtt")) == [b"a", b"b"]


def test_on_a_full_disk_the_status_still_tells_all(start: Start, disk: Disk) -> None:
    outbox = start()
    put(outbox, "a", "b", "c")
    assert outbox.refuse("mqtt", outbox.read("mqtt")[0], "answered 422")
    used = outbox.state().used_bytes
    disk.fail("write", FULL)
    assert outbox.append([("k", b"d")]) == Appended(4, 4, durable=False)
    assert outbox.state() == OutboxState(
        rows=3,
        used_bytes=used,
        memory=1,
        lag={"mqtt": 3},
        error="database or disk is full",
        counts={},
        set_aside={"mqtt": 1},
        refused={"mqtt": 1},
    )
    assert used > 4096


def test_what_waits_in_memory_alone_is_what_a_consumer_lags(start: Start, disk: Disk) -> None:
    outbox = start()
    disk.fail("write", FULL)
    put(outbox, "a", "b", "c")
    assert outbox.state().lag == {"mqtt": 3}
    assert bodies(outbox.read("mqtt", 2)) == [b"a", b"b"]
    outbox.ack("mqtt", 2)
    assert outbox.state().lag == {"mqtt": 1}
    assert bodies(outbox.read("mqtt")) == [b"c"]


def test_no_more_is_read_than_wanted_of_disk_and_memory_together(start: Start, disk: Disk) -> None:
    outbox = start()
    put(outbox, "a")
    disk.fail("write", FULL)
    put(outbox, "b", "c", "d")
    assert bodies(outbox.read("mqtt", 1)) == [b"a"]
    assert bodies(outbox.read("mqtt", 2)) == [b"a", b"b"]
    outbox.ack("mqtt", 1)
    assert bodies(outbox.read("mqtt")) == [b"b", b"c", b"d"]


def test_a_failing_disk_is_tried_again_after_exactly_the_time_between_tries(
    start: Start, disk: Disk, clocks: Clocks
) -> None:
    outbox = start()
    disk.fail("write", IO_ERROR)
    disk.calls.clear()
    assert not put(outbox, "a")
    assert disk.calls["write"] == 1, "what no repair helps is not tried twice"
    clocks.pass_time(0.5)
    assert not put(outbox, "b")
    outbox.check()
    outbox.prune()
    assert disk.calls == {"write": 1}, "nor is the file opened in between"
    disk.mend()
    clocks.pass_time(0.5)
    assert put(outbox, "c")
    assert bodies(outbox.read("mqtt")) == [b"a", b"b", b"c"]


def test_a_disk_that_cannot_be_read_is_left_alone_for_a_while(
    start: Start, disk: Disk, clocks: Clocks
) -> None:
    outbox = start()
    put(outbox, "a")
    assert outbox.wait("mqtt", 0)
    disk.fail("read", IO_ERROR)
    disk.calls.clear()
    assert outbox.read("mqtt") == outbox.read("mqtt") == []
    assert disk.calls["read"] == 1
    assert not outbox.wait("mqtt", 0)
    disk.mend()
    clocks.pass_time(1)
    assert outbox.wait("mqtt", 0)
    assert bodies(outbox.read("mqtt")) == [b"a"]


def test_an_error_of_the_disk_sets_no_file_aside(start: Start, disk: Disk, tmp_path: Path) -> None:
    outbox = start()
    put(outbox, "a")
    disk.fail("read", IO_ERROR)
    assert outbox.read("mqtt") == []
    disk.fail("write", IO_ERROR)
    assert not put(outbox, "b")
    assert outbox.state().counts == {}
    assert not list(tmp_path.glob("*.broken"))


@pytest.mark.parametrize(("freed", "asked"), [(0, 1), (-1, 1), (1, 2)])
def test_room_is_asked_for_again_while_some_is_found_but_three_tries_are_enough(
    start: Start, disk: Disk, freed: int, asked: int
) -> None:
    wanted: list[int] = []

    def make_room(size: int) -> int:
        wanted.append(size)
        return freed

    outbox = start(make_room=make_room)
    disk.fail("write", FULL)
    disk.calls.clear()
    assert not put(outbox, "a")
    assert wanted == [1 << 20] * asked
    assert disk.calls["write"] == asked + 1 if freed > 0 else 1
    assert outbox.state().error == "database or disk is full"


def test_one_byte_of_room_is_worth_a_try(start: Start, disk: Disk) -> None:
    outbox = start(make_room=lambda size: 1)
    disk.fail("write", FULL, times=1)
    assert put(outbox, "a")
    assert not outbox.degraded


def test_a_damaged_file_on_a_full_disk_is_mended_in_three_tries(start: Start, disk: Disk) -> None:
    outbox = start(make_room=lambda size: size)
    put(outbox, "a")
    disk.fail("write", FULL, DAMAGE)
    assert put(outbox, "b")
    assert outbox.state().counts == {"damaged_files": 1}
    assert bodies(outbox.read("mqtt")) == [b"a", b"b"]


def test_each_damage_is_counted_for_good(start: Start, disk: Disk, path: Path) -> None:
    outbox = start()
    for text in ("a", "b", "c"):
        disk.fail("write", DAMAGE, times=1)
        assert put(outbox, text)
    assert outbox.state().counts == {"damaged_files": 3}
    assert bodies(outbox.read("mqtt")) == [b"a", b"b", b"c"]
    with closing(OutboxFile(path)) as file:
        assert file.counts() == {"damaged_files": 3}


@pytest.mark.parametrize("table", ["consumers", "counts"])
def test_what_a_damaged_file_forgot_of_places_and_counts_the_program_knows(
    start: Start, path: Path, table: str
) -> None:
    outbox = start()
    outbox.subscribe("web")
    put(outbox, "a", "b", "c")
    outbox.ack("web", 3)
    outbox.ack("mqtt", 1)
    assert outbox.refuse("mqtt", outbox.read("mqtt")[0], "answered 422")
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"DROP TABLE {table}")
    outbox.ack("mqtt", 3)
    with closing(OutboxFile(path)) as file:  # no close: the process is killed
        assert {name: cursor.acked for name, cursor in file.cursors().items()} == {
            "mqtt": 3, "web": 3,
        }  # fmt: skip
        assert file.counts() == {"damaged_files": 1, "refused by mqtt": 1}


def test_a_damaged_file_that_cannot_be_put_aside_is_told(
    start: Start, disk: Disk, tmp_path: Path, path: Path
) -> None:
    put(start(), "a")
    (tmp_path / "outbox.db.broken" / "in the way").mkdir(parents=True)
    disk.fail("read", DAMAGE)
    outbox = start()
    assert outbox.read("mqtt") == []
    assert outbox.state().error == str(DAMAGE)
    assert outbox.state().counts == {}
    disk.mend()
    assert stored(path) == [b"a"]


def test_a_damaged_file_is_mended_once_there_is_room_and_loses_nothing_meanwhile(
    start: Start, disk: Disk, clocks: Clocks, tmp_path: Path, path: Path
) -> None:
    first = start()
    put(first, "a", "b")
    first.close()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("DROP TABLE clock")
    disk.fail("write", FULL)
    outbox = start()
    assert not put(outbox, "c")
    assert outbox.read("mqtt") == []
    assert outbox.state().counts == {}
    assert [p.name for p in tmp_path.iterdir()] == ["outbox.db"]
    disk.mend()
    disk.calls.clear()
    for _ in range(3):  # so much is read then that it must not be every second
        clocks.pass_time(3)
        outbox.prune()
    assert disk.calls == {"open": 3}
    clocks.pass_time(1)
    assert put(outbox, "d")
    assert bodies(outbox.read("mqtt")) == [b"a", b"b", b"c", b"d"]
    assert outbox.state().counts == {"damaged_files": 1}
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "outbox.db.broken").exists()


def test_at_its_end_it_does_not_wait_to_mend_a_file(start: Start, disk: Disk, path: Path) -> None:
    outbox = start()
    put(outbox, "a")
    disk.fail("write", DAMAGE, FULL)
    assert not put(outbox, "b")
    disk.fail("write", DAMAGE, times=1)
    outbox.close()
    assert stored(path) == [b"a", b"b"]


def test_a_page_that_cannot_be_read_keeps_no_event_from_the_disk(
    start: Start, disk: Disk, clocks: Clocks
) -> None:
    outbox = start()
    put(outbox, "a")
    disk.fail("read", IO_ERROR)
    for text in ("b", "c", "d"):
        assert outbox.read("mqtt") == []
        assert outbox.state().error == "disk I/O error"
        assert put(outbox, text)
        clocks.pass_time(1)
    disk.mend()
    assert bodies(outbox.read("mqtt")) == [b"a", b"b", b"c", b"d"]


def test_a_file_that_lost_its_name_is_kept_while_no_copy_of_it_succeeds(
    start: Start, disk: Disk, clocks: Clocks, path: Path
) -> None:
    outbox = start()
    put(outbox, "a")
    path.unlink()
    disk.fail("copy_to", DAMAGE)
    assert not put(outbox, "b")
    assert disk.calls["copy_to"] == 1
    assert not path.exists()
    assert outbox.state().error == str(DAMAGE)
    disk.mend()
    clocks.pass_time(1)
    assert put(outbox, "c")
    assert stored(path) == [b"a", b"b", b"c"]
    assert outbox.state().counts == {"replaced_files": 1}


def test_a_copy_whose_name_may_not_be_on_the_disk_is_made_again(
    start: Start, clocks: Clocks, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = start()
    put(outbox, "a")
    path.unlink()

    def fail(fd: int) -> None:
        raise OSError("Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    assert not put(outbox, "b")
    monkeypatch.undo()
    clocks.pass_time(1)
    assert put(outbox, "c")
    assert stored(path) == [b"a", b"b", b"c"]


def test_a_copy_that_cannot_be_opened_is_opened_later(
    start: Start, disk: Disk, clocks: Clocks, path: Path
) -> None:
    outbox = start()
    put(outbox, "a")
    path.unlink()
    disk.fail("open", IO_ERROR)
    assert not put(outbox, "b")
    disk.mend()
    clocks.pass_time(1)
    assert put(outbox, "c")
    assert stored(path) == [b"a", b"b", b"c"]


def test_a_file_deleted_while_a_write_failed_is_not_given_up(
    start: Start, disk: Disk, clocks: Clocks, path: Path
) -> None:
    outbox = start()
    put(outbox, "a")
    before = disk.meet

    def meet(call: str) -> None:
        if call == "write":
            path.unlink()
            raise IO_ERROR
        before(call)

    disk.meet = meet  # type: ignore[method-assign]
    assert not put(outbox, "b")
    disk.meet = before  # type: ignore[method-assign]
    clocks.pass_time(1)
    assert put(outbox, "c")
    assert stored(path) == [b"a", b"b", b"c"]


def test_a_file_written_again_can_be_damaged_and_mended_as_any_other(
    start: Start, disk: Disk, path: Path
) -> None:
    outbox = start()
    put(outbox, "a")
    path.unlink()
    disk.fail("read", DAMAGE, times=1)
    assert bodies(outbox.read("mqtt")) == [b"a"]
    assert outbox.state().counts == {"replaced_files": 1, "damaged_files": 1}
    outbox.close()
    assert [p.name for p in path.parent.iterdir() if "broken" not in p.name] == ["outbox.db"]


def test_after_its_end_it_takes_reads_and_opens_nothing(
    start: Start, disk: Disk, tmp_path: Path
) -> None:
    outbox = start()
    put(outbox, "a")
    outbox.close()
    outbox.close()
    disk.calls.clear()
    assert not put(outbox, "b")
    assert outbox.read("mqtt") == []
    assert outbox.since(0) == []
    outbox.check()
    outbox.prune()
    assert (outbox.state().rows, outbox.state().memory) == (0, 1)
    assert disk.calls == {}
    assert [p.name for p in tmp_path.iterdir()] == ["outbox.db"]


def test_the_log_says_once_that_the_disk_failed_and_that_it_is_back(
    start: Start, disk: Disk, clocks: Clocks, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "jetson_face.events")
    outbox = start()
    assert caplog.messages == []
    disk.fail("write", IO_ERROR)
    for text in ("a", "b", "c"):
        put(outbox, text)
        clocks.pass_time(1)
    failed = f"outbox_degraded path={path} error=disk I/O error events_go=memory"
    assert caplog.messages == [failed]
    disk.mend()
    for text in ("d", "e"):
        put(outbox, text)
    assert caplog.messages == [failed, f"outbox_recovered path={path}"]


def test_the_log_says_that_the_disk_failed_at_the_start(
    start: Start, disk: Disk, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk.fail("open", IO_ERROR)
    start()
    assert caplog.messages == [f"outbox_degraded path={path} error=disk I/O error events_go=memory"]


def test_the_log_says_what_became_of_a_damaged_file(
    start: Start, disk: Disk, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outbox = start()
    put(outbox, "a", "b")
    line = f"outbox_damaged path={path} kept_as={path}.broken salvaged=2 error={DAMAGE}"
    disk.fail("read", DAMAGE, times=1)
    outbox.read("mqtt")
    assert caplog.messages == [line]
    disk.fail("write", DAMAGE, times=1)
    outbox.prune()
    outbox.ack("mqtt", 1)
    assert caplog.messages == [line, line]


@pytest.mark.parametrize("other", [False, True])
def test_the_log_says_where_a_file_is_that_stood_in_its_place(
    start: Start, path: Path, caplog: pytest.LogCaptureFixture, *, other: bool
) -> None:
    outbox = start()
    path.unlink()
    if other:
        path.write_bytes(b"")
    outbox.check()
    with closing(OutboxFile(path)) as file:
        assert file.counts() == {"replaced_files": 1}
    aside = f"{path}.broken" if other else None
    assert caplog.messages == [f"outbox_replaced path={path} written=again other_kept_as={aside}"]


def test_any_thread_may_use_it(start: Start) -> None:
    outbox = start()
    done: list[bool] = []
    thread = threading.Thread(target=lambda: done.append(put(outbox, "a")))
    thread.start()
    thread.join()
    assert done == [True]
    assert bodies(outbox.read("mqtt")) == [b"a"]
