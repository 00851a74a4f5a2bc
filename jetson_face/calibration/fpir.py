"""How often a stranger gets a name, and the threshold that keeps it as seldom as asked.

FPIR, the false-positive identification rate: the share of strangers' faces that get anybody's
name (P. Grother, M. Ngan, NIST IR 8009, 2014). It is a figure of the whole gallery: every person
more is one more whom a stranger may look like. Pure functions of scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jetson_face.core.errors import CalibrationError
from jetson_face.core.types import I64, BoolArray

F64: TypeAlias = NDArray[np.float64]
LEVEL = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What faces scored against a gallery.

    score: (N,) of the nearest person, -inf where the lead over the second is too small for a name.
    right: (N,) whether that person is the right one; False for strangers. person: (N,) numbers:
    faces of one number are of one person, and tell less than as many faces of several.
    """

    score: F64
    right: BoolArray
    person: I64

    def __len__(self) -> int:
        return len(self.score)

    @property
    def people(self) -> int:
        """How many people the faces are of."""
        return len(np.unique(self.person))

    def __add__(self, other: Scores) -> Scores:
        """Both; people of the one are not people of the other."""
        shift = int(self.person.max(initial=-1)) + 1
        return together([self, replace(other, person=other.person + shift)])


def together(parts: Sequence[Scores]) -> Scores:
    """All of them, none where there are none; equal numbers are the same person."""
    return Scores(
        np.concatenate([np.zeros(0), *(part.score for part in parts)]),
        np.concatenate([np.zeros(0, np.bool_), *(part.right for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.person for part in parts)]),
    )


@dataclass(frozen=True, slots=True)
class RateWithInterval:
    """A share of faces with its 95 % interval. hits of faces, of people."""

    share: float
    low: float
    high: float
    hits: int
    faces: int
    people: int


def faces_needed(fpir: float) -> tuple[int, int]:
    """The strangers' faces, and people, below which an FPIR cannot be shown.

    Faces: where none of 3/FPIR gets a name, the rate is below FPIR with 95 % certainty (the rule
    of three). People: with fewer than 1/FPIR nobody would be expected to be misidentified at all.
    """
    return math.ceil(3 / fpir - 1e-9), math.ceil(1 / fpir - 1e-9)


def threshold_for(strangers: Scores, fpir: float) -> float:
    """The lowest threshold at which a further stranger is named with probability `fpir` or less.

    With j of N faces at or above it, the next face is there with probability (j + 1) / (N + 1) or
    less whatever the distribution is, as long as it is exchangeable with these (V. Vovk et al.,
    Algorithmic Learning in a Random World, 2005, chapter 2): one less than j = FPIR * N.
    Raises CalibrationError where the faces are too few.
    """
    if not 0 < fpir < 1:
        raise ValueError(f"an FPIR is between 0 and 1, got {fpir}")
    if not _enough(strangers, fpir):
        faces, people = faces_needed(fpir)
        least = least_fpir(strangers)
        laxer = f", or ask for --fpir {least:g}" if _enough(strangers, least) else ""
        raise CalibrationError(
            f"too few strangers for FPIR {fpir:g}: {len(strangers)} faces of {strangers.people} "
            f"people, {faces} of {people} are needed: give pictures of people who are not "
            f"enrolled with --impostors FOLDER{laxer}"
        )
    falling = np.sort(strangers.score)[::-1]
    allowed = math.floor(fpir * (len(falling) + 1) + 1e-9) - 1
    first_out = float(falling[allowed])
    if not math.isfinite(first_out):
        # so few have the lead that a name needs: any threshold does
        finite = falling[np.isfinite(falling)]
        return float(np.nextafter(finite.min(), -np.inf)) if len(finite) else -1.0
    return float(np.nextafter(first_out, np.inf))


def _enough(strangers: Scores, fpir: float) -> bool:
    faces, people = faces_needed(fpir)
    return len(strangers) >= faces and strangers.people >= people


