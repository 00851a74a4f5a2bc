"""What happens to the outbox's file: damaged in any way, taken away, of an earlier version."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.events.older import document
from jetson_face.events.outbox import Event, Outbox, OutboxLimits
from jetson_face.events.outbox_file import OutboxFile
from tests.events.event_help import face_body, read_event
from tests.events.test_outbox import bodies, put

OLD_SCHEMA = """
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    age REAL NOT NULL, wall REAL NOT NULL, kind TEXT NOT NULL,
    body BLOB NOT NULL, sum BLOB NOT NULL
);
CREATE INDEX events_by_age ON events (age);
CREATE TABLE consumers (name TEXT PRIMARY KEY, acked INTEGER NOT NULL);
CREATE TABLE counts (name TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), age REAL, wall REAL);
PRAGMA user_version = 1;
"""
QUICK = OutboxLimits(retry_s=0.0)


def path_in(folder: Path) -> Path:
    return folder / "outbox.db"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return path_in(tmp_path)


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    """One with five events, of which `mqtt` has two."""
    box = Outbox(path, QUICK)
    box.subscribe("mqtt")
    put(box, "a", "b", "c", "d", "e")
    box.ack("mqtt", 2)
    yield box
    box.close()


def goes_on(path: Path) -> Outbox:
    """A start on whatever is there: what is added is on the disk and comes out again."""
    box = Outbox(path, QUICK)
    box.subscribe("mqtt")
    before = box.read("mqtt", 10_000)
    assert put(box, "new")
    after = box.read("mqtt", 10_000)
    assert bodies(after)[-1] == b"new"
    assert set(bodies(after)[:-1]) <= set(bodies(before))
    if not {"damaged_files", "damaged_rows"} & box.state().counts.keys():
        assert len(after) == len(before) + 1
    box.ack("mqtt", after[-1].seq)
    box.prune()
    state = box.state()
    assert (state.error, state.memory, state.lag) == (None, 0, {"mqtt": 0})
    box.close()
    again = Outbox(path, QUICK)
    again.subscribe("mqtt")
    assert again.read("mqtt") == []
    return again


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An outbox with some of everything."""
    path = path_in(tmp_path_factory.mktemp("image"))
    box = Outbox(path)
    box.subscribe("mqtt")
    box.subscribe("web")
    for index in range(60):
        box.append([("decided", face_body(frame=index) + b" " * 150)])
    for event in box.read("web", 3):
        assert box.refuse("web", event, "answered 400")
    box.ack("mqtt", 20)
    box.prune()
    box.close()
    return path


EDITS = st.lists(
    st.one_of(
        st.tuples(st.just("flip"), st.integers(0, 2**31), st.integers(1, 255)),
        st.tuples(st.just("head"), st.integers(0, 99), st.integers(1, 255)),
        st.tuples(st.just("fill"), st.integers(0, 2**31), st.integers(0, 255)),
        st.tuples(st.just("cut"), st.integers(0, 2**31), st.just(0)),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=25, deadline=None)
@given(edits=EDITS)
def test_any_damage_is_set_aside_or_passed_over_and_work_goes_on(
    tmp_path_factory: pytest.TempPathFactory, image: Path, edits: list[tuple[str, int, int]]
) -> None:
    damage(tmp_path_factory, image, edits)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=2000, deadline=None)
@given(edits=EDITS)
def test_2000_kinds_of_damage(
    tmp_path_factory: pytest.TempPathFactory, image: Path, edits: list[tuple[str, int, int]]
) -> None:
    damage(tmp_path_factory, image, edits)


def damage(
    tmp_path_factory: pytest.TempPathFactory, image: Path, edits: list[tuple[str, int, int]]
) -> None:
    """Start on a copy of the image that was edited."""
    data = bytearray(image.read_bytes())
    whole = len(data)
    for kind, at, value in edits:
        if kind == "cut":
            del data[at % whole :]
        elif data:
            at %= min(len(data), 100) if kind == "head" else len(data)
            if kind == "fill":
                data[at : at + 700] = bytes([value]) * len(data[at : at + 700])
            else:
                data[at] ^= value
    path = path_in(tmp_path_factory.mktemp("damaged"))
    path.write_bytes(data)
    goes_on(path).close()


