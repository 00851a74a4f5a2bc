"""Open-set identification over many random divisions of people with videos.

This is how the embedding is judged. In each division, by its own seed, people are shuffled and the
first 60 with two or more videos are enrolled from their first video, the mean of its frames' unit
vectors. Their other videos are genuine probes; every video of everybody else is an impostor's. A
probe is a single frame, the video's first with a face, or the mean of its frames; a video without a
face is a miss. The threshold is the 1 - FPIR quantile of the impostors' best similarities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import F32
from jetson_face.evaluation.metrics import F64
from jetson_face.evaluation.people import Shot

Videos: TypeAlias = "dict[str, list[list[int]]]"
"""By person, for each video the rows of its frames that have a face."""

DIVISIONS, ENROLLED, FPIR = 40, 60, 0.01
KINDS = ("single", "video")


def over_divisions(
    people: Mapping[str, Sequence[Shot]],
    vectors: F32,
    rows: Mapping[str, int],
    *,
    divisions: int = DIVISIONS,
    enrolled: int = ENROLLED,
    fpir: float = FPIR,
) -> dict[str, dict[str, float]]:
    """Mean and standard error over the divisions, per cent, of DIR at `fpir` and of rank-1.

    vectors: (N, D), NaN without a face. rows: a shot's name to its row. Raises InputBrokenError
    if nobody has two videos, or nobody is left to be an impostor.
    """
    videos = _videos(people, vectors, rows)
    means = {kind: _vectors_by_person(videos, vectors, kind) for kind in KINDS}
    figures: dict[str, list[float]] = {}
    for seed in range(divisions):
        known, others = _divided(videos, seed, enrolled)
        gallery = np.stack([means["video"][person][0] for person in known])
        for kind in KINDS:
            direct, rank1 = _asked(means[kind], known, others, gallery, fpir)
            figures.setdefault(f"{kind}: DIR at FPIR {fpir:g}", []).append(direct)
            figures.setdefault(f"{kind}: rank-1", []).append(rank1)
    return {name: _told(values) for name, values in figures.items()}


def one_division(
    people: Mapping[str, Sequence[Shot]],
    vectors: F32,
    rows: Mapping[str, int],
    seed: int,
    *,
    enrolled: int = ENROLLED,
    fpir: float = FPIR,
    centre: F32 | None = None,
) -> dict[str, float]:
    """DIR at `fpir` of the division of a seed, by kind of probe, a share of 1. centre: (dim,) taken
    from gallery and probes before they are compared. Raises as `over_divisions`."""
    videos = _videos(people, vectors, rows)
    known, others = _divided(videos, seed, enrolled)
    found: dict[str, float] = {}
    gallery = np.empty(0)
    for kind in reversed(KINDS):
        means = _vectors_by_person(videos, vectors, kind)
        if centre is not None:
            means = {who: [_less(one, centre) for one in own] for who, own in means.items()}
        if kind == "video":
            gallery = np.stack([means[person][0] for person in known])
        found[kind], _ = _asked(means, known, others, gallery, fpir)
    return found


def summary(figures: Mapping[str, Mapping[str, float]]) -> str:
    """A line a figure."""
    return "\n".join(
        f"{name}: {told['mean']:.1f} +- {told['standard_error']:.1f} %"
        for name, told in figures.items()
    )


def as_json(figures: Mapping[str, Mapping[str, float]], divisions: int) -> dict[str, Any]:
    """The figures under the names that they are printed with."""
    return {"divisions": divisions, **figures}


def _videos(people: Mapping[str, Sequence[Shot]], vectors: F32, rows: Mapping[str, int]) -> Videos:
    out: Videos = {}
    for person in sorted(people):
        sessions: dict[str, list[int]] = {}
        for shot in people[person]:
            frames = sessions.setdefault(shot.session, [])
            row = rows[shot.name]
            if np.isfinite(vectors[row]).all():
                frames.append(row)
        out[person] = list(sessions.values())
    return out


def _unit(vectors: F64) -> F64:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float64)


def _less(vector: F64, centre: F32) -> F64:
    """Zeros, for a video without a face, stay so."""
    return _unit(vector - centre) if vector.any() else vector


def _vectors_by_person(videos: Videos, vectors: F32, kind: str) -> dict[str, list[F64]]:
    """A vector (D,) a video; zeros where it has no face."""
    wide = vectors.astype(np.float64)

    def mean(frames: list[int]) -> F64:
        if not frames:
            return np.zeros(wide.shape[1])
        if kind == "single":
            return _unit(wide[frames[0]])
        return _unit(_unit(wide[frames]).mean(axis=0))

    return {person: [mean(frames) for frames in own] for person, own in videos.items()}


def _divided(videos: Videos, seed: int, enrolled: int) -> tuple[list[str], list[str]]:
    people = list(videos)
    order = [people[i] for i in np.random.default_rng(seed).permutation(len(people))]
    known = [person for person in order if len(videos[person]) > 1][:enrolled]
    others = sorted(set(people) - set(known), key=order.index)
    if not known or not others:
        raise InputBrokenError(
            f"{len(known)} people with two videos and {len(others)} others: divisions need both"
        )
    return known, others


def _asked(
    means: Mapping[str, list[F64]],
    known: Sequence[str],
    others: Sequence[str],
    gallery: F64,
    fpir: float,
) -> tuple[float, float]:
    """DIR and rank-1 of one division, shares of 1."""
    ground_truth = np.array([row for row, person in enumerate(known) for _ in means[person][1:]])
    genuine = np.stack([mean for person in known for mean in means[person][1:]]) @ gallery.T
    impostor = (np.stack([mean for person in others for mean in means[person]]) @ gallery.T).max(1)
    right = genuine.argmax(axis=1) == ground_truth
    above = genuine.max(axis=1) > np.quantile(impostor, 1 - fpir)
    return float(np.mean(right & above)), float(np.mean(right))


def _told(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": float(100 * np.mean(values)),
        "standard_error": float(100 * np.std(values) / len(values) ** 0.5),
    }
