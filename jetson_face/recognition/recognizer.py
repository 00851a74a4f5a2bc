"""One frame in, one report out: the whole way from a picture to who is in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from jetson_face.core.types import (
    F32,
    I64,
    NO_MATCH,
    Detections,
    Doubt,
    Embeddings,
    Frame,
    Match,
    Report,
    Sighting,
    State,
)
from jetson_face.detection.detector import Detector, Refiner
from jetson_face.embedding.align import Aligner
from jetson_face.embedding.embedder import Embedder
from jetson_face.embedding.quality import QualityGate
from jetson_face.gallery.matcher import Matcher
from jetson_face.recognition.decision import Decider, Decision, undecided
from jetson_face.recognition.detection_interval import Sampler
from jetson_face.recognition.embedding_scheduler import select_for_embedding
from jetson_face.recognition.fusion import Fuser
from jetson_face.recognition.tracker import Tracker


@dataclass(frozen=True, slots=True)
class Budget:
    """What is worth embedding. known_every: frames between two embeddings of a face that is surely
    known. per_frame: faces on one frame. quality_min: [0, 1], of the aligned crop. ask_quality_min:
    the same for a face that a person is asked about. mirror: every other look at a track is of the
    mirrored face."""

    known_every: int = 5
    per_frame: int = 8
    quality_min: float = 0.05
    ask_quality_min: float = 0.25
    mirror: bool = False


@dataclass(slots=True)
class _Track:
    """What is remembered of one face while it is in view."""

    decision: Decision
    match: Match = NO_MATCH
    waited: int = 0
    frames: int = 0
    said: tuple[State, str | None] = ("pending", None)
    """State and person id of the last sighting: a difference is an event."""
    asked: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class _Embedded:
    """The faces of one frame that were embedded: rows (M,) of its detections, quality (M,)."""

    rows: I64
    quality: F32
    faces: Embeddings | None = None


class Stopwatch:
    """Milliseconds by stage, for one frame."""

    def __init__(self, clock_ns: Callable[[], int]) -> None:
        self._clock_ns = clock_ns
        self.ms: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Time a block; the same stage twice adds up."""
        start = self._clock_ns()
        yield
        self.ms[stage] = self.ms.get(stage, 0.0) + (self._clock_ns() - start) / 1e6