@pytest.mark.parametrize("data", [b"x", b"\xff" * 5000, b"SQLite format 3\0", b"{}" * 3000])
def test_a_file_that_is_no_database_is_set_aside_and_counted_for_good(
    path: Path, data: bytes
) -> None:
    path.write_bytes(data)
    box = goes_on(path)
    assert box.state().counts["damaged_files"] == 1
    assert path.with_name("outbox.db.broken").read_bytes() == data
    box.close()


TAMPERS = (
    "DROP TABLE events",
    "DROP TABLE counts",
    "ALTER TABLE clock RENAME COLUMN wall TO x",
    "CREATE TABLE more (x)",
    "PRAGMA user_version = 99",
    "PRAGMA user_version = 0",
    "UPDATE consumers SET acked = 'many'",
    "UPDATE consumers SET acked = -5",
    "UPDATE consumers SET acked = 9223372036854775807",
    "UPDATE consumers SET name = CAST(x'ff00ff' AS TEXT)",
    "INSERT INTO counts VALUES ('age', 'x')",
    "INSERT INTO counts VALUES ('age', x'ff')",
    "INSERT OR REPLACE INTO clock VALUES (1, 'now', x'ff')",
    "INSERT OR REPLACE INTO clock VALUES (1, 9e999, 0)",
    "INSERT OR REPLACE INTO clock VALUES (1, NULL, NULL)",
    "UPDATE sqlite_sequence SET seq = 'last'",
    "UPDATE sqlite_sequence SET seq = 9223372036854775807",
    "UPDATE events SET kind = CAST(x'ffc0' AS TEXT)",
    "UPDATE events SET body = 7 WHERE seq = 3",
    "UPDATE events SET age = x'ff', wall = 'w'",
    "UPDATE events SET seq = 9223372036854775807 WHERE seq = 5",
    "INSERT INTO refused VALUES (x'ff', 1, 'x', 'y', 9, 'a', 'w', 1, 'b', '')",
    "INSERT INTO refused VALUES ('mqtt', CAST(x'ff' AS TEXT), 'x', 1, 9, 1, 1, 'k', x'', x'')",
)


@pytest.mark.parametrize("tamper", TAMPERS)
def test_a_file_whose_rows_this_program_never_wrote_stops_nothing(
    path: Path, outbox: Outbox, tamper: str
) -> None:
    outbox.close()
    with sqlite3.connect(path) as db:
        db.execute(tamper)
    db.close()
    goes_on(path).close()


def test_a_table_whose_name_is_no_text_stops_nothing(path: Path, outbox: Outbox) -> None:
    """SQLite's message quotes it, and Python cannot read that."""
    outbox.close()
    data = path.read_bytes()
    name, statement = b"tableeventsevents", b"CREATE TABLE events"
    assert (data.count(name), data.count(statement)) == (1, 1)
    data = data.replace(name, b"table\xff\xfeentsevents").replace(statement, b"CREATE TABLE (vents")
    path.write_bytes(data)
    with pytest.raises(UnicodeDecodeError), sqlite3.connect(path) as db:
        db.execute("SELECT 1 FROM sqlite_master")
    db.close()
    box = goes_on(path)
    assert box.state().counts == {"damaged_files": 1}
    box.close()


def test_what_can_be_read_of_a_damaged_file_is_kept_with_its_counts(path: Path) -> None:
    box = Outbox(path, QUICK)
    box.subscribe("mqtt")
    put(box, *"abcdefgh")
    box.ack("mqtt", 2)
    assert box.refuse("mqtt", box.read("mqtt", 1)[0], "answered 422")
    box.close()
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE clock RENAME COLUMN wall TO x")
    db.close()
    again = Outbox(path, QUICK)
    again.subscribe("mqtt")
    assert bodies(again.read("mqtt")) == [bytes([c]) for c in b"defgh"]
    state = again.state()
    assert (state.refused, state.set_aside) == ({"mqtt": 1}, {"mqtt": 1})
    assert state.counts == {"damaged_files": 1}
    again.close()


