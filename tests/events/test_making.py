"""What an event says to the last digit, and what is told of who was forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jetson_face.events.making import EventMaker, utc
from tests.events.event_help import ADA, report, sighting


def test_a_box_is_told_to_a_tenth_of_a_pixel() -> None:
    seen = replace(sighting("pending"), box=(20.16, -3.04, 70.0, 120.96))
    (appeared,) = EventMaker({"door"}).of(report(0, seen))
    assert appeared["box"] == [20.2, -3.0, 70.0, 121.0]


def test_the_position_in_a_long_recording_is_right_to_a_tenth_of_a_millisecond() -> None:
    late = replace(report(90_000, sighting("pending")), captured_ns=3_600_033_366_700)
    assert EventMaker(()).of(late)[0]["media_ms"] == 3_600_033.4


@pytest.mark.parametrize(
    ("wall", "told"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (0.25, "1970-01-01T00:00:00.250Z"),
        (2.5e11 - 1, "9892-03-08T12:26:39.000Z"),
        (2.5e11, "1970-01-01T00:00:00.000Z"),
    ],
)
def test_a_time_is_told_as_long_as_a_calendar_has_it(wall: float, told: str) -> None:
    assert utc(wall) == told


def test_a_face_that_was_never_more_than_a_guess_was_last_seen_when_it_appeared() -> None:
    maker = EventMaker({"door"})
    for number in (3, 4):
        maker.of(report(number, sighting("pending", detected=False)))
    (left,) = maker.of(report(5))
    assert (left["kind"], left["last_seen"]["frame"]) == ("left", 3)


def test_who_is_remembered_is_said_and_who_was_forgotten_is_not() -> None:
    remembered = {"u1"}
    maker = EventMaker({"door"}, remembered=remembered.__contains__)
    strangers = [sighting("unknown", track=track) for track in (1, 2)]
    events = maker.of(report(1, *strangers), {1: {"unknown_id": "u1"}, 2: {"unknown_id": "u2"}})
    assert [(e["kind"], e["track"], e.get("unknown_id")) for e in events] == [
        ("appeared", 1, None),
        ("decided", 1, "u1"),
        ("appeared", 2, None),
        ("decided", 2, None),
    ]
    remembered.clear()
    assert [e.get("unknown_id") for e in maker.of(report(2))] == [None, None]


def test_what_was_known_of_an_unknown_face_is_said_when_doubt_ends() -> None:
    maker = EventMaker({"door"})
    maker.of(report(0, sighting("review", ADA)))
    (changed,) = maker.of(report(1, sighting("unknown")), {1: {"unknown_id": "u1"}})
    assert (changed["kind"], changed["unknown_id"]) == ("changed", "u1")
