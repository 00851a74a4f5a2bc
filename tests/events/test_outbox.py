"""The durable queue: what it keeps, what it gives up, and what it says about it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.events.outbox import Event, Outbox, OutboxLimits
from jetson_face.events.outbox_file import OutboxFile

DAY = 86400.0


class Clocks:
    """A monotonic clock and a wall clock that tests turn by hand."""

    def __init__(self) -> None:
        self.mono, self.wall = 1000.0, 1.7e9

    def pass_time(self, seconds: float) -> None:
        self.mono += seconds
        self.wall += seconds


class BadDisk(OutboxFile):
    """A file whose writes fail while `error` is set."""

    error: sqlite3.Error | None = None

    def write(self, *args: object, **kwargs: object) -> None:
        if BadDisk.error is not None:
            raise BadDisk.error
        super().write(*args, **kwargs)  # type: ignore[arg-type]


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def start(tmp_path: Path, clocks: Clocks) -> Callable[..., Outbox]:
    """Opens the outbox of this test again and again."""
    BadDisk.error = None

    def _start(limits: OutboxLimits | None = None, **more: object) -> Outbox:
        return Outbox(
            tmp_path / "outbox.db",
            limits,
            clock=lambda: clocks.mono,
            wall=lambda: clocks.wall,
            **more,  # type: ignore[arg-type]
        )

    return _start


Start = Callable[..., Outbox]


def bodies(events: Sequence[Event]) -> list[bytes]:
    return [event.body for event in events]


def put(outbox: Outbox, *texts: str) -> bool:
    return outbox.append([("decision", text.encode()) for text in texts]).durable


def test_events_are_read_until_they_are_acknowledged(start: Start) -> None:
    outbox = start()
    outbox.subscribe("mqtt")
    outbox.subscribe("webhook")
    appended = outbox.append([("decision", b"a"), ("decision", b"b")])
    assert (appended.first, appended.last, appended.durable) == (1, 2, True)
    assert bodies(outbox.read("mqtt")) == [b"a", b"b"] == bodies(outbox.read("mqtt"))
    outbox.ack("mqtt", 1)
    assert bodies(outbox.read("mqtt")) == [b"b"]
    assert bodies(outbox.read("webhook")) == [b"a", b"b"]
    assert outbox.state().lag == {"mqtt": 1, "webhook": 2}


def test_events_and_cursors_outlive_the_process(start: Start) -> None:
    outbox = start()
    outbox.subscribe("mqtt")
    put(outbox, "a", "b", "c")
    outbox.ack("mqtt", 2)
    # No close: the process was killed.
    again = start()
    assert bodies(again.read("mqtt")) == [b"c"]
    assert again.append([("decision", b"d")]).first == 4


def test_files_are_private(start: Start, tmp_path: Path) -> None:
    put(start(), "a")
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path.name


def test_a_consumer_that_never_subscribed_is_a_bug(start: Start) -> None:
    with pytest.raises(KeyError):
        start().read("nobody")


def test_an_acknowledgement_never_goes_back_nor_beyond(start: Start) -> None:
    outbox = start()
    outbox.subscribe("mqtt")
    put(outbox, "a", "b")
    outbox.ack("mqtt", 99)
    outbox.ack("mqtt", 1)
    put(outbox, "c")
    assert bodies(outbox.read("mqtt")) == [b"c"]


def test_numbers_are_never_used_twice_even_when_all_rows_went(start: Start, clocks: Clocks) -> None:
    outbox = start(OutboxLimits(max_age_s=10))
    put(outbox, "a", "b")
    clocks.pass_time(11)
    outbox.prune()
    assert outbox.state().rows == 0
    assert start().append([("decision", b"c")]).first == 3


def test_what_is_too_old_goes_and_is_counted(start: Start, clocks: Clocks) -> None:
    outbox = start(OutboxLimits(max_age_s=30 * DAY))
    outbox.subscribe("mqtt")
    put(outbox, "old, read", "old, unread")
    outbox.ack("mqtt", 1)
    clocks.pass_time(29 * DAY)
    put(outbox, "new")
    outbox.prune()
    assert len(outbox.read("mqtt")) == 2
    clocks.pass_time(2 * DAY)
    outbox.prune()
    assert bodies(outbox.read("mqtt")) == [b"new"]
    assert outbox.state().counts == {"age": 2, "unread": 1}


@pytest.mark.parametrize("years", [-50, -1, 1, 80])
def test_a_step_of_the_wall_clock_expires_nothing(start: Start, clocks: Clocks, years: int) -> None:
    outbox = start(OutboxLimits(max_age_s=30 * DAY))
    outbox.subscribe("mqtt")
    put(outbox, "a")
    clocks.wall += years * 365 * DAY
    outbox.prune()
    put(outbox, "b")
    assert bodies(outbox.read("mqtt")) == [b"a", b"b"]
    # Nor when the step came while the box was off: at most a week of it counts.
    again = start(OutboxLimits(max_age_s=30 * DAY))
    again.prune()
    assert bodies(again.read("mqtt")) == [b"a", b"b"]


def test_time_that_the_box_was_off_counts_up_to_a_week(start: Start, clocks: Clocks) -> None:
    outbox = start(OutboxLimits(max_age_s=5 * DAY))
    put(outbox, "a")
    outbox.close()
    clocks.mono = 3.0
    clocks.wall += 6 * DAY
    again = start(OutboxLimits(max_age_s=5 * DAY))
    assert again.age() == pytest.approx(6 * DAY, abs=1)
    again.prune()
    assert again.state().rows == 0


def test_the_size_bound_evicts_the_oldest_and_counts(start: Start, tmp_path: Path) -> None:
    outbox = start(OutboxLimits(max_bytes=400_000))
    outbox.subscribe("mqtt")
    for index in range(1000):
        put(outbox, f"{index:04d}" + "x" * 1000)
    state = outbox.state()
    assert state.used_bytes < 500_000
    assert state.counts["size"] == 1000 - state.rows == state.counts["unread"]
    assert outbox.read("mqtt", 1)[0].body.startswith(f"{1000 - state.rows:04d}".encode())
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert total < 400_000 + 64 * 1100 + 2_500_000


def full(path: Path) -> OutboxFile:
    return BadDisk(path)


def test_a_full_disk_sends_events_to_memory_and_back(
    start: Start, clocks: Clocks, tmp_path: Path
) -> None:
    outbox = start(open_file=full)
    outbox.subscribe("mqtt")
    assert put(outbox, "a")
    BadDisk.error = sqlite3.OperationalError("database or disk is full")
    assert not put(outbox, "b")
    state = outbox.state()
    assert (state.memory, state.error) == (1, "database or disk is full")
    # Sinks go on meanwhile, with the right numbers.
    assert [event.seq for event in outbox.read("mqtt")] == [1, 2]
    outbox.ack("mqtt", 2)
    BadDisk.error = None
    clocks.pass_time(2)
    assert put(outbox, "c")
    state = outbox.state()
    assert (state.memory, state.error, state.rows) == (0, None, 3)
    assert bodies(start().read("mqtt")) == [b"c"]


def test_memory_is_bounded_and_what_it_loses_is_counted(start: Start, clocks: Clocks) -> None:
    outbox = start(OutboxLimits(memory_max=3), open_file=full)
    outbox.subscribe("mqtt")
    BadDisk.error = sqlite3.OperationalError("disk I/O error")
    for text in "abcde":
        put(outbox, text)
    BadDisk.error = None
    clocks.pass_time(2)
    outbox.prune()
    assert bodies(outbox.read("mqtt")) == [b"c", b"d", b"e"]
    assert outbox.state().counts == {"memory": 2}


def test_the_oldest_snapshots_go_before_events_go_to_memory(start: Start) -> None:
    asked: list[int] = []

    def make_room(needed: int) -> int:
        asked.append(needed)
        BadDisk.error = None
        return needed

    outbox = start(open_file=full, make_room=make_room)
    BadDisk.error = sqlite3.OperationalError("database or disk is full")
    assert put(outbox, "a")
    assert asked == [1 << 20]
    assert bodies(outbox.since(0)) == [b"a"]


def test_a_damage_that_reading_finds_costs_no_delivery(start: Start, tmp_path: Path) -> None:
    outbox = start()
    outbox.subscribe("mqtt")
    texts = [f"{index}" + "x" * 500 for index in range(200)]
    put(outbox, *texts)
    outbox.close()
    path = tmp_path / "outbox.db"
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 4096 * 4096
    data[middle : middle + 4096] = b"\xff" * 4096
    path.write_bytes(data)
    again = start()
    again.subscribe("mqtt")
    found = bodies(again.read("mqtt", 1000))  # at once, not after `retry_s`
    assert (found[0], found[-1]) == (texts[0].encode(), texts[-1].encode())
    assert len(found) > 180
    state = again.state()
    assert (state.error, state.counts["damaged_files"]) == (None, 1)


def test_a_disk_that_only_cannot_be_read_is_told(start: Start, clocks: Clocks) -> None:
    class Unreadable(OutboxFile):
        broken = False

        def read(self, after: int, limit: int) -> tuple[list[Event], list[int]]:
            if Unreadable.broken:
                raise sqlite3.OperationalError("disk I/O error")
            return super().read(after, limit)

    outbox = start(open_file=Unreadable)
    outbox.subscribe("mqtt")
    put(outbox, "a")
    Unreadable.broken = True
    assert outbox.read("mqtt") == []
    assert outbox.degraded
    assert outbox.state().error == "disk I/O error"
    Unreadable.broken = False
    clocks.pass_time(2)
    assert put(outbox, "b")
    assert bodies(outbox.read("mqtt")) == [b"a", b"b"]
    assert not outbox.degraded


def test_a_failing_disk_is_not_tried_at_every_event(start: Start, clocks: Clocks) -> None:
    tries: list[Path] = []

    def gone(path: Path) -> OutboxFile:
        tries.append(path)
        raise sqlite3.OperationalError("unable to open database file")

    outbox = start(open_file=gone)
    for _ in range(100):
        put(outbox, "a")
    assert len(tries) == 1
    clocks.pass_time(1.5)
    put(outbox, "a")
    assert len(tries) == 2


def test_a_disk_that_is_away_at_the_start_takes_the_events_later(
    start: Start, clocks: Clocks
) -> None:
    first = start()
    first.subscribe("mqtt")
    put(first, "a", "b")
    first.close()
    away = True

    def open_file(path: Path) -> OutboxFile:
        if away:
            raise sqlite3.OperationalError("attempt to write a readonly database")
        return OutboxFile(path)

    outbox = start(open_file=open_file)
    outbox.subscribe("mqtt")
    assert not put(outbox, "c")
    assert outbox.read("mqtt") == []
    away = False
    clocks.pass_time(2)
    assert put(outbox, "d")
    assert [(e.seq, e.body) for e in outbox.read("mqtt")] == [
        (1, b"a"), (2, b"b"), (3, b"c"), (4, b"d"),
    ]  # fmt: skip


def test_what_waits_in_memory_does_not_overtake_what_the_disk_holds(
    start: Start, clocks: Clocks
) -> None:
    first = start()
    first.subscribe("mqtt")
    put(first, "on the disk")
    readable = True

    class Unreadable(OutboxFile):
        def write(self, *args: object, **kwargs: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        def read(self, after: int, limit: int) -> tuple[list[Event], list[int]]:
            if not readable:
                raise sqlite3.OperationalError("disk I/O error")
            return super().read(after, limit)

    outbox = start(open_file=Unreadable)
    put(outbox, "in memory")
    readable = False
    assert outbox.read("mqtt") == []
    readable = True
    clocks.pass_time(2)
    assert bodies(outbox.read("mqtt")) == [b"on the disk", b"in memory"]


def test_closing_writes_what_was_in_memory(start: Start) -> None:
    outbox = start(open_file=full)
    outbox.subscribe("mqtt")
    BadDisk.error = sqlite3.OperationalError("database or disk is full")
    put(outbox, "a")
    BadDisk.error = None
    outbox.close()
    outbox.close()
    assert not put(outbox, "after the end")
    assert bodies(start().read("mqtt")) == [b"a"]


def test_a_damaged_row_is_passed_over_and_counted(start: Start, tmp_path: Path) -> None:
    outbox = start()
    outbox.subscribe("mqtt")
    put(outbox, "a", "b", "c")
    outbox.close()
    with sqlite3.connect(tmp_path / "outbox.db") as db:
        db.execute("UPDATE events SET body = 'x' WHERE seq = 2")
        db.execute("UPDATE events SET body = x'00' WHERE seq = 3")
    again = start()
    assert bodies(again.read("mqtt")) == [b"a"]
    assert again.state().counts == {"damaged_rows": 2}
    put(again, "d")
    assert bodies(again.read("mqtt")) == [b"a", b"d"]


@pytest.mark.parametrize("damage", ["garbage", "header", "empty", "middle"])
def test_a_damaged_file_is_set_aside_and_work_goes_on(
    start: Start, tmp_path: Path, damage: str
) -> None:
    outbox = start()
    outbox.subscribe("mqtt")
    for index in range(200):
        put(outbox, f"{index}" + "x" * 500)
    outbox.close()
    path = tmp_path / "outbox.db"
    data = bytearray(path.read_bytes())
    if damage == "garbage":
        data[:] = b"not a database" * 5000
    elif damage == "header":
        data[16:100] = b"\xff" * 84
    elif damage == "empty":
        data.clear()
    else:
        data[len(data) // 2 : len(data) // 2 + 8192] = b"\xff" * 8192
    path.write_bytes(data)
    again = start()
    again.subscribe("mqtt")
    again.read("mqtt", 1000)
    assert put(again, "new")
    assert bodies(again.read("mqtt", 1000))[-1] == b"new"
    if damage in ("garbage", "header"):
        assert again.state().counts["damaged_files"] == 1
        assert (tmp_path / "outbox.db.broken").exists()


@settings(max_examples=30, deadline=None)
@given(kept=st.integers(0, 8), cut=st.integers(0, 10**6), junk=st.binary(max_size=200))
def test_a_power_cut_at_any_byte_loses_nothing_acknowledged(
    tmp_path_factory: pytest.TempPathFactory, kept: int, cut: int, junk: bytes
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    path, wal = folder / "outbox.db", folder / "outbox.db-wal"
    outbox = Outbox(path)
    sizes = [wal.stat().st_size]
    for index in range(8):
        put(outbox, f"{index}" * 300)
        sizes.append(wal.stat().st_size)
    image = path.read_bytes(), wal.read_bytes()
    outbox.close()
    # Everything up to an acknowledgement was synced; beyond it the disk may hold anything.
    torn = sizes[kept] + cut % (sizes[-1] - sizes[kept] + 1)
    box = folder / "after"
    box.mkdir()
    (box / "outbox.db").write_bytes(image[0])
    (box / "outbox.db-wal").write_bytes(image[1][:torn] + junk)
    again = Outbox(box / "outbox.db")
    again.subscribe("sink")
    found = bodies(again.read("sink"))
    assert found[:kept] == [f"{index}".encode() * 300 for index in range(kept)]
    assert put(again, "goes on")
    again.close()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("append"), st.integers(1, 5)),
            st.tuples(st.just("ack"), st.integers(1, 5)),
            st.tuples(st.just("break"), st.just(0)),
            st.tuples(st.just("repair"), st.just(0)),
            st.tuples(st.just("kill"), st.just(0)),
            st.tuples(st.just("time"), st.integers(1, 5)),
        ),
        max_size=30,
    )
)
def test_no_durable_event_is_ever_lost_nor_reordered(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    clocks = Clocks()
    path = tmp_path_factory.mktemp("outbox") / "outbox.db"
    BadDisk.error = None

    def start() -> Outbox:
        box = Outbox(path, clock=lambda: clocks.mono, wall=lambda: clocks.wall, open_file=full)
        box.subscribe("sink")
        return box

    outbox, made, seen = start(), 0, list[int]()
    durable: set[int] = set()
    for step, count in steps:
        if step == "append":
            numbers = range(made, made + count)
            made += count
            if put(outbox, *map(str, numbers)):
                # Older ones that waited in memory are on the disk now, too.
                durable |= set(numbers)
        elif step == "ack":
            for event in outbox.read("sink", count):
                seen.append(int(event.body))
                outbox.ack("sink", event.seq)
        elif step == "kill":
            outbox = start()
        elif step == "time":
            clocks.pass_time(count)
        else:
            BadDisk.error = sqlite3.OperationalError("disk I/O error") if step == "break" else None
    BadDisk.error = None
    clocks.pass_time(5)
    outbox = start()
    seen += [int(event.body) for event in outbox.read("sink", 1000)]
    assert durable <= set(seen)
    # At least once: a kill may bring back what was acknowledged while the disk took nothing, and
    # then everything after it; within one life numbers only rise.
    assert len(set(seen)) <= made


def test_a_consumer_that_is_away_keeps_its_place_and_nothing_waits_for_it(
    start: Start, clocks: Clocks
) -> None:
    limits = OutboxLimits(max_age_s=30 * DAY)
    outbox = start(limits)
    outbox.subscribe("mqtt")
    outbox.subscribe("web")
    put(outbox, "a", "b", "c")
    outbox.ack("web", 2)
    outbox.ack("mqtt", 3)
    outbox.only(["mqtt"])
    assert outbox.state().lag == {"mqtt": 0}
    for _ in range(2):  # also over restarts without it
        outbox.close()
        clocks.pass_time(9 * DAY)
        outbox = start(limits)
        outbox.subscribe("mqtt")
        outbox.only(["mqtt"])
        outbox.prune()
    outbox.subscribe("web")
    assert bodies(outbox.read("web")) == [b"c"]
    outbox.only(["mqtt"])
    # Away longer than events are kept: no event is left that it acknowledged.
    clocks.pass_time(31 * DAY)
    put(outbox, "d")
    outbox.prune()
    assert outbox.state().counts == {"age": 3}, "none of them was waited for"
    outbox.close()
    again = start(limits)
    again.subscribe("web")
    assert bodies(again.read("web")) == [b"d"]


def test_what_waits_is_what_is_there(start: Start, clocks: Clocks) -> None:
    outbox = start(OutboxLimits(max_age_s=10))
    outbox.subscribe("mqtt")
    put(outbox, "a", "b", "c")
    clocks.pass_time(11)
    put(outbox, "d")
    outbox.prune()
    assert outbox.state().lag == {"mqtt": 1}
    assert bodies(outbox.read("mqtt")) == [b"d"]
