"""The file of events of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetson_face.core.errors import OutputError
from jetson_face.events.jsonl import JsonlSink
from tests.events.event_help import ADA, BOB, read_events, report, sighting


def test_it_is_called_events_and_wants_no_picture(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "e.jsonl")
    assert (sink.name, sink.wants_frame) == ("events", False)


def test_a_camera_has_no_position_in_a_recording(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "e.jsonl", live={"door"})
    sink.open()
    sink.write(report(1, sighting()), None)
    sink.write(report(1, sighting(), source="film.mp4"), None)
    told = {event["source"]: event["media_ms"] for event in read_events(tmp_path / "e.jsonl")}
    assert told == {"door": None, "film.mp4": 40.0}


def test_who_is_not_enrolled_any_more_is_not_named(tmp_path: Path) -> None:
    sink = JsonlSink(tmp_path / "e.jsonl", enrolled=lambda: {ADA.id})
    sink.open()
    sink.write(report(1, sighting(person=ADA), sighting(person=BOB, track=2)), None)
    told = [e["name"] for e in read_events(tmp_path / "e.jsonl") if e["kind"] == "decided"]
    assert told == ["Ada", None]


@pytest.mark.parametrize("when", ["before", "after"])
def test_nothing_is_written_to_a_file_that_is_not_open(tmp_path: Path, when: str) -> None:
    sink = JsonlSink(tmp_path / "e.jsonl")
    if when == "after":
        sink.open()
        sink.close()
    with pytest.raises(OutputError, match=r"e\.jsonl: written to before it was opened"):
        sink.write(report(1, sighting()), None)


def test_after_an_error_the_end_adds_nothing_and_no_other_error() -> None:
    sink = JsonlSink(Path("/dev/full"))
    sink.open()
    with pytest.raises(OutputError, match=r"^/dev/full: cannot write events: No space left on"):
        sink.write(report(1, sighting()), None)
    sink.close()
