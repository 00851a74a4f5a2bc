"""Who is there, from events alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from jetson_face.core.types import Person
from jetson_face.events.making import EventMaker
from jetson_face.events.presence import Presence
from tests.events.event_help import ADA, BOB, report, sighting
from tests.events.test_history import visit

NAMES = {ADA.id: "Ada", BOB.id: "Bob"}


def told(*frames: Sequence[Person]) -> list[list[dict[str, Any]]]:
    """The events of each frame; a person has the same track as long as they are named in it."""
    maker, tracks = EventMaker({"door"}), {ADA.id: 1, BOB.id: 2}
    return [
        maker.of(report(seq, *(sighting("known", p, track=tracks[p.id]) for p in people)))
        for seq, people in enumerate(frames)
    ]


def presence_of(presence: Presence, now: float) -> str:
    return "".join(state["presence"][1] for state in presence.people(NAMES, now).values())


@pytest.mark.parametrize(
    ("frames", "seen"),
    [
        # N: on. F: off. Ada, then Bob; after 1, 4 and 5 seconds more: at five it ends.
        ([[ADA, BOB], [BOB]], ["NN", "NN", "FN"]),
        ([[ADA, BOB], [ADA]], ["NN", "NN", "NF"]),
        ([[ADA, BOB], []], ["NN", "NN", "FF"]),
        ([[ADA], [ADA]], ["NF", "NF", "NF"]),
    ],
)
def test_who_has_left_is_there_for_a_while_whoever_else_is(
    frames: list[list[Person]], seen: list[str]
) -> None:
    presence = Presence(["door"], away_s=5)
    for second, events in enumerate(told(*frames)):
        for event in events:
            presence.apply(event, None, 100.0 + second)
    assert [presence_of(presence, 101 + more) for more in (1, 4, 5)] == seen


def test_it_says_when_it_has_to_be_asked_again() -> None:
    presence = Presence(["door"], away_s=5)
    assert presence.changes_in(0) is None
    for second, events in enumerate(told([ADA, BOB], [BOB], [])):
        for event in events:
            presence.apply(event, None, 100.0 + second)
    assert presence.changes_in(102) == 4  # Ada's five seconds end before Bob's
    assert presence.changes_in(106) == 1
    assert presence.changes_in(107) is None


def test_a_face_that_turns_out_to_be_somebody_else_is_one_less_of_the_first() -> None:
    maker, presence = EventMaker({"door"}), Presence(["door"], away_s=5)
    for second, person in enumerate((ADA, BOB)):
        for event in maker.of(report(second, sighting("known", person))):
            presence.apply(event, b"jpeg", 100.0 + second)
    assert presence_of(presence, 105) == "NN"
    assert presence_of(presence, 107) == "FN"
    assert presence.cameras(NAMES)["door"] == {
        "count": 1,
        "people": ["Bob"],
        "last_person": "Bob",
        "last_person_time": "2025-11-13T02:13:21.250Z",
        "unknown": "OFF",
        "unknown_time": None,
    }
    assert presence.snapshots(NAMES) == {"door": b"jpeg"}
    assert presence.snapshots({ADA.id: "Ada"}) == {}


def test_who_came_and_left_is_away_and_was_last_seen_where_and_when_that_was() -> None:
    presence, events = Presence(["door"], away_s=0), visit(ADA)
    for event in events:
        presence.apply(event, None, 1.0)
    assert presence.people(NAMES, 1.0) == {
        ADA.id: {
            "name": "Ada",
            "presence": "OFF",
            "camera": "door",
            "time": events[-1]["last_seen"]["time"],
        },
        BOB.id: {"name": "Bob", "presence": "OFF", "camera": None, "time": None},
    }


def test_a_face_that_left_and_was_never_told_of_is_no_trouble() -> None:
    presence = Presence(["door"], away_s=5)
    presence.apply(visit(ADA)[-1], None, 1.0)
    assert presence_of(presence, 1.0) == "FF"
    assert presence.people(NAMES, 1.0)[ADA.id]["camera"] == "door"
    assert presence.cameras(NAMES)["door"]["count"] == 0


def test_what_is_said_of_a_run_before_is_who_was_seen_and_nobody_is_there() -> None:
    presence = Presence(["door"], away_s=60)
    presence.seed([*visit(BOB), *visit(ADA, source="gate")[:2]])
    assert presence_of(presence, 0.0) == "FF"
    assert presence.changes_in(0.0) is None
    assert [state["camera"] for state in presence.people(NAMES, 0.0).values()] == ["gate", "door"]


def test_each_camera_has_its_own_faces_also_one_that_is_not_configured() -> None:
    presence = Presence(["door"], away_s=5)
    for event in [*two_at_once("gate"), {"kind": "canary"}]:
        presence.apply(event, None, 1.0)
    shown = presence.cameras(NAMES)
    assert [(name, state["count"], state["people"]) for name, state in shown.items()] == [
        ("door", 0, []),
        ("gate", 2, ["Ada", "Bob"]),
    ]


def two_at_once(camera: str) -> list[dict[str, Any]]:
    """Bob and Ada in one picture."""
    faces = [sighting("known", BOB, track=1), sighting("known", ADA, track=2)]
    return EventMaker({camera}).of(report(0, *faces, source=camera))


def test_who_is_enrolled_no_more_is_counted_and_not_named() -> None:
    presence = Presence(["door"], away_s=5)
    for event in two_at_once("door"):
        presence.apply(event, b"jpeg", 1.0)
    assert presence.cameras({BOB.id: "Bob"})["door"] == {
        "count": 2,
        "people": ["Bob"],
        "last_person": None,
        "last_person_time": None,
        "unknown": "OFF",
        "unknown_time": None,
    }


def test_the_picture_of_a_face_nobody_knows_is_kept_until_there_is_another() -> None:
    presence = Presence(["door"], away_s=5)
    appeared, decided, left = visit(None)
    presence.apply(appeared, None, 1.0)
    assert presence.snapshots({}) == {}
    presence.apply(decided, b"jpeg", 2.0)
    presence.apply(left, None, 3.0)
    presence.apply(visit(None, track=2)[0], None, 4.0)
    assert presence.snapshots({}) == {"door": b"jpeg"}


def test_when_somebody_unknown_was_last_there_stays_when_others_come() -> None:
    maker, presence = EventMaker({"door"}), Presence(["door"], away_s=5)
    for second, seen in enumerate((sighting("unknown"), sighting("known", ADA))):
        for event in maker.of(report(second, seen)):
            presence.apply(event, None, float(second))
    shown = presence.cameras(NAMES)["door"]
    assert (shown["unknown"], shown["last_person"]) == ("OFF", "Ada")
    assert shown["unknown_time"] == "2025-11-13T02:13:20.250Z"
    assert shown["last_person_time"] == "2025-11-13T02:13:21.250Z"


def test_a_program_that_began_anew_has_lost_who_was_there_now() -> None:
    presence = Presence(["door"], away_s=5)
    for event in visit(ADA)[:2]:
        presence.apply(event, None, 100.0)
    presence.apply(visit(None, track=2)[0], None, 200.0)
    assert [presence_of(presence, now) for now in (204.0, 205.0)] == ["NF", "FF"]
