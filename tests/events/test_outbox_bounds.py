"""How far the outbox grows, how old its events are, and what it says it gave up."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from jetson_face.events.outbox import Appended, Outbox, OutboxLimits
from jetson_face.events.outbox_file import OutboxFile
from jetson_face.events.outbox_rows import Cursor, Refused
from tests.events.test_outbox import Clocks, bodies, put

Start = Callable[..., Outbox]


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def start(path: Path, clocks: Clocks) -> Start:
    """Opens the outbox of this test, for the consumer `mqtt`."""

    def _start(limits: OutboxLimits | None = None) -> Outbox:
        outbox = Outbox(path, limits, clock=lambda: clocks.mono, wall=lambda: clocks.wall)
        outbox.subscribe("mqtt")
        return outbox

    return _start


def test_the_size_is_looked_at_with_every_64th_event(start: Start) -> None:
    outbox = start(OutboxLimits(max_bytes=1))
    for left in (0, 1):
        for number in range(63):
            put(outbox, str(number))
        assert outbox.state().rows == left + 63
        put(outbox, "one more")
        assert outbox.state().rows == 1
    assert outbox.state().counts == {"size": 127, "unread": 127}


def test_a_file_of_just_the_size_that_it_may_have_keeps_all(start: Start) -> None:
    outbox = start()
    put(outbox, *["x" * 1000] * 100)
    used = outbox.state().used_bytes
    just = start(OutboxLimits(max_bytes=used))
    just.prune()
    assert (just.state().rows, just.state().counts) == (100, {})
    less = start(OutboxLimits(max_bytes=used - 1))
    less.prune()
    assert 80 < less.state().rows < 95


def test_what_is_too_much_goes_until_nine_tenths_are_left(start: Start) -> None:
    outbox = start(OutboxLimits(max_bytes=200_000))
    put(outbox, *["x" * 1000] * 400)
    outbox.prune()
    assert 170_000 < outbox.state().used_bytes < 200_000


def test_what_was_given_up_adds_up_and_outlives_the_process(start: Start, clocks: Clocks) -> None:
    limits = OutboxLimits(max_age_s=10)
    for rounds in (1, 2, 3):
        outbox = start(limits)
        put(outbox, "a", "b")
        assert outbox.refuse("mqtt", outbox.read("mqtt")[0], "answered 422")
        clocks.pass_time(11)
        outbox.prune()
        for box in (outbox, start(limits)):
            state = box.state()
            assert state.counts == {"age": 2 * rounds, "unread": rounds, "refused": rounds}
            assert state.refused == {"mqtt": rounds}


def test_rows_that_are_damaged_later_are_counted_too(start: Start, path: Path) -> None:
    outbox = start()
    put(outbox, "a", "b", "c", "d")
    for number in (2, 4):
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE events SET body = x'00' WHERE seq = ?", (number,))
        outbox.read("mqtt")
    assert bodies(outbox.read("mqtt")) == [b"a", b"c"]
    assert outbox.state().counts == {"damaged_rows": 2}
    assert start().state().counts == {"damaged_rows": 2}


def test_a_damaged_row_makes_room_for_a_good_one(start: Start, path: Path) -> None:
    outbox = start()
    put(outbox, "a", "b", "c")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE events SET body = x'00' WHERE seq = 2")
    assert bodies(outbox.read("mqtt", 2)) == [b"a", b"c"]


def last_of_a_leaf(data: bytes | bytearray) -> tuple[int, int]:
    """The number of the last event on the first page of events, and at which byte it stands."""
    page = next(at for at in range(0, len(data), 4096) if data[at] == 13 and data[at + 4000] == 120)
    (count,) = struct.unpack_from(">H", data, page + 3)
    (cell,) = struct.unpack_from(">H", data, page + 8 + 2 * (count - 1))
    at = page + cell + 2  # behind a size of two bytes
    return data[at], at


def test_a_row_that_stands_out_of_its_place_stops_no_reading(start: Start, path: Path) -> None:
    """It is found in order, and not by its number: it cannot be removed."""
    outbox = start()
    texts = [f"{number:03d}" + "x" * 500 for number in range(1, 41)]
    put(outbox, *texts)
    outbox.close()
    data = bytearray(path.read_bytes())
    last, at = last_of_a_leaf(data)
    assert data[at] == last
    data[at] += 64
    path.write_bytes(data)
    again = start()
    again.ack("mqtt", last - 1)
    assert [event.seq for event in again.read("mqtt", 1)] == [last + 1]
    assert [event.seq for event in again.since(0)] == [n for n in range(1, 41) if n != last]
    assert again.state().counts == {"damaged_files": 1}


@pytest.mark.parametrize("wall_too", [False, True])
def test_a_new_outbox_is_no_second_old(start: Start, clocks: Clocks, *, wall_too: bool) -> None:
    outbox = start()
    assert outbox.age() == 0.0
    clocks.mono += 2.5
    clocks.wall += 60 * wall_too
    assert outbox.age() == 2.5


@pytest.mark.parametrize("how", ["close", "prune"])
def test_the_age_goes_on_where_it_was_saved(start: Start, clocks: Clocks, how: str) -> None:
    outbox = start()
    put(outbox, "a")
    clocks.mono += 100  # and the wall clock stands still
    getattr(outbox, how)()
    clocks.mono = 3.0
    assert start().age() == 100.0
    clocks.wall += 20
    assert start().age() == 120.0


def test_an_event_has_the_age_and_the_time_at_which_it_was_made(
    start: Start, clocks: Clocks
) -> None:
    outbox = start()
    clocks.pass_time(7)
    put(outbox, "a")
    (event,) = outbox.read("mqtt")
    assert (event.seq, event.age, event.wall) == (1, 7.0, 1.7e9 + 7)
    assert (event.kind, event.body) == ("decision", b"a")


def test_appending_nothing_gives_no_number(start: Start) -> None:
    outbox = start()
    put(outbox, "a")
    assert outbox.append([]) == Appended(0, 0, durable=True)
    assert outbox.append([("k", b"b"), ("k", b"c")]) == Appended(2, 3, durable=True)


def test_a_hundred_are_read_at_once_and_a_thousand_after_a_number(start: Start) -> None:
    outbox = start()
    put(outbox, *map(str, range(1001)))
    assert len(outbox.read("mqtt")) == 100
    assert len(outbox.since(0)) == 1000


def test_a_consumer_that_is_gone_for_long_leaves_no_name_in_the_file(
    start: Start, clocks: Clocks, path: Path
) -> None:
    outbox = start(OutboxLimits(max_age_s=10))
    outbox.subscribe("web")
    clocks.pass_time(1)
    outbox.only(["mqtt"])
    with closing(OutboxFile(path)) as file:
        assert file.cursors() == {"mqtt": Cursor(0), "web": Cursor(0, away=1.0)}
    clocks.pass_time(11)
    outbox.prune()
    with closing(OutboxFile(path)) as file:
        assert file.cursors() == {"mqtt": Cursor(0)}


def test_nobody_waits_for_what_was_given_up(start: Start, clocks: Clocks) -> None:
    outbox = start(OutboxLimits(max_age_s=10))
    put(outbox, "a", "b")
    clocks.pass_time(11)
    outbox.prune()
    assert outbox.state().lag == {"mqtt": 0}
    assert outbox.read("mqtt") == []
    assert not outbox.wait("mqtt", 0)
    put(outbox, "c")
    assert outbox.wait("mqtt", 0)
    assert outbox.state().lag == {"mqtt": 1}


def ask_again(path: Path, *which: tuple[str, int]) -> None:
    """As the command `events retry` does, from another process."""
    with closing(OutboxFile(path)) as file:
        file.ask_again(which)


@pytest.fixture
def refused(start: Start) -> Outbox:
    """Four events; `mqtt` refused the first three, and `web` the second."""
    outbox = start()
    outbox.subscribe("web")
    put(outbox, "a", "b", "c", "d")
    for event in outbox.read("mqtt", 3):
        assert outbox.refuse("mqtt", event, f"no {event.seq}")
    assert outbox.refuse("web", outbox.read("web")[1], "too big")
    return outbox


def test_only_what_somebody_asked_for_is_sent_again_to_whom_refused_it(
    refused: Outbox, path: Path
) -> None:
    assert refused.state().set_aside == {"mqtt": 3, "web": 1}
    assert refused.state().refused == {"mqtt": 3, "web": 1}
    assert refused.read_again("mqtt") == []
    ask_again(path, ("mqtt", 1), ("mqtt", 2), ("web", 2))
    refused.check()
    found = refused.read_again("mqtt")
    assert [(r.consumer, r.event.body, r.error, r.tries) for r in found] == [
        ("mqtt", b"a", "no 1", 1), ("mqtt", b"b", "no 2", 1),
    ]  # fmt: skip
    assert refused.read_again("mqtt", 1) == found[:1], "the same, until it is settled"
    assert [r.error for r in refused.read_again("web")] == ["too big"]


def test_a_consumer_of_whom_nothing_was_asked_waits(refused: Outbox, path: Path) -> None:
    refused.ack("mqtt", 4)
    refused.ack("web", 4)
    ask_again(path, ("web", 2))
    refused.check()
    assert refused.wait("web", 0)
    assert not refused.wait("mqtt", 0)


def test_what_was_taken_or_refused_again_is_not_sent_a_third_time(
    refused: Outbox, path: Path
) -> None:
    refused.ack("mqtt", 4)
    ask_again(path, ("mqtt", 1), ("mqtt", 2))
    refused.check()
    taken, again = refused.read_again("mqtt")
    assert refused.settle(taken, None)
    assert refused.read_again("mqtt") == [again]
    assert refused.settle(again, "still too big")
    assert refused.wait("mqtt", 0), "it has not looked yet"
    assert refused.read_again("mqtt") == []
    assert not refused.wait("mqtt", 0)
    with closing(OutboxFile(path)) as file:
        left = file.refused("mqtt")
    assert left[0] == Refused("mqtt", again.event, "still too big", tries=2, again=False)
    assert [item.event.body for item in left] == [b"b", b"c"]


def test_a_hundred_are_sent_again_at_once(start: Start, path: Path) -> None:
    outbox = start()
    put(outbox, *map(str, range(101)))
    for event in outbox.read("mqtt", 101):
        outbox.refuse("mqtt", event, "no")
    ask_again(path, *(("mqtt", seq) for seq in range(1, 102)))
    outbox.check()
    assert len(outbox.read_again("mqtt")) == 100


def test_a_file_that_nobody_changed_is_not_looked_through(path: Path) -> None:
    looks = 0

    class Counting(OutboxFile):
        def refused(
            self, consumer: str | None = None, *, again: bool = False, limit: int = -1
        ) -> list[Refused]:
            nonlocal looks
            looks += 1
            return super().refused(consumer, again=again, limit=limit)

    outbox = Outbox(path, open_file=Counting)
    assert looks == 1, "what was asked while nobody ran"
    put(outbox, "a")
    for _ in range(3):
        outbox.check()
    assert looks == 1
    with closing(OutboxFile(path)) as other:
        other.save_clock(1.0, 1.7e9)
    for _ in range(3):
        outbox.check()
    assert looks == 2


def test_a_refusal_that_the_disk_does_not_take_is_none(path: Path) -> None:
    class Choosy(OutboxFile):
        full = False

        def write(self, *args: object, **more: object) -> None:
            if Choosy.full:
                raise sqlite3.OperationalError("database or disk is full")
            super().write(*args, **more)  # type: ignore[arg-type]

    outbox = Outbox(path, OutboxLimits(retry_s=0.0), open_file=Choosy)
    outbox.subscribe("mqtt")
    put(outbox, "a", "b", "c")
    *first, last = outbox.read("mqtt")
    for event in first:
        assert outbox.refuse("mqtt", event, "no")
    Choosy.full = True
    for _ in range(2):
        assert not outbox.refuse("mqtt", last, "no")
        assert outbox.state().refused == {"mqtt": 2}
        assert outbox.read("mqtt") == [last]
    Choosy.full = False
    assert outbox.refuse("mqtt", last, "no")
    assert (outbox.state().refused, outbox.state().lag) == ({"mqtt": 3}, {"mqtt": 0})
