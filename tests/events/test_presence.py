"""Who is there, from events alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from jetson_face.core.types import Person
from jetson_face.events.making import EventMaker
from jetson_face.events.presence import Presence
from tests.events.event_help import ADA, BOB, report, sighting

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
        # N: on. F: off. Ada, then Bob; after 1, 4 and 6 seconds more, of which 5 count.
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
    assert [presence_of(presence, 101 + more) for more in (1, 4, 6)] == seen


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
