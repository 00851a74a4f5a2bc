"""People who are not enrolled, known again: asked between two frames, kept by the writer."""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jetson_face.config import Config
from jetson_face.core.types import Embeddings, Frame, Report
from jetson_face.embedding.align import Portrait, cut_portraits
from jetson_face.events.making import utc
from jetson_face.recognition.known_again import Bounds, seen_before
from jetson_face.review.unknowns import (
    FACES_MAX,
    KeptFace,
    UnknownPerson,
    UnknownStore,
    UnknownVisit,
    with_visit,
)
from jetson_face.service.reopening import Reopening
from jetson_face.util.images import encode_jpeg

_TRACKS = 1000
Track = tuple[str, int]
"""Camera and number of a face."""


@dataclass(frozen=True, slots=True, eq=False)
class CapturedUnknown:
    """Somebody seen, on the way to the disk. face: None where the visit was somebody else's, who
    was recognised since, and is taken back. new: was not remembered before. erasures: how often
    everybody had been erased then."""

    id: str
    visit: UnknownVisit
    new: bool
    face: tuple[Embeddings, float, Portrait, str] | None
    erasures: int | None = None


@dataclass(slots=True)
class _Known:
    """What is in memory of one of them. waits: not on the disk yet."""

    visits: list[UnknownVisit]
    faces: list[tuple[Embeddings, float]]
    waits: bool = False


