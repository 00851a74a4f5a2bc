"""Who is there now, and what was seen last, as states: made from events, for MQTT.

States are what is left when events are forgotten: a broker that was away misses none.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Track: TypeAlias = tuple[str, int]
"""Camera and number of a face, within one run."""
_NOBODY: tuple[str, str | None] = ("", None)


@dataclass(slots=True)
class _Person:
    """camera, time: where and when the person was last seen. left: when the last of their faces
    left, monotonic seconds."""

    camera: str = ""
    time: str = ""
    left: float = float("-inf")


@dataclass(slots=True)
class _Camera:
    """person: who was recognised last, an id; unknown_time: when somebody unknown was there last.
    snapshot: the face of the last decision as JPEG, and whose it is."""

    person: str | None = None
    time: str | None = None
    unknown_time: str | None = None
    snapshot: tuple[bytes, str | None] | None = None


class Presence:
    """See the module. Any thread.

    away_s: a person counts as present until so long after their last face left: who turns round
    has not gone.
    """

    def __init__(self, cameras: Sequence[str], *, away_s: float) -> None:
        self._away_s = away_s
        self._lock = threading.Lock()
        self._run: str | None = None
        self._faces: dict[Track, tuple[str, str | None]] = {}
        self._people: dict[str, _Person] = {}
        self._cameras = {name: _Camera() for name in cameras}

    def apply(self, event: Mapping[str, Any], jpeg: bytes | None, now: float) -> None:
        """An event by the schema, in order. jpeg: the face, None for none. now: monotonic s."""
        if "track" not in event:
            return
        with self._lock:
            if event["run"] != self._run:
                # A program that was killed wrote no `left`.
                self._run, before = event["run"], list(self._faces)
                for track in before:
                    self._leave(track, now)
            track = (event["source"], event["track"])
            camera = self._cameras.setdefault(event["source"], _Camera())
            person, time = event["person"], event["time"]
            if event["kind"] == "left":
                self._see(track, person, event["last_seen"]["time"])
                self._leave(track, now)
                return
            known = self._faces.get(track, _NOBODY)[1]
            self._faces[track] = (event["state"], person)
            if known is not None and known != person:
                self._without(known, now)
            if event["state"] == "unknown":
                camera.unknown_time = time
            if person is not None:
                camera.person, camera.time = person, time
                self._see(track, person, time)
            if jpeg is not None:
                camera.snapshot = jpeg, person

    def seed(self, events: Iterable[Mapping[str, Any]]) -> None:
        """What happened in runs before, oldest first: nobody is there any more."""
        for event in events:
            self.apply(event, None, float("-inf"))
        with self._lock:
            for track in list(self._faces):
                self._leave(track, float("-inf"))

    def people(self, enrolled: Mapping[str, str], now: float) -> dict[str, dict[str, Any]]:
        """The state of everybody in `enrolled` (id to name), by id."""
        with self._lock:
            there = {person for _, person in self._faces.values()}
            found: dict[str, dict[str, Any]] = {}
            for person, name in enrolled.items():
                seen = self._people.get(person)
                fresh = seen is not None and now - seen.left < self._away_s
                found[person] = {
                    "name": name,
                    "presence": "ON" if person in there or fresh else "OFF",
                    "camera": None if seen is None else seen.camera,
                    "time": None if seen is None else seen.time,
                }
            return found

    def cameras(self, enrolled: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """The state of each camera, by name; whoever is not enrolled any more is not named."""
        with self._lock:
            return {name: self._shown(name, camera, enrolled)
                    for name, camera in self._cameras.items()}  # fmt: skip

    def snapshots(self, enrolled: Mapping[str, str]) -> dict[str, bytes]:
        """The face of the last decision, by camera; none of somebody who was removed."""
        with self._lock:
            kept = {n: c.snapshot for n, c in self._cameras.items() if c.snapshot is not None}
            return {n: jpeg for n, (jpeg, who) in kept.items() if who is None or who in enrolled}

    def changes_in(self, now: float) -> float | None:
        """Seconds until somebody counts as gone without another event; None for never."""
        with self._lock:
            ends = [seen.left + self._away_s for seen in self._people.values()]
            return min((end - now for end in ends if end > now), default=None)

    def _shown(self, name: str, camera: _Camera, enrolled: Mapping[str, str]) -> dict[str, Any]:
        faces = [face for (source, _), face in self._faces.items() if source == name]
        there = sorted({enrolled[p] for _, p in faces if p is not None and p in enrolled})
        last = None if camera.person is None else enrolled.get(camera.person)
        return {
            "count": len(faces),
            "people": there,
            "last_person": last,
            "last_person_time": None if last is None else camera.time,
            "unknown": "ON" if any(state == "unknown" for state, _ in faces) else "OFF",
            "unknown_time": camera.unknown_time,
        }

    def _see(self, track: Track, person: str | None, time: str) -> None:
        if person is not None:
            seen = self._people.setdefault(person, _Person())
            seen.camera, seen.time = track[0], time

    def _leave(self, track: Track, now: float) -> None:
        _, person = self._faces.pop(track, _NOBODY)
        if person is not None:
            self._without(person, now)

    def _without(self, person: str, now: float) -> None:
        """One face less is called so."""
        if all(p != person for _, p in self._faces.values()):
            self._people[person].left = now