def test_rows_on_both_sides_of_damaged_pages_are_kept(image: Path, path: Path) -> None:
    data = bytearray(image.read_bytes())
    leaves = [
        at
        for at in range(0, len(data), 4096)
        if data[at] == 13 and b'"kind"' in data[at : at + 4096]
    ]
    for at in (leaves[2], leaves[4]):
        data[at : at + 100] = b"\xff" * 100
    path.write_bytes(data)
    box = Outbox(path, QUICK)
    box.subscribe("all")
    frames = [read_event(event.body)["frame"] for event in box.read("all", 100)]
    put(box, "new")
    after = box.read("all", 100)
    assert box.state().counts == {"damaged_files": 1}
    kept = [read_event(event.body)["frame"] for event in after[:-1]]
    gap = set(range(60)) - set(kept)
    assert {*frames, 0, 59} <= set(kept)
    assert 0 < len(gap) < 25
    assert max(gap) - min(gap) > len(gap)  # two gaps, with rows between them
    box.close()


@pytest.mark.parametrize("names", [["outbox.db"], ["outbox.db", "outbox.db-wal", "outbox.db-shm"]])
def test_a_file_deleted_under_the_program_is_written_again(
    path: Path, outbox: Outbox, names: list[str]
) -> None:
    for name in names:
        path.with_name(name).unlink()
    outbox.check()
    assert path.exists()
    assert bodies(outbox.read("mqtt")) == [b"c", b"d", b"e"]
    assert put(outbox, "f")
    state = outbox.state()
    assert (state.counts, state.error, state.lag) == ({"replaced_files": 1}, None, {"mqtt": 4})
    assert path.stat().st_mode & 0o777 == 0o600
    outbox.close()
    again = Outbox(path)
    again.subscribe("mqtt")
    assert bodies(again.read("mqtt")) == [b"c", b"d", b"e", b"f"]
    assert again.state().counts == {"replaced_files": 1}
    again.close()


def test_the_next_event_notices_too(path: Path, outbox: Outbox) -> None:
    path.unlink()
    assert put(outbox, "f")
    file = OutboxFile(path)
    assert len(file.read(0, 10)[0]) == 6
    file.close()


def test_another_file_in_its_place_is_kept_aside(
    tmp_path: Path, path: Path, outbox: Outbox
) -> None:
    other = Outbox(path_in(tmp_path / "other"))
    put(other, "of another time")
    other.close()
    path_in(tmp_path / "other").replace(path)
    outbox.check()
    assert bodies(outbox.read("mqtt")) == [b"c", b"d", b"e"]
    aside = OutboxFile(path.with_name("outbox.db.broken"))
    assert bodies(aside.read(0, 10)[0]) == [b"of another time"]
    aside.close()


def test_deleted_with_its_folder_and_a_disk_that_takes_nothing_it_waits_in_memory(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "state"
    box = Outbox(path_in(folder), QUICK)
    box.subscribe("mqtt")
    put(box, "a", "b")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    folder.write_text("in the way")
    assert not put(box, "c")
    assert box.state().error
    folder.unlink()
    assert put(box, "d")
    assert bodies(box.read("mqtt")) == [b"a", b"b", b"c", b"d"]
    assert box.state().counts == {"replaced_files": 1}
    box.close()


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path, path: Path) -> None:
    for name in ("outbox.db.new", "outbox.db.new-wal"):
        path.with_name(name).write_bytes(b"Ada")
    Outbox(path).close()
    assert [p.name for p in tmp_path.iterdir()] == ["outbox.db"]


