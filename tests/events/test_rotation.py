"""Files of events that never grow beyond what was set."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.core.types import Person
from jetson_face.events.delivery import SinkDownError
from jetson_face.events.lines import LineFile
from jetson_face.events.outbox import Event
from jetson_face.events.rotating import RotatingJsonl
from tests.events.event_help import face_body, read_event, read_events


def event(seq: int, size: int = 20) -> Event:
    person = Person("p", "x" * size)
    return Event(seq, 0.0, 1.0, "decided", face_body(person, frame=seq))


def numbers(folder: Path) -> list[int]:
    """The events kept, oldest first."""
    files = sorted(folder.glob("events.jsonl*"), key=lambda p: -int(p.suffix.strip(".jsonl") or 0))
    return [event["frame"] for file in files for event in read_events(file)]


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 400), min_size=1, max_size=80),
    batch=st.integers(1, 7),
    files=st.integers(1, 4),
)
def test_total_size_is_bounded_and_the_newest_stay(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], batch: int, files: int
) -> None:
    folder = tmp_path_factory.mktemp("events")
    sink = RotatingJsonl(folder / "events.jsonl", max_bytes=2000, files=files)
    events = [event(seq, size) for seq, size in enumerate(sizes)]
    for start in range(0, len(events), batch):
        sink.send(events[start : start + batch])
        if start % 3 == 0:
            sink.close()
        assert sum(path.stat().st_size for path in folder.iterdir()) <= 2000 * files
    kept = numbers(folder)
    assert kept == list(range(len(sizes) - len(kept), len(sizes)))
    assert len(list(folder.iterdir())) <= files


def test_a_torn_last_line_is_cut_before_the_next_event(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = RotatingJsonl(path, max_bytes=10**6, files=2)
    sink.send([event(1)])
    sink.close()
    with path.open("ab") as file:
        file.write(b'{"frame": 2, "kind' + b"x" * 100_000)
    sink.send([event(2)])
    assert numbers(tmp_path) == [1, 2]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_with_no_whole_line_is_started_anew(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"torn")
    RotatingJsonl(tmp_path / "events.jsonl", max_bytes=2000, files=2).send([event(1)])
    assert numbers(tmp_path) == [1]


def test_a_disk_that_takes_half_a_line_keeps_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = RotatingJsonl(tmp_path / "events.jsonl", max_bytes=2000, files=2)
    sink.send([event(1)])
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:10]))
    with pytest.raises(SinkDownError, match="No space left"):
        sink.send([event(2)])
    monkeypatch.undo()
    sink.send([event(2)])
    assert numbers(tmp_path) == [1, 2]


def test_a_folder_that_cannot_be_made_is_a_sink_that_is_down(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkDownError):
        RotatingJsonl(tmp_path / "file" / "e.jsonl", max_bytes=1, files=1).send([event(1)])


@pytest.mark.parametrize("how", ["deleted", "moved", "folder", "emptied"])
def test_a_file_taken_away_is_begun_again(tmp_path: Path, how: str) -> None:
    """By `rm`, by logrotate, by somebody who tidies up."""
    folder = tmp_path / "log"
    path, aside = folder / "events.jsonl", tmp_path / "aside.jsonl"
    sink = RotatingJsonl(path, max_bytes=10**6, files=2)
    sink.send([event(1)])
    if how == "deleted":
        path.unlink()
    elif how == "moved":
        path.rename(aside)
    elif how == "folder":
        shutil.rmtree(folder)
    else:
        aside.write_bytes(path.read_bytes())
        os.truncate(path, 0)
    sink.send([event(2)])
    sink.send([event(3)])
    assert numbers(folder) == [2, 3]
    assert path.stat().st_mode & 0o777 == 0o600
    if aside.exists():
        assert [e["frame"] for e in read_events(aside)] == [1]
    sink.close()


def test_lines_of_a_file_deleted_while_they_were_written_are_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    sink = RotatingJsonl(path, max_bytes=10**6, files=2)
    sync = os.fsync

    def deleted(fd: int) -> None:
        sync(fd)
        path.unlink()
        monkeypatch.undo()

    sink.send([event(1)])
    monkeypatch.setattr(os, "fsync", deleted)
    sink.send([event(2), event(3)])
    assert numbers(tmp_path) == [2, 3]
    sink.close()


def test_a_file_that_is_deleted_all_the_time_is_a_sink_that_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    sink = RotatingJsonl(path, max_bytes=10**6, files=2)
    synced: list[int] = []

    def deleted(fd: int) -> None:
        synced.append(fd)
        path.unlink()

    monkeypatch.setattr(os, "fsync", deleted)
    with pytest.raises(SinkDownError, match="deleted while it was written, twice"):
        sink.send([event(1)])
    assert len(synced) == 2
    sink.close()


@pytest.mark.parametrize(
    ("whole", "torn"),
    [(b"", b"abc"), (b'{"n": 1}\n', b"x" * 65_535), (b'{"n": 1}\n', b"x" * 65_536), (b"\n", b"x")],
)
def test_a_torn_line_of_any_length_goes_and_no_whole_one(
    tmp_path: Path, whole: bytes, torn: bytes
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(whole + torn)
    file = LineFile(path)
    file.append(b"next\n")
    file.close()
    assert path.read_bytes() == whole + b"next\n"


def test_the_folders_of_a_file_are_made_for_its_owner_only(tmp_path: Path) -> None:
    file = LineFile(tmp_path / "log" / "door" / "events.jsonl")
    file.open()
    file.close()
    modes = [path.stat().st_mode & 0o777 for path in (file.path.parent, file.path)]
    assert modes == [0o700, 0o600]


def by_file(folder: Path) -> dict[str, list[int]]:
    """The events kept, by the end of their file's name."""
    kept = {p.name.removeprefix("events.jsonl"): read_events(p) for p in folder.iterdir()}
    return {name: [e["frame"] for e in events] for name, events in kept.items()}


