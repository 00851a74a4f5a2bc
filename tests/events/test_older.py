"""Rows of the outbox as what sinks send."""

from __future__ import annotations

import json

from jetson_face.events.older import document, id_of
from jetson_face.events.outbox import Event
from tests.events.event_help import face_body


def test_white_space_around_a_stored_event_is_not_sent() -> None:
    body = face_body()
    assert document(Event(1, 0.0, 1.0, "decided", b" " + body + b"\n")) == body


def test_the_id_of_an_event_is_the_one_that_is_sent() -> None:
    for event in (
        Event(1, 0.0, 1.0, "decided", face_body()),
        Event(2, 0.0, 1.7e9, "decision", b'{"seq": 25}'),
    ):
        assert id_of(event) == json.loads(document(event))["id"]


def test_a_decision_of_an_earlier_version_may_lack_its_frame() -> None:
    event = json.loads(document(Event(1, 0.0, 1.7e9, "decision", b'{"track": 3}')))
    assert (event["frame"], event["run"], event["track"]) == (None, None, 3)


def test_a_number_that_json_does_not_have_is_nothing() -> None:
    event = json.loads(document(Event(1, 0.0, 1.7e9, "odd", b'{"x": NaN, "y": -Infinity}')))
    assert (event["x"], event["y"]) == (None, None)
