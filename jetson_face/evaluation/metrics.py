"""Figures of merit for scored pairs: thresholds, folds, ROC, EER, TAR at FAR. Pure functions.

A score is higher for more alike; a pair is accepted at `score >= threshold`. A score of NaN stands
for a pair that could not be compared because a face was not found. Such a pair must never make a
figure better than the pictures deserve:

- it is wrong in every accuracy, F1 and confusion count, whatever the threshold;
- in ROC, AUC, EER and TAR@FAR an equal pair without a score is rejected at every threshold, and a
  different pair without a score leaves the set of negatives, so that faces which are not found do
  not lower the false-accept rate (ISO/IEC 19795-1's generalised FAR would let them). `worst_case`
  gives the scores under which such a pair is a false accept at every threshold instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ParamSpec, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from jetson_face.core.types import I64, BoolArray

F64: TypeAlias = NDArray[np.float64]
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Confusion:
    """Counts at one threshold. missing: pairs without a score, counted as errors.

    A missing equal pair is a false negative, a missing different pair a false positive.
    """

    tp: int
    fp: int
    fn: int
    tn: int
    missing: int = 0

    @property
    def total(self) -> int:
        """Pairs counted."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def accuracy(self) -> float:
        """Share of pairs decided correctly, in [0, 1]."""
        return (self.tp + self.tn) / self.total

    @property
    def precision(self) -> float:
        """Share of the accepted pairs that are equal; 0 where none is accepted."""
        return self.tp / max(self.tp + self.fp, 1)

    @property
    def recall(self) -> float:
        """Share of the equal pairs that are accepted; 0 where there are none."""
        return self.tp / max(self.tp + self.fn, 1)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where nothing is equal or accepted."""
        return 2 * self.tp / max(2 * self.tp + self.fp + self.fn, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """Accuracy and F1 at every threshold that decides differently. All (M,), thresholds rising."""

    thresholds: F64
    accuracy: F64
    f1: F64


@dataclass(frozen=True, slots=True, eq=False)
class Roc:
    """Operating points from "accept nothing" to "accept everything scored", (M,) each.

    thresholds fall from +inf; at `thresholds[i]` and above, far[i] of the negatives and tar[i] of
    the positives are accepted. The last tar is below 1 where equal pairs have no score.
    """

    far: F64
    tar: F64
    thresholds: F64
    negatives: int
    positives: int


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One point of a ROC. threshold: score, higher is more alike."""

    threshold: float
    far: float
    tar: float


@dataclass(frozen=True, slots=True)
class FoldResult:
    """One held-out fold, decided at the threshold that was best on the other folds."""

    fold: int
    threshold: float
    confusion: Confusion


@dataclass(frozen=True, slots=True, eq=False)
class FoldTable:
    """All folds. accuracy: mean over folds; std: sample standard deviation over folds (n - 1).

    correct: (N,) bool, each pair decided in its held-out fold.
    Source: Huang et al., Labeled Faces in the Wild, UMass TR 07-49, 2007, section on View 2.
    """

    folds: tuple[FoldResult, ...]
    accuracy: float
    std: float
    f1: float
    correct: BoolArray


def check_scores(scores: ArrayLike, same: ArrayLike) -> tuple[F64, BoolArray]:
    """The two columns as arrays of one length.

    Raises ValueError if lengths differ, or if nothing is left to compare.
    """
    s = np.asarray(scores, np.float64)
    y = np.asarray(same, bool)
    if s.ndim != 1 or s.shape != y.shape:
        raise ValueError(f"scores and labels must be two columns, got {s.shape} and {y.shape}")
    if not np.isfinite(s).any():
        raise ValueError("no pair has a score: no face was found in any picture of a pair")
    return s, y


def confusion_at(scores: ArrayLike, same: ArrayLike, threshold: float) -> Confusion:
    """Counts at `threshold`; pairs without a score are errors. Raises ValueError on odd shapes."""
    s, y = np.asarray(scores, np.float64), np.asarray(same, bool)
    if s.ndim != 1 or s.shape != y.shape or len(s) == 0:
        raise ValueError(f"scores and labels must be two columns, got {s.shape} and {y.shape}")
    missing = np.isnan(s)
    accept = (s >= threshold) | (missing & ~y)
    tp, fp = int((accept & y).sum()), int((accept & ~y).sum())
    return Confusion(tp, fp, int(y.sum()) - tp, int((~y).sum()) - fp, int(missing.sum()))


