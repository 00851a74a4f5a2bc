"""One frame in, one report out: the whole way from a picture to who is in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from jetson_face.core.types import (
    NO_MATCH,
    BoolArray,
    Embeddings,
    Frame,
    Report,
    ReviewCandidate,
    Sighting,
    UnknownFace,
)
from jetson_face.recognition.decision import undecided
from jetson_face.recognition.embedding_scheduler import AlignedCrops, EmbeddingScheduler
from jetson_face.recognition.finder import FaceFinder, Found
from jetson_face.recognition.scene_cut import FaceAppearances
from jetson_face.recognition.steps import Stepping, Steps
from jetson_face.recognition.still_faces import StillFaces
from jetson_face.recognition.stopwatch import Stopwatch
from jetson_face.recognition.track_decisions import TrackDecisions
from jetson_face.recognition.track_state import TrackStates


class FaceRecognizer(Stepping):
    """Recognises the faces of one source, frame by frame, in order.

    No threads, no I/O: time is the frame's, and what it needs is passed in. review_quality_min:
    [0, 1], of a review candidate and of an unknown face. still: faces that are
    pictures get no name and are not unknown. timer_ns: only measures the stages, decides nothing.
    """

    def __init__(
        self,
        finder: FaceFinder,
        embedding: EmbeddingScheduler,
        decisions: TrackDecisions,
        *,
        review_quality_min: float = 0.25,
        still: StillFaces | None = None,
        timer_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.finder, self.embedding, self.decisions = finder, embedding, decisions
        self._review_quality_min = review_quality_min
        self._timer_ns = timer_ns
        self._states = TrackStates()
        self._appearances, self._still = FaceAppearances(), still

    def steps(self, frame: Frame) -> Steps[Report]:
        """Who is in the frame, given the frames before it."""
        watch = Stopwatch(self._timer_ns)
        found = yield from self.finder.steps(frame, watch)
        found = self._remember(found, frame)
        states = self._states.of(found.tracks)
        rows = self.embedding.select(found, states)
        if self._still is not None:
            rows = rows[~self._pictures(self._still, found, frame)[rows]]
        found = self.finder.sharpen(frame, found, rows, watch)
        crops = self.embedding.crop(frame.pixels, found, rows, states, watch)
        vectors = self.embedding.embed(crops, watch)
        with watch("decide"):
            found = self._one_person_a_track(found, crops, vectors, frame)
            crops, vectors = self.embedding.recognisable(crops, vectors)
            tracks = found.tracks[crops.rows]
            if len(crops) < len(rows):
                in_vain = found.tracks[rows[~np.isin(rows, crops.rows)]]
                for state in self._states.of(in_vain):
                    state.tried_in_vain(self.embedding.budget.embed_interval)
            self.decisions.fuse(tracks, crops, vectors, self._states)
            self.decisions.decide(tracks, self._states, frame.captured_ns)
            sightings = self._sightings(found, crops)
            candidates = self._review_candidates(found, crops, vectors)
            strangers = self._unknown_faces(found, crops)
        self.finder.want(self.embedding.next_wanted(self._states))
        unseen = tuple(sorted({*self._states.ids()} - {s.track for s in sightings}))
        return Report(
            source=frame.source,
            seq=frame.seq,
            captured_ns=frame.captured_ns,
            wall=frame.wall,
            size=frame.size,
            sightings=sightings,
            stages_ms=watch.ms,
            searched=found.searched,
            spared=found.spared,
            embedded=len(crops),
            review_candidates=candidates,
            unknown_faces=strangers,
            unseen=unseen,
        )

    def take_over(self, older: FaceRecognizer) -> None:
        """Go on with the tracks of another recogniser of the same source and embedding space, so
        that faces in view keep their names when settings change."""
        self.finder.take_over(older.finder)
        self.decisions.fuser = older.decisions.fuser
        self._states, self._appearances = older._states, older._appearances
        if self._still is not None:
            self._still = older._still or self._still

    def begin_after(self, older: FaceRecognizer) -> None:
        """Begin with no face, and give no track a number that another recogniser of the same source
        gave."""
        self.finder.tracker.begin_after(older.finder.tracker)

    def _remember(self, found: Found, frame: Frame) -> Found:
        """Begin a state for each new track, and drop those of faces that left. The faces, without
        those that were not looked for, and where something else is now."""
        self._states.next_frame(found.tracks, frame.captured_ns)
        alive = self.finder.alive()
        if self._states.keep_only(alive):
            self.decisions.fuser.keep_only(self._states.ids())
            self._appearances.keep_only(alive)
            if self._still is not None:
                self._still.keep_only(alive)
        scores = found.faces.scores.tolist()
        for state, score in zip(self._states.of(found.tracks), scores, strict=True):
            state.seen(score)
        doubted = self._appearances.changed(frame.pixels, found.tracks, found.faces.boxes)
        for state in self._states.of(found.tracks[doubted]):
            state.doubt()
        gone = doubted & (found.faces.scores == 0)
        return found.without(gone) if self.finder.refiner is not None and gone.any() else found

    def _pictures(self, still: StillFaces, found: Found, frame: Frame) -> BoolArray:
        """(N,) which faces are pictures; what was said of them is taken back."""
        pictures = still.look(frame.pixels, found.tracks, found.faces.boxes, frame.captured_ns)
        tracks = found.tracks[pictures]
        self.decisions.fuser.forget(tracks)
        for state in self._states.of(tracks):
            if state.decision.state != "pending":
                state.decision, state.match = undecided(frame.captured_ns), NO_MATCH
            state.embeddings = 0
        return pictures

    def _one_person_a_track(
        self, found: Found, crops: AlignedCrops, vectors: Embeddings, frame: Frame
    ) -> Found:
        """Where a face is another than its track's, a new track without a past takes its place."""
        if not len(crops):
            return found
        other = self.decisions.contradicted(found.tracks[crops.rows], vectors, self._states)
        if not other.any():
            return found
        rows, tracks = crops.rows[other], found.tracks.copy()
        ended = tracks[rows]
        tracks[rows] = self.finder.tracker.renumber(ended)
        self.decisions.fuser.forget(ended)
        self._states.begin(tracks[rows], frame.captured_ns)
        self._states.keep_only(self.finder.alive())
        return replace(found, tracks=tracks)

    def _sightings(self, found: Found, crops: AlignedCrops) -> tuple[Sighting, ...]:
        points = found.faces.landmarks
        pointed = np.asarray(np.isfinite(points).all(axis=(1, 2)), np.bool_)
        quality = dict(zip(crops.rows.tolist(), crops.quality.tolist(), strict=True))
        frames = self.decisions.fuser.frames(found.tracks)
        boxes, scores = found.faces.boxes.tolist(), found.faces.scores.tolist()
        sightings = []
        for row, state in enumerate(self._states.of(found.tracks)):
            decision = state.told
            now = decision.state, None if decision.person is None else decision.person.id
            changed, state.reported = now != state.reported, now
            left, top, right, bottom = boxes[row]
            sightings.append(
                Sighting(
                    track=int(found.tracks[row]),
                    box=(left, top, right, bottom),
                    state=decision.state,
                    person=decision.person,
                    similarity=decision.similarity,
                    frames=int(frames[row]),
                    changed=changed,
                    detected=scores[row] > 0,
                    landmarks=points[row].copy() if pointed[row] else None,
                    quality=quality.get(row),
                    candidates=() if state.withheld else state.match.candidates,
                    withheld=state.withheld,
                )
            )
        return tuple(sightings)

    def _review_candidates(
        self, found: Found, crops: AlignedCrops, vectors: Embeddings
    ) -> tuple[ReviewCandidate, ...]:
        """Those just embedded that a person should name and that are not in review yet."""
        candidates = []
        for index, row in enumerate(crops.rows):
            track, quality = int(found.tracks[row]), float(crops.quality[index])
            state = self._states[track]
            nearest = state.match.person
            if state.told.state != "review" or state.in_review or nearest is None:
                continue
            if quality < self._review_quality_min:
                continue  # a better crop may come
            state.in_review = True
            candidates.append(
                ReviewCandidate(
                    track=track,
                    nearest=nearest,
                    similarity=state.match.similarity,
                    second=state.match.second,
                    quality=quality,
                    # An embedder may use its output buffer again.
                    face=Embeddings(vectors.vectors[index : index + 1].copy(), vectors.space),
                    landmarks=np.array(found.faces.landmarks[row]),
                )
            )
        return tuple(candidates)

    def _unknown_faces(self, found: Found, crops: AlignedCrops) -> tuple[UnknownFace, ...]:
        """Those just embedded that are nobody enrolled, each track once, in a good crop."""
        faces = []
        for row, quality in zip(crops.rows.tolist(), crops.quality.tolist(), strict=True):
            state = self._states[int(found.tracks[row])]
            if state.decision.state != "unknown" or state.as_unknown or state.withheld:
                continue
            if quality < self._review_quality_min:
                continue  # a better crop may come
            state.as_unknown = True
            track = found.tracks[row : row + 1]
            faces.append(
                UnknownFace(
                    track=int(track[0]),
                    frames=int(self.decisions.fuser.frames(track)[0]),
                    quality=quality,
                    face=self.decisions.fuser.means(track),
                    landmarks=np.array(found.faces.landmarks[row]),
                )
            )
        return tuple(faces)
