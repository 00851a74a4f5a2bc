"""Files of events that never grow beyond what was set."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.events.delivery import SinkDownError
from jetson_face.events.outbox import Event
from jetson_face.events.rotating import RotatingJsonl


def event(seq: int, size: int = 20) -> Event:
    return Event(seq, 0.0, 1.0, "decision", json.dumps({"x": "x" * size}).encode())


def numbers(folder: Path) -> list[int]:
    """The events kept, oldest first."""
    files = sorted(folder.glob("events.jsonl*"), key=lambda p: -int(p.suffix.strip(".jsonl") or 0))
    return [json.loads(line)["seq"] for file in files for line in file.read_text().splitlines()]


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
    sink = RotatingJsonl(folder / "events.jsonl", max_bytes=1000, files=files)
    events = [event(seq, size) for seq, size in enumerate(sizes)]
    for start in range(0, len(events), batch):
        sink.send(events[start : start + batch])
        if start % 3 == 0:
            sink.close()
        assert sum(path.stat().st_size for path in folder.iterdir()) <= 1000 * files
    kept = numbers(folder)
    assert kept == list(range(len(sizes) - len(kept), len(sizes)))
    assert len(list(folder.iterdir())) <= files


def test_a_torn_last_line_is_cut_before_the_next_event(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = RotatingJsonl(path, max_bytes=10**6, files=2)
    sink.send([event(1)])
    sink.close()
    with path.open("ab") as file:
        file.write(b'{"seq": 2, "kind' + b"x" * 100_000)
    sink.send([event(2)])
    assert numbers(tmp_path) == [1, 2]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_with_no_whole_line_is_started_anew(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"torn")
    RotatingJsonl(tmp_path / "events.jsonl", max_bytes=1000, files=2).send([event(1)])
    assert numbers(tmp_path) == [1]


def test_a_disk_that_takes_half_a_line_keeps_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = RotatingJsonl(tmp_path / "events.jsonl", max_bytes=1000, files=2)
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
