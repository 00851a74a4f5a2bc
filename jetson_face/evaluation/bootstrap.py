"""Bootstrap intervals: resample pairs, or the people behind them, and look at the spread.

Pairs that share a person are not independent, so resampling pairs gives intervals that are too
narrow; resampling people (every person drawn with replacement, a pair counted as often as the
product of its people's draws) does not. Source: Bolle, Ratha and Pankanti, "Error analysis of
pattern recognition systems: the subsets bootstrap", CVIU 93, 2004.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from jetson_face.core.types import I64, BoolArray
from jetson_face.evaluation.metrics import F64, or_none

Draw: TypeAlias = Callable[[np.random.Generator], I64]
"""Row indices of one resample."""
Statistic: TypeAlias = Callable[[I64], float]
"""A figure of the rows that are drawn."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A percentile interval. level: share of resamples inside, such as 0.95.

    resamples: how many gave a value; a resample that lost all pairs of one kind gives none.
    """

    low: float
    high: float
    level: float
    resamples: int


def draw_rows(count: int) -> Draw:
    """Resample `count` rows with replacement."""

    def draw(rng: np.random.Generator) -> I64:
        return rng.integers(0, count, count)

    return draw


def draw_people(first: Sequence[str], second: Sequence[str]) -> Draw:
    """Resample the people of pairs; first[i] and second[i] are the two people of pair i."""
    _, ids = np.unique(np.array([*first, *second]), return_inverse=True)
    count = int(ids.max()) + 1
    a, b = ids[: len(first)], ids[len(first) :]
    one_person = a == b

    def draw(rng: np.random.Generator) -> I64:
        times = np.bincount(rng.integers(0, count, count), minlength=count)
        weight = np.where(one_person, times[a], times[a] * times[b])
        return np.repeat(np.arange(len(a)), weight)

    return draw


def draw_groups(groups: Sequence[str]) -> Draw:
    """Resample whole groups of rows, such as all probes of one person."""
    return draw_people(groups, groups)


def mean_of(values: F64 | BoolArray) -> Statistic:
    """The mean of the values that are drawn; ValueError where none is."""

    def mean(rows: I64) -> float:
        if len(rows) == 0:
            raise ValueError("nothing drawn")
        return float(values[rows].mean())

    return mean


def intervals_of(
    statistics: Mapping[str, Statistic], draw: Draw, rng: np.random.Generator, resamples: int
) -> dict[str, Interval | None]:
    """`bootstrap` of each by name, None where it refuses; empty for no resamples."""
    if resamples == 0:
        return {}
    return {
        name: or_none(bootstrap, statistic, draw, rng, resamples=resamples)
        for name, statistic in statistics.items()
    }


def bootstrap(
    statistic: Statistic,
    draw: Draw,
    rng: np.random.Generator,
    *,
    resamples: int = 500,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of `statistic`, which gets the row indices of one resample.

    A statistic that raises ValueError (too few pairs of a kind in this resample) is left out of
    the interval and shows in `Interval.resamples`.

    Raises ValueError if fewer than half of the resamples give a value.
    """
    values: list[float] = []
    for _ in range(resamples):
        try:
            values.append(statistic(draw(rng)))
        except ValueError:
            continue
    if len(values) * 2 < resamples or not values:
        raise ValueError(
            f"too few pairs for an interval: {len(values)} of {resamples} resamples gave a value"
        )
    tail = (1 - level) / 2
    low, high = np.quantile(np.array(values), [tail, 1 - tail])
    return Interval(float(low), float(high), level, len(values))