class FaceRecognizer:
    """Recognises the faces of one source, frame by frame, in order.

    No threads, no I/O: time is the frame's, and what it needs is passed in. people: called with
    the frame's time, gives the gallery to match against; a new one when somebody was added.
    stills: each frame stands alone: no face is followed from one to the next.
    timer_ns: only measures the stages, decides nothing.
    """

    def __init__(
        self,
        *,
        detector: Detector,
        refiner: Refiner | None,
        sampler: Sampler,
        tracker: Tracker,
        aligner: Aligner,
        quality: QualityGate,
        embedder: Embedder,
        fuser: Fuser,
        decider: Decider,
        people: Callable[[int], Matcher],
        budget: Budget | None = None,
        stills: bool = False,
        timer_ns: Callable[[], int] = time.perf_counter_ns,
    ) -> None:
        self.detector = detector
        self.refiner = refiner
        self.sampler = sampler
        self.tracker = tracker
        self.aligner = aligner
        self.quality = quality
        self.embedder = embedder
        self.fuser = fuser
        self.decider = decider
        self.people = people
        self.budget = budget or Budget()
        self._stills = stills
        self._timer_ns = timer_ns
        self._tracks: dict[int, _Track] = {}
        self._revision = -1
        self._size: tuple[int, int] | None = None

    def process(self, frame: Frame) -> Report:
        """Who is in the frame, given the frames before it."""
        watch = Stopwatch(self._timer_ns)
        self._start_anew_where_nothing_goes_on(frame)
        searched = self.sampler.next()
        if searched:
            tracks, faces = self._search(frame, watch)
        else:
            tracks, faces = self._follow(frame, watch)
        self._remember(tracks, frame)
        embedded = self._embed(frame, tracks, faces, watch)
        with watch("decide"):
            self._decide(tracks[embedded.rows], frame)
            sightings = self._sightings(tracks, faces)
            doubts = self._doubts(tracks, faces, embedded)
        height, width = frame.image.shape[:2]
        return Report(
            source=frame.source,
            seq=frame.seq,
            captured_ns=frame.captured_ns,
            wall=frame.wall,
            size=(width, height),
            sightings=sightings,
            stages_ms=watch.ms,
            searched=searched,
            embedded=len(embedded.rows),
            doubts=doubts,
        )

    def take_over(self, older: FaceRecognizer) -> None:
        """Go on with the tracks of another recogniser of the same source and embedding space, so
        that faces in view keep their names when settings change."""
        self.tracker, self.fuser = older.tracker, older.fuser
        self._tracks, self._size = older._tracks, older._size

    def _start_anew_where_nothing_goes_on(self, frame: Frame) -> None:
        height, width = frame.image.shape[:2]
        if self._stills or self._size not in (None, (width, height)):
            self.tracker.reset()
            self.sampler.reset()
        self._size = (width, height)

    def _search(self, frame: Frame, watch: Stopwatch) -> tuple[I64, Detections]:
        with watch("detect"):
            faces = self.detector.detect(frame.image)
        with watch("track"):
            tracks = self.tracker.update(faces, frame.captured_ns, size=self._size)
        numbered = tracks >= 0  # more faces than tracks are kept: the rest goes unnamed
        return tracks[numbered], faces[numbered]

    def _follow(self, frame: Frame, watch: Stopwatch) -> tuple[I64, Detections]:
        """Between searches: move each track's box to where its face is now."""
        with watch("track"):
            tracks, boxes = self.tracker.predict(frame.captured_ns, size=self._size)
        if self.refiner is None or not len(tracks):
            return tracks, _only_boxes(boxes)
        with watch("refine"):
            faces = self.refiner.refine(frame.image, boxes)
        with watch("track"):
            lost = self.tracker.advance(tracks, faces, frame.captured_ns)
        if len(lost):
            self.sampler.lose(lost)
        seen = faces.scores > 0
        return tracks[seen], faces[seen]

    def _remember(self, tracks: I64, frame: Frame) -> None:
        """Begin a record for each new track, and drop those of faces that left."""
        for track in tracks:
            if int(track) not in self._tracks:
                self._tracks[int(track)] = _Track(undecided(frame.captured_ns))
        for record in self._tracks.values():
            record.waited += 1
        alive = {int(track) for track in self.tracker.alive()}
        if not self._tracks.keys() <= alive:
            self._tracks = {t: record for t, record in self._tracks.items() if t in alive}
            self.fuser.keep_only(sorted(alive))

    def _embed(self, frame: Frame, tracks: I64, faces: Detections, watch: Stopwatch) -> _Embedded:
        """Embed the faces that are worth it now."""
        usable = np.asarray(np.isfinite(faces.landmarks).all(axis=(1, 2)), np.bool_)
        if not usable.any():  # most frames without a search
            return _Embedded(np.zeros(0, np.int64), np.zeros(0, np.float32))
        records = [self._tracks[int(track)] for track in tracks]
        rows = select_for_embedding(
            np.array([r.decision.state in ("known", "unknown") for r in records], np.bool_),
            np.array([r.frames for r in records], np.int64),
            np.array([r.waited for r in records], np.int64),
            usable=usable,
            every_known=self.budget.known_every,
            cap=self.budget.per_frame,
        )
        if not len(rows):
            return _Embedded(rows, np.zeros(0, np.float32))
        with watch("align"):
            crops = self.aligner.crop(frame.image, faces.landmarks[rows])
            quality = self.quality.scores(crops, faces[rows])
            good = quality >= self.budget.quality_min
            rows, crops, quality = rows[good], crops[good], quality[good]
        if not len(rows):
            return _Embedded(rows, quality)
        if self.budget.mirror:  # averaging over frames then averages both sides of the network
            odd = [records[int(row)].frames % 2 == 1 for row in rows]
            crops[odd] = crops[odd, :, ::-1]
        with watch("embed"):
            vectors = self.embedder.embed(crops)
        self.fuser.add(tracks[rows], vectors, quality)
        for row in rows:
            records[int(row)].waited = 0
            records[int(row)].frames += 1
        return _Embedded(rows, quality, vectors)

    def _decide(self, embedded: I64, frame: Frame) -> None:
        """Match the tracks with new evidence; all of them when the gallery changed."""
        matcher = self.people(frame.captured_ns)
        if matcher.snapshot.revision != self._revision:
            self._revision = matcher.snapshot.revision
            embedded = np.array(sorted(self._tracks), np.int64)
        if not len(embedded):
            return
        counts = self.fuser.frames(embedded)
        found = self.fuser.match(embedded, matcher)
        for track, match, count in zip(embedded, found, counts, strict=True):
            record = self._tracks[int(track)]
            record.match = match
            record.decision = self.decider.decide(
                record.decision, match, int(count), frame.captured_ns
            )

    def _sightings(self, tracks: I64, faces: Detections) -> tuple[Sighting, ...]:
        frames = self.fuser.frames(tracks)
        sightings = []
        for row, track in enumerate(tracks):
            record = self._tracks[int(track)]
            decision = record.decision
            now = decision.state, None if decision.person is None else decision.person.id
            changed, record.said = now != record.said, now
            left, top, right, bottom = (float(edge) for edge in faces.boxes[row])
            sightings.append(
                Sighting(
                    track=int(track),
                    box=(left, top, right, bottom),
                    state=decision.state,
                    person=decision.person,
                    similarity=decision.similarity,
                    frames=int(frames[row]),
                    changed=changed,
                    detected=bool(faces.scores[row] > 0),
                )
            )
        return tuple(sightings)

    def _doubts(self, tracks: I64, faces: Detections, embedded: _Embedded) -> tuple[Doubt, ...]:
        """Those just embedded that a person should name and has not been asked about."""
        doubts = []
        for index, row in enumerate(embedded.rows):
            record, quality = self._tracks[int(tracks[row])], float(embedded.quality[index])
            nearest, sees = record.match.person, embedded.faces
            doubtful = record.decision.state == "review" and not record.asked
            if not doubtful or nearest is None or sees is None:
                continue
            if quality < self.budget.ask_quality_min:
                continue  # a better look may come
            record.asked = True
            # An embedder may use its output buffer again.
            face = Embeddings(sees.vectors[index : index + 1].copy(), sees.space)
            doubts.append(
                Doubt(
                    track=int(tracks[row]),
                    nearest=nearest,
                    similarity=record.match.similarity,
                    second=record.match.second,
                    quality=quality,
                    face=face,
                    landmarks=faces.landmarks[row].copy(),
                )
            )
        return tuple(doubts)


def _only_boxes(boxes: F32) -> Detections:
    """Faces of which only a predicted box is known: score 0, landmarks NaN."""
    count = len(boxes)
    return Detections(
        boxes, np.zeros(count, np.float32), np.full((count, 5, 2), np.nan, np.float32)
    )
