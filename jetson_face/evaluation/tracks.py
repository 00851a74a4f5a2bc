"""How well names hold on video: labelled clips of what makes tracks go wrong, several deciders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from jetson_face.benchmark.clips.cutout import cut_out
from jetson_face.benchmark.clips.scenarios import (
    FPS,
    CastMember,
    TrackClip,
    make_track_clip,
    planned,
)
from jetson_face.config import Config
from jetson_face.core.errors import InputBrokenError
from jetson_face.core.protocols import FrameProcessor
from jetson_face.core.types import F32, Detections, Embeddings, Frame, ImageU8, Report
from jetson_face.embedding.quality import QualityGate
from jetson_face.evaluation import track_deciders as rules
from jetson_face.evaluation.detection_cache import CachedDetector, DetectionCache, picture_digest
from jetson_face.evaluation.extract import ExtractedFaces
from jetson_face.evaluation.identification import templates_of
from jetson_face.evaluation.method import Method, snapshot_of
from jetson_face.evaluation.people import Shot, by_hash
from jetson_face.evaluation.track_tally import ClipTally, tally
from jetson_face.factory.parts import (
    Parts,
    build_motion,
    build_parts,
    build_recognizer,
    build_tracker,
    decision_threshold,
)
from jetson_face.gallery.matcher import Matcher
from jetson_face.recognition.detection_interval import DetectionInterval
from jetson_face.recognition.embedding_scheduler import EmbeddingBudget, EmbeddingScheduler
from jetson_face.recognition.finder import FaceFinder
from jetson_face.util.images import read_picture

ENROLLED, OTHERS = 24, 36
_ENROL, _SHOW = 3, 3
OURS = "ours"


@dataclass(frozen=True, slots=True)
class TrackCast:
    """Who plays. enrolled: the pictures to enrol of each person; shown: those for the clips."""

    enrolled: Mapping[str, tuple[Shot, ...]]
    shown: Mapping[str, tuple[Shot, ...]]

    @property
    def pictures(self) -> dict[str, Path]:
        """Every picture that is used, by name."""
        groups = (*self.enrolled.values(), *self.shown.values())
        return {shot.name: shot.path for shots in groups for shot in shots}


def choose_track_cast(people: Mapping[str, Sequence[Shot]], seed: int) -> TrackCast:
    """Some people to enrol from one session, to be shown from others, and some who are not.

    Raises InputBrokenError where there are fewer than 4 people with two sessions, or 4 others.
    """
    several = [name for name in people if len({shot.session for shot in people[name]}) > 1]
    enrolled = by_hash(several, seed)[: min(ENROLLED, len(several) // 2)]
    others = by_hash([name for name in people if name not in enrolled], seed)[:OTHERS]
    if min(len(enrolled), len(others)) < 4:
        raise InputBrokenError(
            f"{len(several)} people have pictures of two videos: 8 or more are needed, 4 to enrol"
        )
    enrol, shown = {}, {}
    for name in enrolled:
        session = people[name][0].session
        enrol[name] = tuple(s for s in people[name] if s.session == session)[:_ENROL]
        shown[name] = tuple(s for s in people[name] if s.session != session)[:_SHOW]
    shown |= {name: tuple(people[name][:_SHOW]) for name in others}
    return TrackCast(enrol, shown)


def cast_members(
    cast: TrackCast, faces: ExtractedFaces
) -> tuple[list[CastMember], list[CastMember]]:
    """The enrolled and the others, heads cut out; a picture without a face is passed over."""
    place = {name: row for row, name in enumerate(faces.names) if faces.found[row]}
    there = {
        name: [shot for shot in shots if shot.name in place] for name, shots in cast.shown.items()
    }
    there = {name: shots for name, shots in there.items() if shots}
    means = {
        name: rules.unit(faces.vectors[[place[shot.name] for shot in shots]].mean(axis=0))
        for name, shots in there.items()
    }
    enrolled = [name for name in there if name in cast.enrolled]
    others = [name for name in there if name not in cast.enrolled]
    both = (enrolled, others), (others, enrolled)
    made: list[list[CastMember]] = []
    for names, across in both:
        rows = np.stack([means[name] for name in across])
        made.append(
            [
                _member(
                    name if name in cast.enrolled else None,
                    [(shot, faces.boxes[place[shot.name]]) for shot in there[name]],
                    int((rows @ means[name]).argmax()),
                )
                for name in names
            ]
        )
    return made[0], made[1]


def _member(name: str | None, shots: Sequence[tuple[Shot, F32]], alike: int) -> CastMember:
    pictures = [read_picture(shot.path) for shot, _ in shots]
    boxes = [(float(x1), float(y1), float(x2), float(y2)) for _, (x1, y1, x2, y2) in shots]
    return CastMember(name, tuple(map(cut_out, pictures, boxes)), alike, pictures[0], boxes[0])


class _Remembering:
    """The networks of a run, each asked once for the same input, so that all deciders have the same
    faces and vectors."""

    def __init__(self, parts: Parts, detector: CachedDetector) -> None:
        self._refiner = parts.refiner
        self._embedder = parts.embedder
        self.name = detector.name
        self.detect, self.close = detector.detect, detector.close
        self.space, self.alignment = parts.embedder.space, parts.embedder.alignment
        self.similarity_min = parts.embedder.similarity_min
        self._refined: dict[bytes, Detections] = {}
        self._vectors: dict[bytes, F32] = {}

    def refine(self, image: ImageU8, boxes: F32) -> Detections:
        """See Refiner."""
        key = picture_digest(image) + boxes.tobytes()
        if self._refiner is not None and key not in self._refined:
            self._refined[key] = self._refiner.refine(image, boxes)
        return self._refined[key]

    def embed(self, crops: ImageU8) -> Embeddings:
        """See Embedder."""
        keys = [crop.tobytes() for crop in crops]
        new = [row for row, key in enumerate(keys) if key not in self._vectors]
        if new:
            for row, vector in zip(new, self._embedder.embed(crops[new]).vectors, strict=True):
                self._vectors[keys[row]] = vector.copy()
        return Embeddings(np.stack([self._vectors[key] for key in keys]), self.space)

    def forget(self) -> None:
        """Another clip begins."""
        self._refined.clear()
        self._vectors.clear()


@contextmanager
def deciders(
    config: Config, matcher: Matcher, cache: Path | None
) -> Iterator[tuple[dict[str, Callable[[], FrameProcessor]], Callable[[], None]]]:
    """By name, what makes a fresh recogniser for a clip; and what is called between two clips."""
    with closing(build_parts(config)) as parts, _cache(cache) as found:
        search = repr(config.detector.model_dump(mode="json"))
        known = _Remembering(parts, CachedDetector(parts.detector, search, found))
        refiner = None if parts.refiner is None else known
        seen = replace(parts, detector=known, refiner=refiner, embedder=known)
        least = decision_threshold(config, parts.embedder)

        def by_rule(rule: rules.Rule) -> Callable[[], FrameProcessor]:
            return lambda: _by_rule(config, seen, matcher, rule)

        yield (
            {
                "plain average": by_rule(rules.plain_average(known.space, least)),
                "majority vote": by_rule(rules.majority_vote(least)),
                "weighted vote": by_rule(
                    rules.weighted_vote(least, least - config.matching.hysteresis)
                ),
                "sticky match": by_rule(rules.sticky_match(least)),
                OURS: lambda: build_recognizer(config, seen, lambda now_ns: matcher),
            },
            known.forget,
        )


@contextmanager
def _cache(folder: Path | None) -> Iterator[DetectionCache]:
    """What was found, kept in the folder; without one, for this run only."""
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="jetson-face-tracks-")))
        folder.mkdir(parents=True, exist_ok=True)
        yield stack.enter_context(closing(DetectionCache(folder / "tracks.db")))


def _by_rule(config: Config, parts: Parts, matcher: Matcher, rule: rules.Rule) -> FrameProcessor:
    sampling = config.sampling
    finder = FaceFinder(
        parts.detector,
        parts.refiner,
        DetectionInterval(sampling.interval, on_loss=sampling.on_loss),
        build_tracker(config),
        small_every=sampling.small_every,
        moved=build_motion(config),
    )
    budget = EmbeddingBudget(
        config.fusion.embed_interval,
        config.fusion.max_per_frame,
        config.quality.embed_min,
        config.embedder.mirror,
    )
    scheduler = EmbeddingScheduler(parts.aligner, QualityGate(), parts.embedder, budget)
    return rules.RuleRecognizer(finder, scheduler, matcher, rule)


def run_tracks(
    config: Config,
    method: Method,
    people: Mapping[str, Sequence[Shot]],
    *,
    seed: int,
    share: float,
    only: Sequence[str],
    cache: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, dict[str, list[ClipTally]]], dict[str, Any]]:
    """Tallies by decider and kind of clip, and facts. share: of the full set of clips; only: of
    these kinds.

    Raises InputBrokenError where the people are too few.
    """
    cast = choose_track_cast(people, seed)
    faces = method.extractor.extract(cast.pictures)
    templates = templates_of(cast.enrolled, faces)
    matcher = Matcher(snapshot_of(method.space, templates), top_k=config.matching.top_k)
    members = cast_members(cast, faces)
    kinds = planned(share, only)
    made: dict[str, dict[str, list[ClipTally]]] = {}
    cuts, frames = 0, 0
    with deciders(config, matcher, cache) as (makers, between):
        for done, kind in enumerate(kinds, 1):
            clip = make_track_clip(kind, kinds[: done - 1].count(kind), *members, seed=seed)
            cuts, frames = cuts + len(clip.cuts), frames + len(clip.images)
            for name, make in makers.items():
                rows = made.setdefault(name, {}).setdefault(kind, [])
                rows.append(tally(clip, _reports(make(), clip)))
            between()
            if progress is not None:
                progress(done, len(kinds))
    facts = {
        "clips": len(kinds),
        "cuts": cuts,
        "frames": frames,
        "people": len(templates),
        "not_enrolled": len(members[1]),
        "interval": config.sampling.interval,
    }
    return made, facts


def _reports(recognizer: FrameProcessor, clip: TrackClip) -> Iterator[Report]:
    for seq, image in enumerate(clip.images):
        yield recognizer.process(Frame(image, seq, round(seq * 1e9 / FPS), 0.0, clip.kind))
