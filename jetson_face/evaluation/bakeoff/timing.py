"""What every method costs in time, measured in turns so that a busy moment meets all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from jetson_face.config import Config
from jetson_face.core.types import Embeddings, EmbeddingSpace, ImageU8, Person
from jetson_face.evaluation.bakeoff.frames import moving_face
from jetson_face.evaluation.method import Method, build_method
from jetson_face.factory.parts import Parts, build_matcher, build_parts, build_recognizer
from jetson_face.gallery.matcher import GallerySnapshot

SPEEDS = ((320, 5), (640, 5), (1280, 5), (640, 1), (640, 10))
"""Width of the frame, and one frame in how many is searched."""
CROWDS = (10, 100, 300)
_EACH = 5
_FRAME_NS = 40_000_000

Clock = Callable[[], float]


def measure_round(
    configs: Mapping[str, Config],
    newcomer: Sequence[Path],
    moving: ImageU8,
    *,
    clock: Clock = time.perf_counter,
    progress: Callable[[str], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """One turn of every method: `fps` for each of SPEEDS, and `cost`, by method."""
    out: dict[str, dict[str, Any]] = {}
    for name, config in configs.items():
        if progress is not None:
            progress(name)
        with closing(build_parts(config)) as parts:
            fps = [measure_speed(config, parts, moving, w, n, clock) for w, n in SPEEDS]
        cost = measure_cost(build_method(config), newcomer, clock)
        out[name] = {"fps": fps, "cost": cost}
    return out


def medians(rounds: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """What the rows take over: medians over the rounds; fps_low and fps_high are the extremes."""
    return {name: _medians([turn[name] for turn in rounds]) for name in rounds[0]}


def _medians(turns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    costs = [turn["cost"] for turn in turns]
    cells = zip(SPEEDS, zip(*(turn["fps"] for turn in turns), strict=True), strict=True)
    return {
        "rounds": len(turns),
        "speed": [
            {"width": w, "every": n, "fps": median(v), "fps_low": min(v), "fps_high": max(v)}
            for (w, n), v in cells
        ],
        "add_person_seconds": {
            "pictures": median(cost["seconds_pictures"] for cost in costs),
            "train": median(cost["seconds_train"] for cost in costs),
        },
        "scaling": [
            {
                "people": people,
                "train_seconds": median(cost["crowds"][at][1] for cost in costs),
                "query_seconds": median(cost["crowds"][at][2] for cost in costs),
            }
            for at, people in enumerate(CROWDS)
        ],
    }


def measure_speed(
    config: Config,
    parts: Parts,
    face: ImageU8,
    width: int,
    every: int,
    clock: Clock = time.perf_counter,
    *,
    seconds: float = 0.4,
) -> float:
    """Frames a second through the whole recogniser, one walking face in view, 20 people enrolled.

    At least two searches and `seconds`, the first round left out.
    """
    sampling = config.sampling.model_copy(update={"interval": every})
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
    method: Method, newcomer: Sequence[Path], clock: Clock = time.perf_counter
) -> dict[str, Any]:
    """What adding one person to 100 takes, and how the matcher grows with the gallery.

    seconds_pictures: find and embed the newcomer's pictures. seconds_train: make the matcher of
    100 people and the newcomer. crowds: people, seconds to make the matcher, seconds a query.
    """
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
    return {"seconds_pictures": pictures, "seconds_train": clock() - start, "crowds": crowds}


def crowd(space: EmbeddingSpace, people: int) -> GallerySnapshot:
    """Made-up people with five templates each, spread as faces are: about a common middle."""
    rng = np.random.default_rng(0)
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
