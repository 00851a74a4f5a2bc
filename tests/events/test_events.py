"""What an event says: of which kind, once, and by the published schema."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError

from jetson_face.core.types import Person, Report, State
from jetson_face.events.ids import NewIds, id_of_row, uuid_of
from jetson_face.events.making import EventMaker, utc
from jetson_face.events.older import document
from jetson_face.events.outbox_rows import Event
from jetson_face.events.schema import SCHEMA, json_schema, to_json
from tests.events.event_help import ADA, BOB, face_body, kinds, read_event, report, sighting

PENDING, UNKNOWN, REVIEW = sighting("pending"), sighting("unknown"), sighting("review")
IS_ADA, IS_BOB = sighting("known", ADA), sighting("known", BOB)


def made(*reports: Report, end: bool = False, maker: EventMaker | None = None) -> list[Any]:
    """The events, as a receiver reads them."""
    maker = maker or EventMaker({"door"})
    events = [event for r in reports for event in maker.of(r)] + (maker.end() if end else [])
    return [read_event(to_json(event)) for event in events]


def test_a_face_appears_is_decided_changes_is_retracted_and_leaves() -> None:
    events = made(
        report(0),
        report(1, PENDING),
        report(2, IS_ADA),
        report(3, IS_ADA),
        report(4, IS_BOB),
        report(5, UNKNOWN),
        report(6, REVIEW),
        report(7, unseen=(1,)),
        report(8),
        report(9),
    )
    assert kinds(events) == [
        (1, "appeared", 1, "pending", None),
        (2, "decided", 1, "known", "Ada"),
        (4, "changed", 1, "known", "Bob"),
        (5, "retracted", 1, "unknown", None),
        (6, "changed", 1, "review", None),
        (8, "left", 1, "review", None),
    ]
    assert events[2]["before"] == {"state": "known", "name": "Ada", "person": "p-ada"}
    assert events[3]["before"] == {"state": "known", "name": "Bob", "person": "p-bob"}
    assert events[4]["before"] == {"state": "unknown", "name": None, "person": None}
    assert (events[5]["reason"], events[5]["last_seen"]["frame"]) == ("gone", 6)
    ids = [event["id"] for event in events]
    assert ids == sorted(set(ids))
    assert len({event["run"] for event in events}) == 1


def test_an_event_has_these_keys_and_values() -> None:
    (first, second) = made(report(2, IS_ADA))
    assert second.pop("id") > first["id"]
    assert second.pop("run") == first["run"]
    assert second == {
        "schema": "jetson-face.event/1",
        "kind": "decided",
        "time": "2025-11-13T02:13:22.250Z",
        "source": "door",
        "frame": 2,
        "media_ms": None,
        "track": 1,
        "state": "known",
        "name": "Ada",
        "person": "p-ada",
        "similarity": 0.8123,
        "box": [20.0, 60.0, 70.0, 120.0],
        "frames": 6,
    }
    assert kinds([first]) == [(2, "appeared", 1, "known", "Ada")]


def test_a_file_has_a_position_and_a_camera_has_none() -> None:
    film, camera = EventMaker(()), EventMaker({"door"})
    assert made(report(25, PENDING), maker=film)[0]["media_ms"] == 1000.0
    assert made(report(25, PENDING), maker=camera)[0]["media_ms"] is None
    between = replace(report(26, PENDING), captured_ns=1_033_366_700)
    assert made(between, maker=EventMaker(()))[0]["media_ms"] == 1033.4


def test_who_is_there_at_the_end_leaves_by_the_end_once() -> None:
    maker = EventMaker({"door"})
    events = made(report(0, IS_ADA), report(1, source="yard"), end=True, maker=maker)
    assert kinds(events)[-1] == (0, "left", 1, "known", "Ada")
    assert events[-1]["reason"] == "end"
    assert maker.end() == []


def test_sources_count_their_tracks_apart() -> None:
    events = made(
        report(0, IS_ADA), report(0, UNKNOWN, source="yard"), report(1, source="yard"),
        report(1, IS_ADA),
    )  # fmt: skip
    assert [(e["source"], e["kind"]) for e in events] == [
        ("door", "appeared"), ("door", "decided"), ("yard", "appeared"), ("yard", "decided"),
        ("yard", "left"),
    ]  # fmt: skip


def test_reports_that_never_came_cost_details_and_no_end() -> None:
    """A slow disk lets `run` drop reports of a camera."""
    events = made(report(0, PENDING), report(5, IS_ADA), report(9))
    assert [e["kind"] for e in events] == ["appeared", "decided", "left"]


def test_a_guessed_box_is_not_a_sight() -> None:
    guessed = sighting("known", ADA, detected=False)
    events = made(report(0, IS_ADA), report(3, guessed), report(4))
    assert events[-1]["last_seen"] == {
        "time": "2025-11-13T02:13:20.250Z", "frame": 0, "media_ms": None,
    }  # fmt: skip


def test_who_was_seen_before_is_said_from_then_on_while_nobody_enrolled_is_seen() -> None:
    maker = EventMaker({"door"}, ids=iter("abcdefgh").__next__)
    known = {"unknown_id": "u1", "seen_before": {"visits": 2}}
    later = {"unknown_id": "u1", "seen_before": {"visits": 3}}
    stranger = sighting("unknown")
    events = maker.of(report(1, sighting("pending", similarity=None)))
    events += maker.of(report(2, stranger), {1: known})
    events += maker.of(report(3, sighting("known", ADA)))
    events += maker.of(report(4, stranger))
    events += maker.of(report(5, sighting("known", ADA)))
    events += maker.of(report(6, stranger), {1: later})
    events += maker.of(report(7))
    said = [(e["kind"], e["state"], e.get("seen_before", {}).get("visits")) for e in events]
    assert said == [
        ("appeared", "pending", None),
        ("decided", "unknown", 2),
        ("changed", "known", None),
        ("retracted", "unknown", 2),
        ("changed", "known", None),
        ("retracted", "unknown", 3),
        ("left", "unknown", 3),
    ]
    assert "unknown_id" not in events[2]


def test_a_doubtful_face_has_no_name() -> None:
    (appeared, decided) = EventMaker(set()).of(report(1, sighting("review", ADA)))
    assert (appeared["name"], decided["state"], decided["name"]) == (None, "review", None)
    events = EventMaker(set())
    events.of(report(1, sighting("review", ADA)))
    assert events.of(report(2, sighting("review", BOB))) == []


def test_who_was_removed_is_named_no_more() -> None:
    enrolled = {"p-ada", "p-bob"}
    maker = EventMaker({"door"}, enrolled=lambda: enrolled)
    made(report(0, IS_ADA), maker=maker)
    enrolled.remove("p-ada")
    events = made(report(1, UNKNOWN), report(2, IS_BOB), report(3, IS_ADA), maker=maker)
    assert [e["kind"] for e in events] == ["retracted", "changed", "changed"]
    assert events[0]["before"] == {"state": "known", "name": None, "person": None}
    assert (events[1]["name"], events[2]["name"]) == ("Bob", None)
    assert b"Ada" not in to_json(maker.end()[0])


SIGHTINGS = st.lists(
    st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from([PENDING, UNKNOWN, REVIEW, IS_ADA, IS_BOB])),
        max_size=4,
        unique_by=lambda pair: pair[0],
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(SIGHTINGS)
def test_every_face_has_one_beginning_and_one_end(frames: list[list[tuple[int, Any]]]) -> None:
    used: dict[int, int] = {}
    reports, there, fresh = [], set[int](), 100
    for seq, faces in enumerate(frames):
        seen = []
        for slot, shown in faces:
            if slot not in used or used[slot] not in there:
                fresh += 1
                used[slot] = fresh
            state: State = shown.state
            seen.append(sighting(state, shown.person, track=used[slot]))
        there = {s.track for s in seen}
        reports.append(report(seq, *seen))
    by_track: dict[int, list[Any]] = {}
    events = made(*reports, end=True)
    for event in events:
        by_track.setdefault(event["track"], []).append(event)
    for story in by_track.values():
        said = [event["kind"] for event in story]
        assert (said[0], said[-1]) == ("appeared", "left")
        assert (said.count("appeared"), said.count("left")) == (1, 1)
        assert said.count("decided") <= 1
        if "decided" in said:
            assert said[1] == "decided"
        told = [story[0]["state"], story[0]["person"]] if said[1] != "decided" else None
        for event in story[1:-1]:
            if event["kind"] in ("changed", "retracted"):
                assert [event["before"]["state"], event["before"]["person"]] == told
                lost = event["before"]["state"] == "known" and event["state"] != "known"
                assert (event["kind"] == "retracted") == lost
            assert [event["state"], event["person"]] != told
            told = [event["state"], event["person"]]
    assert len({event["id"] for event in events}) == len(events)


@settings(max_examples=200, deadline=None)
@given(name=st.text(st.characters(exclude_categories=["Cs"])), seq=st.integers(0, 2**53))
def test_any_name_is_one_line_of_json(name: str, seq: int) -> None:
    (event,) = EventMaker({"door"}).of(report(0, PENDING))
    event |= {"name": name, "frame": seq}
    line = to_json(event)
    assert b"\n" not in line
    assert read_event(line)["name"] == name


def test_the_schema_refuses_what_is_no_event() -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    good = json.loads(face_body())
    for change in (
        {"schema": "jetson-face.event/2"}, {"id": "1"}, {"kind": "changed"}, {"kind": "seen"},
        {"state": "alive"}, {"time": "yesterday"}, {"frame": -1}, {"box": [1, 2, 3]},
        {"media_ms": "now"}, {"name": 5},
    ):  # fmt: skip
        with pytest.raises(ValidationError):
            Draft202012Validator(schema).validate(good | change)
    for key in good:
        with pytest.raises(ValidationError):
            Draft202012Validator(schema).validate({k: v for k, v in good.items() if k != key})
    Draft202012Validator(schema).validate(good | {"a key of a later version": 1})


def test_the_schema_says_what_it_is() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == SCHEMA
    assert json.loads(json.dumps(schema)) == schema


def test_a_number_that_json_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_json({"similarity": float("nan")})


def test_ids_are_uuids_of_version_7_that_hold_their_time() -> None:
    made = NewIds(lambda: 1_763_000_000.25)()
    assert made.startswith("019a7afd-1efa-7")
    assert int(made.replace("-", "")[:12], 16) == 1_763_000_000_250
    assert made[19] in "89ab"
    # The example of RFC 9562, A.6: every bit has its place.
    assert uuid_of(0x17F22E279B0, 0xCC3 << 62 | 0x18C4DC0C0C07398F) == (
        "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
    )
    older = id_of_row(7, 3.5, 1_763_000_000.25, "decision")
    assert int(older.replace("-", "")[:12], 16) == 1_763_000_000_250


@given(st.lists(st.floats(-1e5, 1e5), min_size=2, max_size=60))
def test_ids_rise_and_differ_whatever_the_clock_does(steps: list[float]) -> None:
    now = iter(1.7e9 + step for step in steps)
    new = NewIds(lambda: next(now))
    ids = [new() for _ in steps]
    assert ids == sorted(set(ids))


def test_ids_are_new_after_a_restart_at_the_same_time() -> None:
    one, other = NewIds(lambda: 1.7e9), NewIds(lambda: 1.7e9)
    ids = {new() for _ in range(2000) for new in (one, other)}
    assert len(ids) == 4000


def test_times_are_utc_and_a_clock_that_makes_no_sense_stops_nothing() -> None:
    assert utc(1_763_000_000.25) == "2025-11-13T02:13:20.250Z"
    for wall in (float("nan"), float("inf"), -5.0, 1e20):
        assert utc(wall) == "1970-01-01T00:00:00.000Z"


OLD = {
    "time": "2026-01-01T00:00:00.000Z", "source": "door", "seq": 25, "track": 1, "state": "known",
    "name": "Ada", "person": "p-ada", "similarity": 0.8, "box": [1.0, 2.0, 3.0, 4.0], "frames": 6,
    "media_ms": 1000.0, "crop": "1-p-ada.crop",
}  # fmt: skip


def test_an_event_of_an_earlier_version_is_brought_to_the_schema_with_an_id_that_stays() -> None:
    row = Event(7, 3.5, 1_763_000_000.25, "decision", json.dumps(OLD).encode())
    event = read_event(document(row))
    assert event == read_event(document(row))
    assert event.pop("id") == id_of_row(7, 3.5, 1_763_000_000.25, "decision")
    expected = {key: value for key, value in OLD.items() if key not in ("seq", "time")}
    assert event == expected | {
        "schema": "jetson-face.event/1", "kind": "decided", "run": None, "frame": 25,
        "time": "2025-11-13T02:13:20.250Z",
    }  # fmt: skip
    other = Event(8, 3.5, 1_763_000_000.25, "decision", row.body)
    assert read_event(document(other))["id"] != id_of_row(7, 3.5, 1_763_000_000.25, "decision")


def test_a_canary_of_an_earlier_version_is_brought_to_the_schema() -> None:
    body = {"state": "drifted", "cosine": None, "cosine_min": 0.9, "embedder": "e", "text": "t"}
    row = Event(1, 0.0, 1.7e9, "canary", json.dumps(body).encode())
    assert read_event(document(row))["state"] == "drifted"


@pytest.mark.parametrize("body", [b"[1]", b"no json", b"\xff", b'{"x": NaN}', b"{}"])
def test_whatever_an_earlier_version_stored_is_one_object(body: bytes) -> None:
    event = json.loads(document(Event(1, 0.0, 1.7e9, "odd", body)))
    assert (event["kind"], event["schema"]) == ("odd", "jetson-face.event/1")


def test_what_was_no_json_is_kept_as_text() -> None:
    assert json.loads(document(Event(1, 0.0, 1.7e9, "odd", b"\xff no")))["body"] == "\ufffd no"


def test_an_event_of_today_is_sent_as_it_was_stored() -> None:
    body = face_body(Person("p", "Zoë 李"))
    assert document(Event(1, 0.0, 1.0, "decided", body)) == body
    assert "Zoë 李" in body.decode()
