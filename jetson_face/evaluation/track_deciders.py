"""Other ways to name a track, to compare with: they see the same faces and the same vectors.

Each is written from what it does, with the threshold of the network under test. None of them knows
scene cuts or takes a contradiction for a new person.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from jetson_face.core.types import (
    F32,
    Embeddings,
    EmbeddingSpace,
    Frame,
    Match,
    Person,
    Report,
    Sighting,
    State,
)
from jetson_face.gallery.matcher import Matcher
from jetson_face.recognition.decision import Decision
from jetson_face.recognition.embedding_scheduler import EmbeddingScheduler
from jetson_face.recognition.finder import FaceFinder
from jetson_face.recognition.stopwatch import Stopwatch
from jetson_face.recognition.track_state import TrackStates

AREA_MAX = 4000
"""Pixels beyond which a larger face weighs no more in the weighted vote, as in Frigate."""
UNKNOWN_AFTER = 5
"""Embeddings without a name before `unknown` is said."""


@dataclass(slots=True, eq=False)
class TrackHistory:
    """What a rule knows of one track: a match, vector (dim,) and box area (pixels) an embedding."""

    matches: list[Match] = field(default_factory=list)
    vectors: list[F32] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)


Rule: TypeAlias = Callable[[TrackHistory, Matcher], Person | None]
"""Who a track is, after each of its embeddings; None: no name."""


def unit(vector: F32) -> F32:
    """The vector with length 1; zeros stay."""
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)


def plain_average(space: EmbeddingSpace, similarity_min: float) -> Rule:
    """The mean of all vectors with equal weights, matched; a name at the threshold."""

    def rule(seen: TrackHistory, matcher: Matcher) -> Person | None:
        mean = unit(np.mean(seen.vectors, axis=0))
        match = matcher.match(Embeddings(mean[None], space))[0]
        return match.person if match.similarity >= similarity_min else None

    return rule


def majority_vote(similarity_min: float) -> Rule:
    """Each embedding votes for its nearest person, or for nobody below the threshold; more than
    half of all votes give the name."""

    def rule(seen: TrackHistory, matcher: Matcher) -> Person | None:
        votes = Counter(m.person for m in seen.matches if m.similarity >= similarity_min)
        if not votes:
            return None
        person, count = votes.most_common(1)[0]
        return person if 2 * count > len(seen.matches) else None

    return rule


def weighted_vote(similarity_min: float, unknown_max: float) -> Rule:
    """As Frigate describes it: each embedding above `unknown_max` votes, weighted by face area (at
    most `AREA_MAX`) and by how far it is above; the highest sum gives the person, its weighted mean
    must reach the threshold, and no other person may have as many votes."""

    def rule(seen: TrackHistory, matcher: Matcher) -> Person | None:
        sums: dict[Person, float] = defaultdict(float)
        weights: dict[Person, float] = defaultdict(float)
        counts: Counter[Person] = Counter()
        for match, area in zip(seen.matches, seen.areas, strict=True):
            if match.person is None or match.similarity <= unknown_max:
                continue
            weight = min(area, AREA_MAX) * (match.similarity - unknown_max)
            sums[match.person] += weight * match.similarity
            weights[match.person] += weight
            counts[match.person] += 1
        if not sums:
            return None
        best = max(sums, key=lambda person: sums[person])
        tied = any(counts[other] == counts[best] for other in counts if other != best)
        return best if not tied and sums[best] / weights[best] >= similarity_min else None

    return rule


def sticky_match(similarity_min: float) -> Rule:
    """As Savant's sample has it: the last embedding that matched names the track from then on."""

    def rule(seen: TrackHistory, matcher: Matcher) -> Person | None:
        named = (m.person for m in reversed(seen.matches) if m.similarity >= similarity_min)
        return next(named, None)

    return rule


class RuleRecognizer:
    """A recogniser that finds and embeds faces as the product does, and names them by a rule.

    A face counts as sure, and is embedded less often, while it has a name.
    """

    def __init__(
        self, finder: FaceFinder, embedding: EmbeddingScheduler, matcher: Matcher, rule: Rule
    ) -> None:
        self._finder, self._embedding = finder, embedding
        self._matcher, self._rule = matcher, rule
        self._states = TrackStates()
        self._seen: dict[int, TrackHistory] = defaultdict(TrackHistory)

    def process(self, frame: Frame) -> Report:
        """See `FaceRecognizer.process`."""
        watch = Stopwatch(lambda: 0)
        found = self._finder.find(frame, watch)
        self._states.next_frame(found.tracks, frame.captured_ns)
        self._states.keep_only(self._finder.alive())
        states = self._states.of(found.tracks)
        rows = self._embedding.select(found, states)
        found = self._finder.sharpen(frame, found, rows, watch)
        crops = self._embedding.crop(frame.image, found, rows, states, watch)
        vectors = self._embedding.embed(crops, watch)
        matches = self._matcher.match(vectors) if len(crops) else []
        for row, match, vector in zip(crops.rows, matches, vectors.vectors, strict=True):
            track, box = int(found.tracks[row]), found.faces.boxes[row]
            seen = self._seen[track]
            seen.matches.append(match)
            seen.vectors.append(vector.copy())
            seen.areas.append(float((box[2] - box[0]) * (box[3] - box[1])))
            self._decide(track, frame.captured_ns)
        return self._report(frame, found.tracks.tolist(), found.faces.boxes, found.faces.scores)

    def _decide(self, track: int, now_ns: int) -> None:
        state, person = self._states[track], self._rule(self._seen[track], self._matcher)
        state.waited, state.embeddings = 0, state.embeddings + 1
        said: State = "known" if person else "pending"
        if person is None and state.embeddings >= UNKNOWN_AFTER:
            said = "unknown"
        state.decision = Decision(said, person, None, False, now_ns)

    def _report(self, frame: Frame, tracks: list[int], boxes: F32, scores: F32) -> Report:
        sightings = []
        for track, box, score in zip(tracks, boxes, scores, strict=True):
            state = self._states[track]
            said, person = state.decision.state, state.decision.person
            now = said, None if person is None else person.id
            changed, state.reported = now != state.reported, now
            left, top, right, bottom = (float(edge) for edge in box)
            sightings.append(
                Sighting(
                    track=track,
                    box=(left, top, right, bottom),
                    state=said,
                    person=person,
                    similarity=None,
                    frames=state.embeddings,
                    changed=changed,
                    detected=bool(score > 0),
                )
            )
        height, width = frame.image.shape[:2]
        return Report(
            source=frame.source,
            seq=frame.seq,
            captured_ns=frame.captured_ns,
            wall=frame.wall,
            size=(width, height),
            sightings=tuple(sightings),
            stages_ms={},
            searched=False,
        )
