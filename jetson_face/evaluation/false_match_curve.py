"""How alike different people are to a network: its impostor curve, and a threshold from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jetson_face.core.errors import CalibrationError
from jetson_face.core.types import F32, I64
from jetson_face.evaluation.pairs import PairList, person_of
from jetson_face.models.cards import FalseMatchCurve

FMR = 1e-3
"""The false match rate at a card's `similarity_min`: of a thousand pairs of strangers one."""
RATES = (1e-1, 3e-2, 1e-2, 3e-3, FMR, 3e-4, 1e-4, 3e-5, 1e-5)
SEEN = 10
"""Pairs that must reach a similarity for its rate to be told."""
_STEPS = 4000
_ROWS = 512


def people_of(pairs: PairList, pictures: Sequence[str]) -> I64:
    """(N,) numbers: whose each picture is. One person's are those of one folder, and those that
    pairs say are equal."""
    leader = {name: f"folder {person_of(name)}" for name in pictures}
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while name in parent:
            name = parent[name]
        return name

    for pair in pairs.pairs:
        if pair.same and pair.a in leader and pair.b in leader:
            a, b = root(leader[pair.a]), root(leader[pair.b])
            if a != b:
                parent[a] = b
    names = [root(leader[name]) for name in pictures]
    known = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([known[name] for name in names], np.int64)


def false_match_curve(vectors: F32, person: I64) -> FalseMatchCurve:
    """Every picture against every picture of somebody else.

    vectors: (N, dim) unit vectors. person: (N,) whose they are.
    Raises CalibrationError where there are too few pairs for a rate of `FMR`.
    """
    edges = np.linspace(-1, 1, _STEPS + 1)
    counts = np.zeros(_STEPS, np.int64)
    for first in range(0, len(vectors), _ROWS):
        rows = slice(first, first + _ROWS)
        later = np.arange(len(vectors))[None] > np.arange(len(vectors))[rows, None]
        other = later & (person[None] != person[rows, None])
        scores = np.clip((vectors[rows] @ vectors.T)[other], -1, 1)
        counts += np.histogram(scores, edges)[0]
    pairs, people = int(counts.sum()), len(np.unique(person))
    if pairs * FMR < SEEN:
        raise CalibrationError(
            f"{pairs} pairs of different people: a false match rate of {FMR:.1%} needs "
            f"{round(SEEN / FMR)}: list more people's pictures, or give --similarity-min"
        )
    reached = np.append(counts[::-1].cumsum()[::-1], 0)  # at or above each edge
    points: dict[float, float] = {}
    for rate in RATES:
        if pairs * rate >= SEEN:
            at = int(np.argmax(reached <= pairs * rate))
            points[round(float(edges[at]), 4)] = float(f"{reached[at] / pairs:.3g}")
    return FalseMatchCurve(pairs=pairs, people=people, curve=tuple(sorted(points.items())))


def threshold_at(curve: FalseMatchCurve) -> float:
    """The lowest similarity of the curve that at most `FMR` of different people reach."""
    return next(similarity for similarity, share in curve.curve if share <= FMR)