def sweep(scores: ArrayLike, same: ArrayLike) -> Sweep:
    """Accuracy and F1 at every threshold between two neighbouring scores, and beyond both ends.

    Raises ValueError as `check_scores`.
    """
    s, y = check_scores(scores, same)
    scored = ~np.isnan(s)
    values = np.unique(s[scored])
    rank = np.searchsorted(values, s[scored])
    equal = np.bincount(rank, weights=y[scored], minlength=len(values))
    other = np.bincount(rank, weights=~y[scored], minlength=len(values))
    # row i accepts the values[i:]; the last row accepts nothing
    tp = np.append(np.cumsum(equal[::-1])[::-1], 0.0)
    fp = np.append(np.cumsum(other[::-1])[::-1], 0.0)
    lost = float((~scored & ~y).sum())
    positives, negatives = float(y.sum()), float((~y).sum())
    accuracy = (tp + negatives - lost - fp) / len(y)
    f1 = 2 * tp / np.maximum(tp + fp + lost + positives, 1.0)
    return Sweep(_between(values), accuracy, f1)


def _between(values: F64) -> F64:
    """(M + 1,) thresholds: the lowest value, midpoints, and the next float above the highest."""
    middle = (values[:-1] + values[1:]) / 2
    # two neighbouring floats have no midpoint between them
    middle = np.where(middle > values[:-1], middle, values[1:])
    return np.concatenate((values[:1], middle, [np.nextafter(values[-1], np.inf)]))