def least_fpir(strangers: Scores) -> float:
    """The strictest FPIR that so many faces can show, rounded up to two digits; at most 0.5."""
    if not len(strangers):
        return 0.5
    least = max(3 / len(strangers), 1 / strangers.people)
    scale = 10.0 ** (1 - math.floor(math.log10(least)))
    return min(0.5, math.ceil(least * scale - 1e-9) / scale)


def named(scores: Scores, threshold: float) -> RateWithInterval:
    """The share of faces that get anybody's name."""
    return _rate(scores, threshold, _design_effect(scores, threshold))


def correctly_identified(scores: Scores, threshold: float) -> RateWithInterval:
    """The share of faces that get the right name."""
    right = Scores(np.where(scores.right, scores.score, -np.inf), scores.right, scores.person)
    return _rate(right, threshold, _cluster_effect(right.score >= threshold, right.person))


def exact_interval(share: float, count: float, level: float = LEVEL) -> tuple[float, float]:
    """Interval of a binomial share, from `count` independent trials (may be a fraction).

    Source: C. Clopper, E. Pearson, Biometrika 26, 1934, by quantiles of the beta distribution.
    """
    if count <= 0:
        return 0.0, 1.0
    tail, hits = (1 - level) / 2, share * count
    low = 0.0 if hits <= 0 else _beta_quantile(tail, hits, count - hits + 1)
    high = 1.0 if hits >= count else _beta_quantile(1 - tail, hits + 1, count - hits)
    return low, high


def _rate(scores: Scores, threshold: float, effect: float) -> RateWithInterval:
    count = len(scores)
    hits = int((scores.score >= threshold).sum())
    share = hits / count if count else 0.0
    # E. Korn, B. Graubard, Survey Methodology 24, 1998: the exact interval of as many independent
    # faces as these, which come several of a person, are worth
    low, high = exact_interval(share, count / effect)
    return RateWithInterval(share, low, high, hits, count, scores.people)


def _design_effect(scores: Scores, threshold: float) -> float:
    """By how much people with several faces widen the spread of the share.

    A handful of named strangers says little of how they cluster; laxer thresholds say it with
    more of them, so the largest of several counts.
    """
    falling = np.sort(scores.score[np.isfinite(scores.score)])[::-1]
    laxer = [falling[int(share * len(falling))] for share in (0.02, 0.05, 0.1) if len(falling)]
    levels = [threshold, *(float(level) for level in laxer if level < threshold)]
    return max(_cluster_effect(scores.score >= level, scores.person) for level in levels)


def _cluster_effect(hit: BoolArray, person: I64) -> float:
    """Variance of a share over clusters, by that of independent faces; 1 or more.

    Source: L. Kish, Survey Sampling, 1965, 6.4 (ratio of two sums).
    """
    share = float(hit.mean()) if len(hit) else 0.0
    _, numbers = np.unique(person, return_inverse=True)
    faces = np.bincount(numbers)
    if len(faces) < 2 or share in (0.0, 1.0):
        return 1.0 if len(hit) == 0 else float((faces**2).sum() / faces.sum())
    off = np.bincount(numbers, hit) - share * faces
    variance = len(faces) / (len(faces) - 1) * float((off**2).sum()) / len(hit) ** 2
    return max(1.0, variance * len(hit) / (share * (1 - share)))


def _beta_quantile(probability: float, a: float, b: float) -> float:
    """By bisection: to 1e-9, for the price of 30 evaluations. scipy.stats.beta.ppf says the same,
    but a Jetson calibrates with the base install, which has no scipy (100 MB)."""
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        if _beta_share(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _beta_share(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function; source: DLMF 8.17.22, its continued fraction."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_share(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    return front * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """The fraction, from the front (W. Lentz, Applied Optics 15, 1976)."""
    tiny = 1e-300
    c, d = 1.0, 1 / _away(1 - (a + b) * x / (a + 1), tiny)
    value = d
    for m in range(1, 1000):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _away(1 + step * d, tiny)
            c = _away(1 + step / c, tiny)
            value *= c * d
        if abs(c * d - 1) < 1e-12:
            break
    return value


def _away(value: Any, tiny: float) -> float:
    return float(value) if abs(value) > tiny else tiny