class UnknownPeople:
    """See the module. Any thread.

    config: now. bounds: see `Bounds`. age: service seconds now. What another process erased is
    forgotten before the next face is looked at. A file that cannot be used costs what is
    remembered, not the service.
    """

    def __init__(
        self,
        open_store: Callable[[], UnknownStore],
        config: Callable[[], Config],
        bounds: Bounds,
        age: Callable[[], float],
    ) -> None:
        self._config, self._bounds, self._age = config, bounds, age
        self._store = Reopening("unknown", open_store)
        self._lock = threading.Lock()
        self._people: dict[str, _Known] = {}
        self._tracks: OrderedDict[Track, CapturedUnknown] = OrderedDict()
        self._read: tuple[int, int] | None = None
        self._not_kept = 0
        self._erasures: int | None = None

    @property
    def on(self) -> bool:
        """The operator turned it on."""
        return self._config().unknown.remember

    def see(
        self, frame: Frame, report: Report
    ) -> tuple[dict[int, dict[str, Any]], list[CapturedUnknown]]:
        """By track, what events say (`unknown_id`, `seen_before`) of the unknown people whose face
        this frame is the first to show well enough; and what the writer is to keep."""
        seen: dict[int, dict[str, Any]] = {}
        kept: list[CapturedUnknown] = []
        with self._lock:
            if self._tracks:
                kept += self._taken_back(report)
            if not report.unknown_faces or not self.on:
                return seen, kept
            self._look()
            portraits = cut_portraits(
                frame.image, np.stack([one.landmarks for one in report.unknown_faces])
            )
            for one, portrait in zip(report.unknown_faces, portraits, strict=True):
                who, new = self._who(one.face, one.frames)
                now = self._age()
                visit = UnknownVisit(now, now, frame.wall)
                seen[one.track] = self._told(who)
                self._remember(who, visit, one.face, one.quality)
                kept_face = (one.face, one.quality, portrait, frame.source)
                captured = CapturedUnknown(who, visit, new, kept_face, self._erasures)
                kept.append(captured)
                self._tracks[frame.source, one.track] = captured
            while len(self._tracks) > _TRACKS:
                self._tracks.popitem(last=False)
        return seen, kept

    def knows(self, who: str) -> bool:
        """Whether somebody is remembered still, by id."""
        with self._lock:
            self._look()
            return who in self._people

    def keep(self, captured: CapturedUnknown) -> None:
        """Put it on the disk; for the writer's thread."""
        if captured.face is None:
            self._store.use(lambda store: store.take_back(captured.id, captured.visit))
            return
        face, quality, portrait, source = captured.face
        kept = KeptFace(
            face, quality, encode_jpeg(portrait.image), portrait.landmarks,
            captured.visit.time, source,
        )  # fmt: skip
        gap = self._gap_s
        done = self._store.use(
            lambda store: store.see(
                captured.id,
                captured.visit,
                kept,
                gap_s=gap,
                new=captured.new,
                erasures=captured.erasures,
            )
        )
        self._not_kept += done is None
        with self._lock:
            if captured.id in self._people:
                self._people[captured.id].waits = done is None

    def prune(self) -> None:
        """Erase who was not seen for too long; for a timer."""
        self._store.use(lambda store: store.prune())
        oldest = self._age() - self._days * 86400
        with self._lock:
            for who in [w for w, known in self._people.items() if known.visits[-1].end < oldest]:
                del self._people[who]

    def state(self) -> dict[str, Any]:
        """For the status. people: remembered now. not_kept: lost to `error`."""
        with self._lock:
            people = len(self._people)
        return {
            "remembered": people,
            "on": self.on,
            "not_kept": self._not_kept,
            "error": self._store.error,
        }

    def close(self) -> None:
        """Let the file go."""
        self._store.close()

    @property
    def _gap_s(self) -> float:
        return self._config().unknown.visit_gap_min * 60

    @property
    def _days(self) -> float:
        return self._config().service.retention.unknown_days

    def _look(self) -> None:
        """Read the file where another process changed it, or it is another one."""
        version = self._store.use(lambda store: (id(store), store.version()))
        if version is None or version == self._read:
            return
        # The count first: who is erased after it was read is noticed when they are kept.
        found = self._store.use(lambda store: (store.erasures(), store.people()))
        if found is None:
            return
        erasures, people = found
        waiting = {who: known for who, known in self._people.items() if known.waits}
        if erasures != self._erasures and self._erasures is not None:
            waiting = {}
        self._erasures = erasures
        self._people = {one.id: _known(one) for one in people} | waiting
        self._read = version

    def _who(self, face: Embeddings, frames: int) -> tuple[str, bool]:
        """The id, and whether it is a new one."""
        known = {
            who: [kept.vectors[0] for kept, _ in one.faces if kept.space == face.space]
            for who, one in self._people.items()
        }
        top_k = self._config().matching.top_k
        who = seen_before(face, frames, known, self._bounds, top_k=top_k)
        if who is not None:
            return who, False
        return uuid.uuid4().hex[:16], True

    def _told(self, who: str) -> dict[str, Any]:
        """What events say of somebody who is seen now: the visits before this one."""
        now, days = self._age(), self._days
        known = self._people.get(who)
        before = [] if known is None else [v for v in known.visits if now - v.end <= days * 86400]
        last = utc(before[-1].time) if before else None
        if before and now - before[-1].end <= self._gap_s:
            before = before[:-1]  # it goes on
        seen = {"visits": len(before), "days": days, "last": last}
        return {"unknown_id": who, "seen_before": seen}

    def _remember(self, who: str, visit: UnknownVisit, face: Embeddings, quality: float) -> None:
        known = self._people.setdefault(who, _Known([], []))
        known.waits = True
        known.visits = [*with_visit(known.visits, visit, self._gap_s)]
        known.faces.append((face, quality))
        known.faces.sort(key=lambda one: -one[1])
        del known.faces[FACES_MAX:]
        limit = self._config().unknown.people_max
        if len(self._people) > limit:
            oldest = min(self._people, key=lambda one: self._people[one].visits[-1].end)
            del self._people[oldest]

    def _taken_back(self, report: Report) -> list[CapturedUnknown]:
        """Faces that were unknown and are recognised now, or must not be: what was kept of them is
        taken back."""
        back = []
        for sighting in report.sightings:
            if sighting.state != "known" and not sighting.withheld:
                continue
            captured = self._tracks.pop((report.source, sighting.track), None)
            if captured is not None:
                self._forget_visit(captured)
                back.append(CapturedUnknown(captured.id, captured.visit, captured.new, None))
        return back

    def _forget_visit(self, captured: CapturedUnknown) -> None:
        known = self._people.get(captured.id)
        if known is None or captured.face is None:
            return
        known.visits = [one for one in known.visits if one.begin != captured.visit.begin]
        known.faces = [one for one in known.faces if one[0] is not captured.face[0]]
        if not known.visits:
            del self._people[captured.id]


def _known(person: UnknownPerson) -> _Known:
    return _Known(list(person.visits), [(one.face, one.quality) for one in person.faces])
