"""Verification: are two pictures of one person? The protocol of LFW and its kin, and its report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from jetson_face.core.types import F32, I64, BoolArray
from jetson_face.evaluation import metrics as m
from jetson_face.evaluation.bootstrap import (
    Interval,
    Statistic,
    draw_people,
    intervals_of,
    mean_of,
)
from jetson_face.evaluation.extract import ExtractedFaces
from jetson_face.evaluation.pairs import PairList, person_of

FARS = (1e-2, 1e-3)
_BINS = 50

PairScorer: TypeAlias = Callable[[F32, F32], m.F64]
"""(N, dim) and (N, dim) to (N,) scores, higher is more alike; NaN rows give NaN."""

RULES = (
    "A pair with an undetected face is wrong in accuracy and F1, whatever the threshold.",
    "In ROC, AUC, EER and TAR@FAR an equal pair with an undetected face is rejected at every "
    "threshold; a different pair with one leaves the negatives, so that faces which are not found "
    "do not lower FAR. `worst_case` counts it as a false accept at every threshold.",
    "Each fold is decided at the threshold of highest accuracy on the other folds; accuracy is the "
    "mean over folds, std the sample standard deviation over folds.",
    "EER lies on the straight line between the two neighbouring operating points.",
    "TAR@FAR is the highest measured TAR whose measured FAR is not above the target; nothing is "
    "interpolated, and a FAR finer than one negative pair is refused (null).",
    "Intervals: percentile bootstrap over people; a pair counts as often as its people are drawn.",
    "A pair that is listed twice, in either order, and a picture with itself are left out.",
)


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """What one measure of likeness reaches. scores: (N,), higher is more alike, NaN for none.

    threshold: highest accuracy on all pairs; what a user of this network would set. tar: by FAR,
    None where the negatives are too few.
    """

    scores: m.F64
    folds: m.FoldTable
    threshold: float
    auc: float
    eer: m.OperatingPoint
    tar: Mapping[float, m.OperatingPoint | None]
    worst_case: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Verification:
    """The whole result; `as_json` has the documented keys.

    cosine: also holds the scores of a method's own pair scorer, where it has one. intervals: by
    figure, of `cosine`.
    """

    pairs: PairList
    same: BoolArray
    faces: ExtractedFaces
    cosine: Figures
    l2: Figures
    intervals: Mapping[str, Interval | None]
    method: Mapping[str, object]

    def as_json(self) -> dict[str, Any]:
        """Every figure under its key; `accuracy`, `auc`, `eer`, ... are those of cosine."""
        scored = ~np.isnan(self.cosine.scores)
        people = {person_of(name) for name in self.pairs.pictures}
        return {
            "kind": "verification",
            **_figures_json(self.cosine),
            "intervals": dict(self.intervals),
            "level": 0.95,
            "similarity_min": self.cosine.threshold,
            "pairs": len(self.same),
            "equal_pairs": int(self.same.sum()),
            "different_pairs": int((~self.same).sum()),
            "undetected_pairs": int((~scored).sum()),
            "duplicates_left_out": self.pairs.duplicates,
            "self_pairs_left_out": self.pairs.self_pairs,
            "folds_given": self.pairs.folds_given,
            "people": len(people),
            **self.faces.facts(),
            "folds": folds_json(self.cosine),
            "worst_case": dict(self.cosine.worst_case),
            "cosine": {**_figures_json(self.cosine), "similarity_min": self.cosine.threshold},
            "l2": {**_figures_json(self.l2), "distance_max": -self.l2.threshold},
            "distributions": self.distributions(),
            "method": dict(self.method),
            "rules": list(RULES),
        }

    def distributions(self) -> dict[str, Any]:
        """Counts of cosines and L2 distances of equal and different pairs, in common bins."""
        out: dict[str, Any] = {}
        for name, values, low, high in (
            ("cosine", self.cosine.scores, -1.0, 1.0),
            ("l2", -self.l2.scores, 0.0, 2.0),
        ):
            edges = [float(edge) for edge in np.linspace(low, high, _BINS + 1)]
            equal, other = values[self.same], values[~self.same]
            out[name] = {
                "edges": edges,
                "equal": m.distribution(equal, edges),
                "different": m.distribution(other, edges),
                **_moments("equal", equal),
                **_moments("different", other),
            }
        return out


def cosine_scores(a: F32, b: F32) -> m.F64:
    """Cosine of unit vectors, row by row, in [-1, 1]; NaN where a face is missing."""
    return np.asarray(np.einsum("nd,nd->n", a.astype(np.float64), b), np.float64)


def l2_scores(a: F32, b: F32) -> m.F64:
    """Minus the Euclidean distance, row by row. Of unit vectors it is -sqrt(2 - 2 cosine)."""
    return np.asarray(-np.linalg.norm(a.astype(np.float64) - b, axis=1), np.float64)


def verify(
    pairs: PairList,
    faces: ExtractedFaces,
    *,
    rng: np.random.Generator,
    method: Mapping[str, object] | None = None,
    scorer: PairScorer = cosine_scores,
    resamples: int = 500,
    fold_count: int = 10,
) -> Verification:
    """Measure a method's faces on a list of pairs.

    faces: a row for every picture of the list. scorer: the method's likeness of two faces.
    resamples: 0 leaves the intervals out. fold_count: where the list gives no folds.
    Raises ValueError where there is nothing to compare, or there are too few pairs for the folds.
    """
    same, folds = pairs.same, pairs.folds(fold_count)
    a = faces.vectors[faces.rows([pair.a for pair in pairs.pairs])]
    b = faces.vectors[faces.rows([pair.b for pair in pairs.pairs])]
    cosine = measure(scorer(a, b), same, folds)
    people = draw_people(
        [person_of(pair.a) for pair in pairs.pairs], [person_of(pair.b) for pair in pairs.pairs]
    )
    intervals = intervals_of(_statistics(cosine, same), people, rng, resamples)
    l2 = measure(l2_scores(a, b), same, folds)
    return Verification(pairs, same, faces, cosine, l2, intervals, dict(method or {}))


def measure(scores: m.F64, same: BoolArray, folds: I64) -> Figures:
    """All figures of one column of scores. Raises ValueError as `metrics.kfold` and `roc`."""
    curve = m.roc(scores, same)
    worst = m.roc(m.worst_case(scores, same), same)
    return Figures(
        scores,
        m.kfold(scores, same, folds),
        m.best_threshold(scores, same),
        m.auc(curve),
        m.eer(curve),
        {far: m.or_none(m.tar_at_far, curve, far) for far in FARS},
        {
            "auc": m.auc(worst),
            "eer": m.eer(worst).far,
            "tar_at_far": {f"{far:g}": rate(m.or_none(m.tar_at_far, worst, far)) for far in FARS},
        },
    )


def _moments(name: str, values: m.F64) -> dict[str, float | None]:
    """Mean and deviation of the scores that there are; None for none."""
    there = values[~np.isnan(values)]
    some = len(there) > 0
    return {
        f"{name}_mean": float(there.mean()) if some else None,
        f"{name}_std": float(there.std()) if some else None,
    }


def rate(point: m.OperatingPoint | None) -> float | None:
    """TAR of a point; None stays None."""
    return None if point is None else point.tar


def _statistics(figures: Figures, same: BoolArray) -> dict[str, Statistic]:
    scores = figures.scores
    statistics: dict[str, Statistic] = {
        "accuracy": mean_of(figures.folds.correct),
        "auc": lambda rows: m.auc(m.roc(scores[rows], same[rows])),
        "eer": lambda rows: m.eer(m.roc(scores[rows], same[rows])).far,
        "similarity_min": lambda rows: m.best_threshold(scores[rows], same[rows]),
    }
    for far, point in figures.tar.items():
        if point is not None:
            statistics[f"tar_at_far_{far:g}"] = partial(_tar_of_drawn, scores, same, far)
    return statistics


def _tar_of_drawn(scores: m.F64, same: BoolArray, far: float, rows: I64) -> float:
    return m.tar_at_far(m.roc(scores[rows], same[rows]), far).tar


def _figures_json(figures: Figures) -> dict[str, Any]:
    return {
        "accuracy": figures.folds.accuracy,
        "std": figures.folds.std,
        "f1": figures.folds.f1,
        "auc": figures.auc,
        "eer": figures.eer.far,
        "eer_threshold": figures.eer.threshold,
        "tar_at_far": {f"{far:g}": rate(point) for far, point in figures.tar.items()},
        "threshold_at_far": {
            f"{far:g}": None if point is None else point.threshold
            for far, point in figures.tar.items()
        },
    }


def folds_json(figures: Figures) -> list[dict[str, Any]]:
    """The fold table, a dict a fold."""
    return [
        {
            "fold": row.fold,
            "threshold": row.threshold,
            "accuracy": row.confusion.accuracy,
            "f1": row.confusion.f1,
            "pairs": row.confusion.total,
            "true_accepts": row.confusion.tp,
            "false_accepts": row.confusion.fp,
            "false_rejects": row.confusion.fn,
            "true_rejects": row.confusion.tn,
            "undetected_pairs": row.confusion.missing,
        }
        for row in figures.folds.folds
    ]
