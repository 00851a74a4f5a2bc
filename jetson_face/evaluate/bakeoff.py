"""The bake-off: every method on the same faces, one row each, with what it costs beside what it
reaches. A method whose weights are not here gets a row that says so, and no figures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jetson_face.compose import Parts, build_matcher, build_parts, build_recognizer
from jetson_face.config import Config
from jetson_face.errors import JetsonFaceError
from jetson_face.evaluate.bakeoff_facts import ModelFacts, model_facts
from jetson_face.evaluate.bakeoff_frames import moving_face
from jetson_face.evaluate.bootstrap import Interval
from jetson_face.evaluate.identification import Trial, ask
from jetson_face.evaluate.method import Method, build_method, log_progress
from jetson_face.evaluate.pairs import PairList
from jetson_face.evaluate.people import Division
from jetson_face.evaluate.sensitivity import Level, measure_sensitivity, sample_pairs
from jetson_face.evaluate.verification import Verification, verify
from jetson_face.gallery.match import GallerySnapshot
from jetson_face.types import Embeddings, EmbeddingSpace, ImageU8, Person

_log = logging.getLogger(__name__)

LEVELS: Mapping[str, tuple[float, ...]] = {
    "face_px": (60, 30),
    "blur": (4,),
    "brightness": (0.25,),
    "rotation": (-30, 30, 60),
    "jpeg": (10,),
}
SPEEDS = ((320, 5), (640, 5), (1280, 5), (640, 1), (640, 10))
"""Width of the frame, and one frame in how many is searched."""
CROWDS = (10, 100, 300)
_EACH = 5
_FRAME_NS = 40_000_000


@dataclass(frozen=True, slots=True)
class Faces:
    """What every method is asked about: the same pairs, people and pictures.

    newcomer: pictures of one person, to be added. limit: pairs of the sensitivity sweep.
    """

    pairs: PairList
    pictures: Mapping[str, Path]
    division: Division
    newcomer: Sequence[Path]
    moving: ImageU8
    limit: int = 60


@dataclass(frozen=True, slots=True)
class Cost:
    """seconds_pictures: find and embed the newcomer's pictures. seconds_train: make the matcher
    of 100 people and the newcomer. crowds: people, seconds to make the matcher, seconds a query.
    """

    seconds_pictures: float
    seconds_train: float
    crowds: tuple[tuple[int, float, float], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One method. refused: why there are no figures; then everything below is empty."""

    name: str
    config: str
    refused: str | None = None
    model: ModelFacts | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    verification: Verification | None = None
    trial: Trial | None = None
    similarity_min: float = 0.0
    intervals: Mapping[str, Interval | None] = field(default_factory=dict)
    speeds: tuple[tuple[int, int, float], ...] = ()
    cost: Cost | None = None
    levels: tuple[Level, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Every figure under its key."""
        out: dict[str, Any] = {"name": self.name, "config": self.config, "refused": self.refused}
        if self.verification is None or self.trial is None or self.cost is None:
            return out
        measured = self.verification.as_json()
        keys = ("accuracy", "f1", "auc", "eer", "tar_at_far", "pairs", "undetected_pairs")
        return {
            **out,
            "model": None if self.model is None else self.model.as_json(),
            "verification": {key: measured[key] for key in keys},
            "verification_intervals": measured["intervals"],
            "identification": self.trial.figures(self.similarity_min),
            "identification_intervals": dict(self.intervals),
            "speed": [{"width": w, "every": n, "fps": fps} for w, n, fps in self.speeds],
            "add_person_seconds": {
                "pictures": self.cost.seconds_pictures,
                "train": self.cost.seconds_train,
            },
            "scaling": [
                {"people": n, "train_seconds": made, "query_seconds": asked}
                for n, made, asked in self.cost.crowds
            ],
            "sensitivity": [level.as_json() for level in self.levels],
            "facts": dict(self.facts),
        }


def measure_row(
    name: str,
    config_file: str,
    config: Config,
    faces: Faces,
    *,
    seed: int = 1,
    resamples: int = 300,
    clock: Callable[[], float] = time.perf_counter,
) -> Row:
    """All figures of one method, or the reason why there are none."""
    try:
        method = build_method(config)
        parts = build_parts(config)
    except JetsonFaceError as error:
        _log.warning("%s: refused: %s", name, error)
        return Row(name, config_file, refused=str(error))
    try:
        return _measure(name, config_file, config, method, parts, faces, seed, resamples, clock)
    finally:
        parts.close()


def _measure(
    name: str,
    config_file: str,
    config: Config,
    method: Method,
    parts: Parts,
    faces: Faces,
    seed: int,
    resamples: int,
    clock: Callable[[], float],
) -> Row:
    rng = np.random.default_rng(seed)
    pictures = {picture: faces.pictures[picture] for picture in faces.pairs.pictures}
    seen = method.extractor.extract(pictures, log_progress(f"{name}, pairs", 200))
    verification = verify(
        faces.pairs,
        seen,
        rng=rng,
        method=method.facts,
        scorer=method.pair_scorer,
        resamples=resamples,
        fold_count=5,
    )
    shots = {shot.name: shot.path for shot in faces.division.shots}
    met = method.extractor.extract(shots, log_progress(f"{name}, people", 200))
    trial = ask(faces.division, met, method.enrol, clock=clock)
    few = sample_pairs(faces.pairs, faces.limit, seed)
    _, levels = measure_sensitivity(few, pictures, method, rng=rng, levels=LEVELS, resamples=0)
    return Row(
        name,
        config_file,
        model=model_facts(config),
        facts=method.facts,
        verification=verification,
        trial=trial,
        similarity_min=method.similarity_min,
        intervals=trial.intervals(rng, resamples) if resamples else {},
        speeds=tuple(
            (width, every, measure_speed(config, parts, faces.moving, width, every, clock))
            for width, every in SPEEDS
        ),
        cost=measure_cost(method, faces.newcomer, clock),
        levels=tuple(levels),
    )


def measure_speed(
    config: Config,
    parts: Parts,
    face: ImageU8,
    width: int,
    every: int,
    clock: Callable[[], float] = time.perf_counter,
    *,
    seconds: float = 1.5,
) -> float:
    """Frames a second through the whole recogniser, one walking face in view, 20 people enrolled.

    At least two searches and `seconds`, the first round left out.
    """
    sampling = config.sampling.model_copy(update={"every": every})
    own = config.model_copy(update={"sampling": sampling})
    matcher = build_matcher(own, crowd(parts.embedder.space, 20))
    recognizer = build_recognizer(own, parts, lambda _now: matcher)
    frames = moving_face(face, width, _FRAME_NS)
    for _ in range(every):
        recognizer.process(next(frames))
    done, start = 0, clock()
    while done < 2 * every or clock() - start < seconds:
        recognizer.process(next(frames))
        done += 1
    return done / (clock() - start)


def measure_cost(
    method: Method, newcomer: Sequence[Path], clock: Callable[[], float] = time.perf_counter
) -> Cost:
    """What adding one person to 100 takes, and how the matcher grows with the gallery."""
    start = clock()
    method.extractor.extract({f"newcomer{i}": path for i, path in enumerate(newcomer)})
    pictures = clock() - start
    crowds = []
    for people in CROWDS:
        gallery = crowd(method.space, people)
        start = clock()
        matcher = method.enrol(gallery)
        made = clock() - start
        probe = Embeddings(gallery.vectors[:1], method.space)
        start = clock()
        for _ in range(20):
            matcher.scores(probe)
        crowds.append((people, made, (clock() - start) / 20))
    start = clock()
    method.enrol(crowd(method.space, 101))
    return Cost(pictures, clock() - start, tuple(crowds))


def crowd(space: EmbeddingSpace, people: int, seed: int = 0) -> GallerySnapshot:
    """Made-up people with five templates each, spread as faces are: about a common middle."""
    rng = np.random.default_rng(seed)
    middle = rng.normal(size=space.dim)
    centres = middle + rng.normal(size=(people, space.dim))
    vectors = np.repeat(centres, _EACH, axis=0)
    vectors = vectors + 0.3 * rng.normal(size=vectors.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return GallerySnapshot(
        space,
        np.asarray(vectors, np.float32),
        np.repeat(np.arange(people), _EACH),
        tuple(Person(str(i), f"person {i}") for i in range(people)),
    )
