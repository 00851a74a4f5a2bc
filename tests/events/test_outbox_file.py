"""The outbox's file by itself: what goes in comes out, what is old goes, what is no outbox is not
opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jetson_face.events import outbox_file
from jetson_face.events.outbox_file import Evicted, OutboxFile
from jetson_face.events.outbox_rows import Changes, Cursor, DamagedError, Event, Refused
from jetson_face.util.files import Inode


def event(seq: int, body: bytes = b"{}") -> Event:
    """Written at `seq` seconds of service time."""
    return Event(seq, float(seq), 1.7e9 + seq, "decided", body)


def events(*seqs: int) -> list[Event]:
    return [event(seq) for seq in seqs]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "state" / "outbox.db"


@pytest.fixture
def file(path: Path) -> Iterator[OutboxFile]:
    with closing(OutboxFile(path)) as made:
        yield made


def opened(path: Path) -> int:
    """How often this process has it open, by its own account."""
    return outbox_file._OPEN.get(Inode.of(path.stat()), 0)


# --- the file ------------------------------------------------------------------------------------


def test_the_folder_is_its_own_and_what_was_committed_is_on_the_disk(
    file: OutboxFile, path: Path
) -> None:
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600
    told = {name: file._db.execute(f"PRAGMA {name}").fetchone()[0] for name in SET_UP}
    assert told == SET_UP


SET_UP = {
    "journal_mode": "wal",
    "synchronous": 2,
    "wal_autocheckpoint": 256,
    "journal_size_limit": 1 << 20,
    "secure_delete": 1,
}


def test_a_copy_is_private_whole_and_takes_the_place_of_another(
    file: OutboxFile, tmp_path: Path
) -> None:
    file.write(Changes(events(1, 2), {"a": Cursor(1)}))
    copy = tmp_path / "other" / "place" / "copy.db"
    file.copy_to(copy)
    assert copy.parent.stat().st_mode & 0o777 == 0o700
    assert copy.stat().st_mode & 0o777 == 0o600
    file.write(Changes(events(3)))
    copy.chmod(0o644)
    file.copy_to(copy)
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(OutboxFile(copy)) as other:
        assert other.read(0, 10) == (events(1, 2, 3), [])
        assert other.cursors() == {"a": Cursor(1)}


def test_it_knows_how_often_it_is_open(file: OutboxFile, path: Path) -> None:
    assert opened(path) == 1
    second, third = OutboxFile(path), OutboxFile(path)
    assert opened(path) == 3
    second.close()
    second.close()
    assert opened(path) == 2
    third.close()
    file.close()
    assert Inode.of(path.stat()) not in outbox_file._OPEN


def test_what_is_not_opened_is_not_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(OutboxFile(path)) as file:
        file._db.execute("PRAGMA user_version = 99")
    with pytest.raises(DamagedError, match="outbox version 99"):
        OutboxFile(path)
    assert opened(path) == 0

    def fails(*_: object, **__: object) -> None:
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(outbox_file, "Db", fails)
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        OutboxFile(path)
    assert opened(path) == 0


def test_closing_never_raises(path: Path) -> None:
    file = OutboxFile(path)
    close = file._db.close

    def fails() -> None:
        close()
        raise sqlite3.OperationalError("disk I/O error")

    setattr(file._db, "close", fails)  # noqa: B010
    file.close()
    assert opened(path) == 0


@pytest.mark.parametrize("versions", [(1, 1), (2, 2), (1, 2), (2, 1)])
def test_a_file_of_another_journal_is_read_on(path: Path, versions: tuple[int, int]) -> None:
    with closing(OutboxFile(path)) as file:
        file.write(Changes(events(1)))
    change_head(path, *versions)
    with closing(OutboxFile(path)) as again:
        assert again.read(0, 10) == (events(1), [])


@pytest.mark.parametrize("versions", [(3, 1), (1, 3), (0, 2), (2, 0)])
def test_a_file_whose_head_says_that_nobody_may_write_is_damaged(
    path: Path, versions: tuple[int, int]
) -> None:
    with closing(OutboxFile(path)):
        pass
    change_head(path, *versions)
    with pytest.raises(DamagedError, match="file is not a database"):
        OutboxFile(path)


def change_head(path: Path, write: int, read: int) -> None:
    data = bytearray(path.read_bytes())
    data[18], data[19] = write, read
    path.write_bytes(data)


def test_a_text_of_any_length_is_no_database(path: Path) -> None:
    path.parent.mkdir(parents=True)
    for text in (b"x", b"x" * 18 + b"\1\1" + b"x" * 5000):
        path.write_bytes(text)
        with pytest.raises(DamagedError, match="file is not a database"):
            OutboxFile(path)


def test_it_notices_when_it_is_not_in_its_place(file: OutboxFile, path: Path) -> None:
    assert file.in_place
    path.unlink()
    assert not file.in_place


def test_it_notices_what_another_writes(file: OutboxFile, path: Path) -> None:
    before = file.foreign_changes
    file.write(Changes(events(1)))
    assert file.foreign_changes == before
    with closing(OutboxFile(path)) as other:
        other.write(Changes(events(2)))
    assert file.foreign_changes != before


# --- rows ----------------------------------------------------------------------------------------


def test_a_new_file_holds_nothing(file: OutboxFile) -> None:
    assert (file.rows(), file.first_seq(), file.last_seq()) == (0, 0, 0)
    assert (file.read(0, 10), file.refused(), file.refused_counts()) == (([], []), [], {})
    assert (file.cursors(), file.counts(), file.last_clock()) == ({}, {}, (0.0, 0.0))


def test_everything_written_is_read_again_in_its_order(file: OutboxFile) -> None:
    cursors, counts = {"a": Cursor(1, 7.5), "b": Cursor(9)}, {"age": 3, "size": 4}
    file.write(Changes(events(3, 4, 5), cursors, counts))
    file.write(Changes([event(4, b"another"), event(6)], {"a": Cursor(2)}, {"age": 5}))
    assert file.read(0, 10) == (events(3, 4, 5, 6), [])
    assert file.read(3, 2) == (events(4, 5), [])
    assert file.cursors() == {"a": Cursor(2), "b": Cursor(9)}
    assert file.counts() == {"age": 5, "size": 4}
    assert (file.rows(), file.first_seq(), file.last_seq()) == (4, 3, 9)
    file.forget("b")
    assert (file.cursors(), file.last_seq()) == ({"a": Cursor(2)}, 6)
    file.delete([3, 6])
    assert (file.read(0, 10), file.last_seq()) == ((events(4, 5), []), 6)


def test_a_damaged_row_is_told_by_its_number(file: OutboxFile) -> None:
    file.write(Changes(events(1, 2, 3)))
    file._db.execute("UPDATE events SET kind = 'changed' WHERE seq = 2")
    assert file.read(0, 10) == (events(1, 3), [2])


def refused(consumer: str, seq: int, tries: int = 1, *, again: bool = False) -> Refused:
    return Refused(consumer, event(seq), f"{consumer} will not", tries, again)


def test_what_was_refused_is_listed_asked_for_again_and_settled(file: OutboxFile) -> None:
    items = [refused("a", 3, 2), refused("b", 1), refused("a", 1, 4, again=True)]
    file.write(Changes(refused=items))
    first = [refused("a", 1, 4, again=True), items[0]]
    assert file.refused("a") == first
    assert sorted(file.refused(), key=str) == sorted(items, key=str)
    assert [one.event.seq for one in file.refused()] == [1, 1, 3]
    assert file.refused("a", limit=1) == first[:1]
    assert file.refused(again=True) == first[:1]
    assert file.refused_counts() == {"a": 2, "b": 1}
    assert file.ask_again([("b", 1), ("b", 3), ("c", 1)]) == 1
    assert file.refused("b", again=True) == [refused("b", 1, again=True)]
    file.write(Changes(refused=[refused("b", 1, 2)], settled=[("a", 1), ("b", 9)]))
    assert file.refused("b") == [refused("b", 1, 2)]
    assert file.refused_counts() == {"a": 1, "b": 1}


def test_the_newest_time_that_is_known_is_the_clock_s_or_an_event_s(file: OutboxFile) -> None:
    file.save_clock(1.5, 1.6e9)
    assert file.last_clock() == (1.5, 1.6e9)
    file.write(Changes(events(2, 3)))
    assert file.last_clock() == (3.0, 1.7e9 + 3)
    file.save_clock(9.0, 1.5e9)
    assert file.last_clock() == (9.0, 1.5e9)


def test_used_bytes_are_those_of_pages_in_use(file: OutboxFile) -> None:
    empty = file.used_bytes()
    assert empty % 4096 == 0
    file.write(Changes([event(n, b"x" * 3000) for n in range(1, 51)]))
    assert 50 * 3000 < file.used_bytes() - empty < 100 * 4096
    file.delete(range(1, 51))
    assert file.used_bytes() == empty


# --- what goes -----------------------------------------------------------------------------------


def test_what_was_written_before_an_age_goes(file: OutboxFile) -> None:
    file.write(Changes(events(1, 2, 3, 4, 5), refused=[refused("a", 1), refused("a", 4)]))
    assert file.evict_older(4.0, 2) == Evicted(rows=3, unread=1, refused=1)
    assert file.read(0, 10) == (events(4, 5), [])
    assert file.refused() == [refused("a", 4)]
    assert file.evict_older(4.0, 2) == Evicted(0, 0, 0)


@pytest.mark.parametrize(
    ("share", "gone"),
    [(0.01, Evicted(1, 0)), (0.25, Evicted(2, 1)), (0.5, Evicted(5, 4)), (1.0, Evicted(8, 7, 2))],
)
def test_a_share_of_the_oldest_goes_at_least_one(
    file: OutboxFile, share: float, gone: Evicted
) -> None:
    """Of ten rows, two of them refused ones."""
    file.write(Changes(events(1, 2, 3, 4, 5, 6, 7, 8), refused=[refused("a", 9), refused("a", 10)]))
    assert file.evict_share(share, 1) == gone
    assert file.rows() == 8 - gone.rows


def test_of_what_holds_a_text_every_body_is_new_and_a_damaged_row_goes(
    file: OutboxFile, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_file, "_CHUNK", 2)
    kept = event(6, b"Bob")
    bodies = [event(n, b"Ada %d" % n) for n in range(1, 6)]
    apart = [
        Refused("a", bodies[0], "no"),
        Refused("a", event(9, b"Ada 9"), "no Ada"),
        Refused("a", event(10, b"Ada 10"), "no"),
        Refused("b", kept, "no Bob"),
    ]
    file.write(Changes([*bodies, kept], refused=apart))
    file._db.execute("UPDATE events SET age = 99.0 WHERE seq = 3")
    file._db.execute("UPDATE refused SET age = 99.0 WHERE seq = 10")
    assert file.rewrite(b"Ada", lambda body: body.replace(b"Ada", b"***")) == 7
    new = [event(n, b"*** %d" % n) for n in (1, 2, 4, 5)]
    assert file.read(0, 10) == ([*new, kept], [])
    assert file.refused() == [
        Refused("a", new[0], "no"),
        Refused("b", kept, "no Bob"),
        Refused("a", event(9, b"*** 9"), ""),
    ]
    assert path.with_name("outbox.db-wal").stat().st_size == 0
    assert b"Ada" not in path.read_bytes()