def best_threshold(scores: ArrayLike, same: ArrayLike) -> float:
    """The threshold of highest accuracy; of several, the middle of the widest run of them.

    The middle of a run is farther from both kinds of error than its edge, where the next unseen
    pair falls. Raises ValueError as `check_scores`.
    """
    curve = sweep(scores, same)
    best = curve.accuracy >= curve.accuracy.max() - 1e-12
    edges = np.flatnonzero(np.diff(np.concatenate(([False], best, [False])).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2] - 1
    widest = int(np.argmax(curve.thresholds[ends] - curve.thresholds[starts]))
    return float((curve.thresholds[starts[widest]] + curve.thresholds[ends[widest]]) / 2)


def assign_folds(same: ArrayLike, folds: int = 10) -> I64:
    """Fold numbers 1..folds for pairs that carry none: runs of each kind in the order given.

    Keeps neighbours, who are often the same people, in one fold. Raises ValueError if either kind
    has fewer pairs than there are folds.
    """
    y = np.asarray(same, bool)
    out = np.zeros(len(y), np.int64)
    for kind in (True, False):
        rows = np.flatnonzero(y == kind)
        if folds < 2 or len(rows) < folds:
            raise ValueError(
                f"{folds} folds need at least 2 folds and {folds} pairs of each kind, "
                f"got {len(rows)} {'equal' if kind else 'different'} pairs"
            )
        out[rows] = np.arange(len(rows)) * folds // len(rows) + 1
    return out


def kfold(scores: ArrayLike, same: ArrayLike, folds: ArrayLike) -> FoldTable:
    """Accuracy where each fold is decided at the threshold that the other folds chose.

    Raises ValueError if there are fewer than two folds, or the other folds hold no score.
    """
    s, y = check_scores(scores, same)
    number = np.asarray(folds, np.int64)
    names = np.unique(number)
    if number.shape != y.shape or len(names) < 2:
        raise ValueError(f"k-fold needs a fold number a pair and 2 folds, got {len(names)} folds")
    rows: list[FoldResult] = []
    correct = np.zeros(len(y), bool)
    for name in names:
        held = number == name
        threshold = best_threshold(s[~held], y[~held])
        rows.append(FoldResult(int(name), threshold, confusion_at(s[held], y[held], threshold)))
        correct[held] = ~np.isnan(s[held]) & ((s[held] >= threshold) == y[held])
    accuracies = np.array([row.confusion.accuracy for row in rows])
    f1 = float(np.mean([row.confusion.f1 for row in rows]))
    return FoldTable(
        tuple(rows), float(accuracies.mean()), float(accuracies.std(ddof=1)), f1, correct
    )


def worst_case(scores: ArrayLike, same: ArrayLike) -> F64:
    """The scores with every different pair that has none accepted at every threshold (+inf)."""
    s, y = check_scores(scores, same)
    return np.where(np.isnan(s) & ~y, np.inf, s)


def roc(scores: ArrayLike, same: ArrayLike) -> Roc:
    """Every operating point, without leaving collinear ones out.

    Raises ValueError if there is no equal pair or no different pair with a score.
    """
    s, y = check_scores(scores, same)
    positives = int(y.sum())
    kept = ~np.isnan(s)
    s, y = s[kept], y[kept]
    negatives = int((~y).sum())
    if positives == 0 or negatives == 0:
        raise ValueError(f"a ROC needs both kinds: {positives} equal, {negatives} different pairs")
    order = np.argsort(-s, kind="stable")
    s, y = s[order], y[order]
    last = np.append(np.flatnonzero(s[1:] != s[:-1]), len(s) - 1)
    tar = np.concatenate(([0.0], np.cumsum(y)[last] / positives))
    far = np.concatenate(([0.0], np.cumsum(~y)[last] / negatives))
    return Roc(far, tar, np.concatenate(([np.inf], s[last])), negatives, positives)


def auc(curve: Roc) -> float:
    """Area under the ROC by trapezoids: the chance that an equal pair scores above a different one.

    Ties count a half (Mann-Whitney); equal pairs without a score count as below everything.
    """
    return float(np.sum(np.diff(curve.far) * (curve.tar[1:] + curve.tar[:-1])) / 2)


def eer(curve: Roc) -> OperatingPoint:
    """Where false accepts and false rejects are equally frequent, on straight lines between points.

    The rate is `far` of the returned point; its `tar` is 1 - far.
    """
    far, tar, thresholds = curve.far, curve.tar, curve.thresholds
    gap = far - (1.0 - tar)
    right = int(np.argmax(gap >= 0))
    left = right - 1
    share = -gap[left] / (gap[right] - gap[left])
    rate = far[left] + share * (far[right] - far[left])
    low, high = thresholds[right], thresholds[left]
    threshold = low if not np.isfinite(high) else high + share * (low - high)
    return OperatingPoint(float(threshold), float(rate), float(1.0 - rate))


def tar_at_far(curve: Roc, far_max: float) -> OperatingPoint:
    """The highest measured TAR whose measured FAR is at most `far_max`; nothing is interpolated.

    Raises ValueError if `far_max` is finer than one negative pair can show (1 / negatives): the
    figure would rest on no evidence.
    """
    refuse_finer(far_max, curve.negatives, "FAR", "different pairs")
    at = int(np.flatnonzero(curve.far <= far_max)[-1])
    threshold = curve.thresholds[at]
    if not np.isfinite(threshold):
        threshold = np.nextafter(curve.thresholds[1], np.inf)
    return OperatingPoint(float(threshold), float(curve.far[at]), float(curve.tar[at]))


def refuse_finer(rate: float, trials: int, what: str, of: str) -> None:
    """Refuse an error rate that `trials` cannot show.

    Raises ValueError if rate is outside (0, 1] or below 1 / trials.
    """
    if not 0 < rate <= 1:
        raise ValueError(f"{what} is a share in (0, 1], got {rate:g}")
    if rate * trials < 1 - 1e-9:
        raise ValueError(
            f"{what} {rate:g} needs at least {int(np.ceil(1 / rate - 1e-9))} {of}, got {trials}"
        )


def or_none(figure: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """The figure, or None where it raises ValueError: too little is there to show it."""
    try:
        return figure(*args, **kwargs)
    except ValueError:
        return None


def distribution(scores: ArrayLike, edges: Sequence[float]) -> list[int]:
    """Counts of the finite scores in bins; those beyond the ends fall into the end bins."""
    s = np.asarray(scores, np.float64)
    s = np.clip(s[np.isfinite(s)], edges[0], edges[-1])
    return [int(n) for n in np.histogram(s, np.asarray(edges, np.float64))[0]]