def test_the_number_of_a_file_says_how_old_it_is(tmp_path: Path) -> None:
    sink = RotatingJsonl(tmp_path / "events.jsonl", max_bytes=1, files=4)
    for frame in range(1, 7):
        sink.send([event(frame)])
        if frame == 2:  # a line that is too long for any file has no empty one before it
            assert by_file(tmp_path) == {"": [2], ".1": [1]}
    sink.close()
    assert by_file(tmp_path) == {"": [6], ".1": [5], ".2": [4], ".3": [3]}


@pytest.mark.parametrize(("spare", "expected"), [(0, {"": [1, 2]}), (-1, {"": [2], ".1": [1]})])
def test_a_file_may_be_filled_to_its_last_byte(
    tmp_path: Path, spare: int, expected: dict[str, list[int]]
) -> None:
    one, two = event(1), event(2)
    size = len(one.body) + len(two.body) + 2
    sink = RotatingJsonl(tmp_path / "events.jsonl", max_bytes=size + spare, files=2)
    sink.send([one, two])
    sink.close()
    assert by_file(tmp_path) == expected


def test_the_only_file_may_be_deleted_just_before_it_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.jsonl"
    sink = RotatingJsonl(path, max_bytes=1, files=1)
    sink.send([event(1)])

    def deleted(fd: int) -> None:
        monkeypatch.undo()
        path.unlink()

    monkeypatch.setattr(os, "fsync", deleted)
    sink.send([event(2)])
    sink.close()
    assert by_file(tmp_path) == {"": [2]}


def test_events_of_a_sink_go_where_a_pipe_goes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    sink = RotatingJsonl(pipe, max_bytes=10**6, files=2)
    sink.send([event(1), event(2)])
    assert [read_event(line)["frame"] for line in os.read(reader, 65536).splitlines()] == [1, 2]
    sink.close()
    os.close(reader)


@pytest.mark.parametrize(("max_bytes", "files"), [(0, 1), (1, 0)])
def test_a_bound_of_nothing_is_refused(tmp_path: Path, max_bytes: int, files: int) -> None:
    with pytest.raises(ValueError, match=f"got {max_bytes} and {files}"):
        RotatingJsonl(tmp_path / "e.jsonl", max_bytes=max_bytes, files=files)
