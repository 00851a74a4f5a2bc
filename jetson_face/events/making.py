"""From reports to events: one piece of code for `run --events` and the service."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, Literal

from jetson_face.core.types import Report, Sighting, State
from jetson_face.events.ids import new_id
from jetson_face.events.schema import SCHEMA, FaceKind


@dataclass(slots=True)
class _ToldFace:
    """What was told of one track. first: nothing was decided yet. before: who it is of those who
    are not enrolled, and when they were seen before."""

    said: Sighting
    seen: dict[str, Any]
    first: bool = True
    before: Mapping[str, Any] | None = None


class EventMaker:
    """Turns the reports of a run into events; a report may be missing, the next one makes it good.

    live: names of the cameras; other sources have a position in a recording. enrolled: ids of the
    people whose names may be told, None for all: who is removed while in view is named no more.
    remembered: the same for the ids of people who are not enrolled, one at a time. run: of all
    events; tracks are numbered within it.
    """

    def __init__(
        self,
        live: Collection[str],
        *,
        enrolled: Callable[[], Collection[str]] | None = None,
        remembered: Callable[[str], bool] | None = None,
        ids: Callable[[], str] = new_id,
    ) -> None:
        self._live, self._enrolled, self._ids = live, enrolled, ids
        self._remembered = remembered
        self._faces: dict[str, dict[int, _ToldFace]] = {}
        self._last: dict[str, Report] = {}
        self.run = ids()

    def of(
        self, report: Report, before: Mapping[int, Mapping[str, Any]] = MappingProxyType({})
    ) -> list[dict[str, Any]]:
        """The events of a report, those of faces that left first.

        before: by track, `unknown_id` and `seen_before` of faces that are nobody enrolled, for
        their events from now on.
        """
        faces = self._faces.setdefault(report.source, {})
        self._last[report.source] = report
        there = {sighting.track for sighting in report.sightings} | set(report.unseen)
        events = [
            self._left(report, faces.pop(track), "gone") for track in sorted(faces.keys() - there)
        ]
        for sighting in report.sightings:
            events += self._sighted(report, sighting, faces, before.get(sighting.track))
        return events

    def end(self) -> list[dict[str, Any]]:
        """The events of faces that were still there when the run ended."""
        events = [
            self._left(self._last[source], face, "end")
            for source, faces in self._faces.items()
            for _, face in sorted(faces.items())
        ]
        self._faces.clear()
        return events

    def _sighted(
        self,
        report: Report,
        sighting: Sighting,
        faces: dict[int, _ToldFace],
        unknown: Mapping[str, Any] | None,
    ) -> list[dict[str, Any]]:
        moment = self._moment(report)
        face = faces.get(sighting.track)
        if face is None:
            face = faces[sighting.track] = _ToldFace(sighting, moment)
            events = [self._event("appeared", report, sighting)]
            before: tuple[State, str | None] = ("pending", None)
        else:
            events, before = [], _decision(face.said)
        if sighting.detected:
            face.seen = moment
        face.before = unknown or face.before
        now = _decision(sighting)
        if now != before:
            if face.first:
                face.first = False
                events.append(self._event("decided", report, sighting, face.before))
            else:
                taken = before[0] == "known" and now[0] != "known"
                event = self._event(
                    "retracted" if taken else "changed", report, sighting, face.before
                )
                state, name, person = self._named(face.said)
                event["before"] = {"state": state, "name": name, "person": person}
                events.append(event)
        face.said = sighting
        return events

    def _left(
        self, report: Report, face: _ToldFace, reason: Literal["gone", "end"]
    ) -> dict[str, Any]:
        event = self._event("left", report, face.said, face.before)
        return event | {"last_seen": face.seen, "reason": reason}

    def _event(
        self,
        kind: FaceKind,
        report: Report,
        sighting: Sighting,
        before: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        state, name, person = self._named(sighting)
        similarity = sighting.similarity
        return {
            "schema": SCHEMA,
            "id": self._ids(),
            "run": self.run,
            "kind": kind,
            **self._moment(report),
            "source": report.source,
            "track": sighting.track,
            "state": state,
            "name": name,
            "person": person,
            "similarity": None if similarity is None else round(similarity, 4),
            "box": [round(float(edge), 1) for edge in sighting.box],
            "frames": sighting.frames,
            **self._known_again(state, before),
        }

    def _known_again(self, state: State, before: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """Who it is of those who are not enrolled, while it is one and is remembered."""
        if before is None or state != "unknown":
            return {}
        known = self._remembered is None or self._remembered(before["unknown_id"])
        return before if known else {}

    def _moment(self, report: Report) -> dict[str, Any]:
        live = report.source in self._live
        return {
            "time": utc(report.wall),
            "frame": report.seq,
            "media_ms": None if live else round(report.captured_ns / 1e6, 1),
        }

    def _named(self, sighting: Sighting) -> tuple[State, str | None, str | None]:
        """State, name and id as they may be told."""
        person = sighting.person if sighting.state == "known" else None
        if person is None or (self._enrolled is not None and person.id not in self._enrolled()):
            return sighting.state, None, None
        return sighting.state, person.name, person.id


def utc(wall: float) -> str:
    """UTC seconds as ISO 8601 with milliseconds; a clock that makes no sense as 1970."""
    sane = wall if 0 <= wall < 2.5e11 else 0.0
    when = datetime.fromtimestamp(sane, timezone.utc)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _decision(sighting: Sighting) -> tuple[State, str | None]:
    known = sighting.person if sighting.state == "known" else None
    return sighting.state, None if known is None else known.id