def old_outbox(path: Path, bodies: list[bytes], acked: int) -> None:
    """As the version before wrote it."""
    db = sqlite3.connect(path)
    db.executescript(OLD_SCHEMA)
    for seq, body in enumerate(bodies, 1):
        event = Event(seq, float(seq), 1.7e9 + seq, "decision", body)
        db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", event.row)
    db.execute("INSERT INTO consumers VALUES ('mqtt', ?)", (acked,))
    db.execute("INSERT INTO counts VALUES ('age', 7)")
    db.commit()
    db.close()


OLD_BODY = {
    "time": "2026-01-01T00:00:00.000Z", "source": "door", "seq": 25, "track": 1, "state": "known",
    "name": "Ada", "person": "p-ada", "similarity": 0.8, "box": [1.0, 2.0, 3.0, 4.0], "frames": 6,
    "media_ms": 1000.0,
}  # fmt: skip


def test_an_outbox_of_the_version_before_is_read_on(path: Path) -> None:
    old_outbox(path, [json.dumps(OLD_BODY).encode()] * 5, acked=2)
    ids = []
    for _ in range(2):  # also after a restart before it was acknowledged
        box = Outbox(path)
        box.subscribe("mqtt")
        events = [read_event(document(event)) for event in box.read("mqtt")]
        assert [(e["kind"], e["frame"], e["name"]) for e in events] == [("decided", 25, "Ada")] * 3
        ids.append([event["id"] for event in events])
        assert box.state().counts == {"age": 7}
        box.close()
    assert ids[0] == ids[1] == sorted(set(ids[0]))
    box = Outbox(path)
    box.subscribe("mqtt")
    assert box.refuse("mqtt", box.read("mqtt", 1)[0], "answered 422")
    assert box.append([("decided", face_body())]).first == 6
    box.close()


def test_a_damaged_outbox_of_the_version_before_is_salvaged(path: Path) -> None:
    old_outbox(path, [b'{"n": 1}', b'{"n": 2}'], acked=1)
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE clock")
    db.close()
    box = Outbox(path)
    box.subscribe("mqtt")
    assert bodies(box.read("mqtt")) == [b'{"n": 2}']
    assert box.state().counts == {"age": 7, "damaged_files": 1}
    box.close()


def test_positions_survive_a_disk_that_is_away_at_the_start(path: Path, outbox: Outbox) -> None:
    outbox.close()
    away = True

    def open_file(path: Path) -> OutboxFile:
        if away:
            raise sqlite3.OperationalError("unable to open database file")
        return OutboxFile(path)

    box = Outbox(path, QUICK, open_file=open_file)
    box.subscribe("mqtt")
    away = False
    put(box, "f")
    assert bodies(box.read("mqtt")) == [b"c", b"d", b"e", b"f"]
    box.close()


def test_a_busy_disk_of_another_program_damages_nothing(path: Path, outbox: Outbox) -> None:
    """An erasure or a retry writes to the same file."""
    draw = random.Random(1)
    pid = os.fork()
    if pid == 0:
        other = OutboxFile(path)
        for _ in range(20):
            other.rewrite(b"zzz", lambda body: body)
        os._exit(0)
    for _ in range(60):
        assert put(outbox, "x" * draw.randint(1, 500))
    os.waitpid(pid, 0)
    assert outbox.state().counts == {}


def test_a_file_that_a_process_opens_twice_keeps_its_log(outbox: Outbox, path: Path) -> None:
    """A second look must not drop the first one's locks: another process would delete the log under
    it, and what is added then would be gone after a power cut."""
    program = "import sys, pathlib; from jetson_face.events.outbox_file import OutboxFile\n" \
              "f = OutboxFile(pathlib.Path(sys.argv[1])); print(f.rows()); f.close()"  # fmt: skip
    for opened in (1, 2):
        for _ in range(opened):  # closed, it leaves the locks alone as well
            second = OutboxFile(path)
            second.close()
            second.close()
        put(outbox, "f")
        told = subprocess.run(
            [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
        )
        assert int(told.stdout) == 5 + opened
