"""Events as a receiver reads them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from jetson_face.core.types import Person, Report, Sighting, State
from jetson_face.events.making import EventMaker
from jetson_face.events.schema import json_schema, to_json

ADA, BOB = Person("p-ada", "Ada"), Person("p-bob", "Bob")
_NUMBERS = itertools.count()
_VALIDATOR = Draft202012Validator(json_schema())


def read_event(line: bytes | str) -> dict[str, Any]:
    """The event on a line: no key twice, and valid by the published schema."""
    event: dict[str, Any] = json.loads(line, object_pairs_hook=once)
    _VALIDATOR.validate(event)
    return event


def read_events(path: Path) -> list[dict[str, Any]]:
    """All of a file."""
    return [read_event(line) for line in path.read_bytes().splitlines()]


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `json.loads`: an object with no key twice."""
    keys = [key for key, _ in pairs]
    assert len(keys) == len(set(keys)), f"a key twice: {keys}"
    return dict(pairs)


def sighting(
    state: State = "known",
    person: Person | None = None,
    *,
    track: int = 1,
    similarity: float | None = 0.81234,
    detected: bool = True,
) -> Sighting:
    """One face."""
    box = (20.0, 60.04, 70.0, 120.0)
    return Sighting(track, box, state, person, similarity, 6, detected=detected)


def report(
    seq: int, *sightings: Sighting, unseen: tuple[int, ...] = (), source: str = "door"
) -> Report:
    """One frame, 40 ms after the one before."""
    ns, wall = seq * 40_000_000, 1_763_000_000.25 + seq
    return Report(source, seq, ns, wall, (160, 120), sightings, {}, True, unseen=unseen)


def kinds(events: Iterable[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """What was said, in short."""
    return [(e["frame"], e["kind"], e["track"], e["state"], e["name"]) for e in events]


def without_names_of_the_run(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """What two runs of the same recording must have in common."""

    def common(event: dict[str, Any]) -> dict[str, Any]:
        kept = {k: v for k, v in event.items() if k not in ("id", "run", "time")}
        return {k: common(v) if k == "last_seen" else v for k, v in kept.items()}

    return [common(event) for event in events]


def face_body(
    person: Person | None = ADA, *, frame: int | None = None, source: str = "door"
) -> bytes:
    """A whole event as it is stored, with a frame's number that no other has."""
    number = next(_NUMBERS) if frame is None else frame
    state: State = "unknown" if person is None else "known"
    maker = EventMaker({source})
    made = maker.of(report(number, sighting(state, person), source=source))
    return to_json(made[-1])
