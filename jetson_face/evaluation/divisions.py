"""Open-set identification over many random divisions of people with videos.

This is how the embedding is judged. In each division, by its own seed, people are shuffled and the
first 60 with two or more videos are enrolled from their first video, the mean of its frames' unit
vectors. Their other videos are genuine probes; every video of everybody else is an impostor's. A
probe is a single frame, the video's first with a face, or the mean of its frames; a video without a
face is a miss. The threshold is the 1 - FPIR quantile of the impostors' best similarities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import F32
from jetson_face.evaluation.metrics import F64
from jetson_face.evaluation.people import Shot

DIVISIONS, ENROLLED, FPIR = 40, 60, 0.01
KINDS = ("single", "video")


def over_divisions(
    people: Mapping[str, Sequence[Shot]],
    vectors: F32,
    rows: Mapping[str, int],
    *,
    divisions: int = DIVISIONS,
    enrolled: int = ENROLLED,
) -> dict[str, dict[str, float]]:
    """Mean and standard error over the divisions, per cent, of DIR at `FPIR` and of rank-1.

    vectors: (N, D), NaN without a face. rows: a shot's name to its row. Raises InputBrokenError
    if nobody has two videos, or nobody is left to be an impostor.
    """
    means = _means(people, vectors, rows)
    figures: dict[str, list[float]] = {}
    for seed in range(divisions):
        for kind, (direct, rank1) in _identified(means, seed, enrolled).items():
            figures.setdefault(f"{kind}: DIR at FPIR {FPIR:g}", []).append(direct)
            figures.setdefault(f"{kind}: rank-1", []).append(rank1)
    told = {name: mean_and_error(np.array(values)) for name, values in figures.items()}
    return {name: {"mean": mean, "standard_error": error} for name, (mean, error) in told.items()}


def one_division(
    people: Mapping[str, Sequence[Shot]],
    vectors: F32,
    rows: Mapping[str, int],
    seed: int,
    *,
    enrolled: int = ENROLLED,
    centre: F32 | None = None,
) -> dict[str, float]:
    """DIR at `FPIR` of the division of a seed, by kind of probe, a share of 1. centre: (dim,) taken
    from gallery and probes before they are compared. Raises as `over_divisions`."""
    found = _identified(_means(people, vectors, rows, centre), seed, enrolled)
    return {kind: found[kind][0] for kind in reversed(KINDS)}


def summary(figures: Mapping[str, Mapping[str, float]]) -> str:
    """A line a figure."""
    return "\n".join(
        f"{name}: {told['mean']:.1f} +- {told['standard_error']:.1f} %"
        for name, told in figures.items()
    )


def videos_of(
    people: Mapping[str, Sequence[Shot]], vectors: F32, rows: Mapping[str, int]
) -> dict[str, list[list[int]]]:
    """By person, in the order of names, for each video the rows of its frames that have a face."""
    out: dict[str, list[list[int]]] = {}
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


def _means(
    people: Mapping[str, Sequence[Shot]],
    vectors: F32,
    rows: Mapping[str, int],
    centre: F32 | None = None,
) -> dict[str, dict[str, list[F64]]]:
    """By kind and person, a vector (D,) a video, less the centre; zeros where it has no face."""
    videos = videos_of(people, vectors, rows)
    wide = vectors.astype(np.float64)

    def mean(frames: list[int], kind: str) -> F64:
        if not frames:
            return np.zeros(wide.shape[1])
        one = _unit(wide[frames[0]] if kind == "single" else _unit(wide[frames]).mean(axis=0))
        return one if centre is None else _unit(one - centre)

    return {
        kind: {who: [mean(frames, kind) for frames in own] for who, own in videos.items()}
        for kind in KINDS
    }


def _identified(
    means: Mapping[str, Mapping[str, list[F64]]], seed: int, enrolled: int
) -> dict[str, tuple[float, float]]:
    """DIR and rank-1 of the division of a seed, shares of 1, by kind of probe."""
    videos = means["video"]
    people = list(videos)
    order = [people[i] for i in np.random.default_rng(seed).permutation(len(people))]
    known = [person for person in order if len(videos[person]) > 1][:enrolled]
    others = sorted(set(people) - set(known), key=order.index)
    if not known or not others:
        raise InputBrokenError(
            f"{len(known)} people with two videos and {len(others)} others: divisions need both"
        )
    gallery = np.stack([videos[person][0] for person in known])
    return {kind: _asked(means[kind], known, others, gallery) for kind in KINDS}


def _asked(
    means: Mapping[str, list[F64]], known: Sequence[str], others: Sequence[str], gallery: F64
) -> tuple[float, float]:
    ground_truth = np.array([row for row, person in enumerate(known) for _ in means[person][1:]])
    genuine = np.stack([mean for person in known for mean in means[person][1:]]) @ gallery.T
    impostor = (np.stack([mean for person in others for mean in means[person]]) @ gallery.T).max(1)
    right = genuine.argmax(axis=1) == ground_truth
    above = genuine.max(axis=1) > np.quantile(impostor, 1 - FPIR)
    return float(np.mean(right & above)), float(np.mean(right))


def mean_and_error(shares: F64) -> tuple[float, float]:
    """The mean and its standard error, per cent."""
    return float(100 * shares.mean()), float(100 * shares.std() / len(shares) ** 0.5)
