"""Figures of open-set identification: the probe may be nobody who is enrolled. Pure functions.

A probe's `top` is its highest cosine to an enrolled person; NaN where no face was found. Such a
probe of an enrolled person is missed at every threshold; such a stranger leaves the set of
strangers, so that a face which is not found does not lower the false-positive rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from jetson_face.core.types import F32, I64, BoolArray
from jetson_face.evaluation.metrics import F64, refuse_finer


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """The nearest enrolled person of every probe.

    top: (P,) cosine, NaN where no face was found. best: (P,) column of the gallery person, -1
    where no face was found. ground_truth: (P,) column of the right person, -1 for a stranger.
    """

    top: F64
    best: I64
    ground_truth: I64

    @property
    def known(self) -> BoolArray:
        """(P,) probes of enrolled people."""
        return np.asarray(self.ground_truth >= 0)

    @property
    def right(self) -> BoolArray:
        """(P,) probes of enrolled people whose nearest person is the right one."""
        return np.asarray(self.known & (self.best == self.ground_truth))

    def __getitem__(self, rows: I64 | BoolArray) -> Ranked:
        """The probes that an index array or a mask selects."""
        return Ranked(self.top[rows], self.best[rows], self.ground_truth[rows])


@dataclass(frozen=True, slots=True)
class OpenSetPoint:
    """Detection and identification rate at a false-positive identification rate.

    threshold: cosine, accept at or above. fpir: measured share of strangers accepted. dir: share
    of the enrolled people's probes that are correctly identified. misidentified: share of them
    given a wrong name at or above the threshold.
    """

    threshold: float
    fpir: float
    dir: float
    misidentified: float


def rank(similarities: F32 | F64, person_of_column: ArrayLike, ground_truth: ArrayLike) -> Ranked:
    """Reduce (P, T) cosines of probes to templates; a person's cosine is that of the best template.

    person_of_column: (T,) person number of each template. ground_truth: (P,) person number, -1 for
    a stranger. A row of NaN is a probe without a face. Raises ValueError if there is no template.
    """
    s = np.asarray(similarities, np.float64)
    people = np.asarray(person_of_column, np.int64)
    if s.ndim != 2 or s.shape[1] != len(people) or len(people) == 0:
        raise ValueError(f"need (P, T) similarities for T >= 1 templates, got {s.shape}")
    missing = np.isnan(s).any(axis=1)
    column = np.argmax(np.where(np.isnan(s), -np.inf, s), axis=1)
    top = np.where(missing, np.nan, s[np.arange(len(s)), column])
    return Ranked(top, np.where(missing, -1, people[column]), np.asarray(ground_truth, np.int64))


def rank1(ranked: Ranked) -> float:
    """Closed-set rank-1: share of the enrolled people's probes whose nearest person is right.

    Raises ValueError if no probe belongs to an enrolled person.
    """
    if not ranked.known.any():
        raise ValueError("rank-1 needs probes of enrolled people")
    return float(ranked.right.sum() / ranked.known.sum())


def dir_at_fpir(ranked: Ranked, fpir_max: float) -> OpenSetPoint:
    """DIR at the lowest threshold that accepts at most `fpir_max` of the strangers.

    Source: Grother and Ngan, FRVT NIST IR 8009, 2014 (FPIR and FNIR; DIR = 1 - FNIR at rank 1).
    Raises ValueError if the rate is finer than one stranger can show, or nobody is enrolled.
    """
    strangers = ranked.top[~ranked.known & ~np.isnan(ranked.top)]
    refuse_finer(fpir_max, len(strangers), "FPIR", "strangers' probes")
    allowed = int(np.floor(fpir_max * len(strangers) + 1e-9))
    falling = np.sort(strangers)[::-1]
    # just above the first stranger that may not pass; equal scores pass or fail together
    threshold = float(np.nextafter(falling[allowed], np.inf)) if allowed < len(falling) else -1.0
    return at_threshold(ranked, threshold)


def dir_share(ranked: Ranked, fpir_max: float) -> float:
    """`dir_at_fpir` without the point around it."""
    return dir_at_fpir(ranked, fpir_max).dir


def at_threshold(ranked: Ranked, threshold: float) -> OpenSetPoint:
    """The open-set figures at a threshold; fpir is 0 where there is no stranger.

    Raises ValueError if no probe belongs to an enrolled person.
    """
    known = int(ranked.known.sum())
    if known == 0:
        raise ValueError("DIR needs probes of enrolled people")
    accepted = ranked.top >= threshold
    strangers = int((~ranked.known & ~np.isnan(ranked.top)).sum())
    return OpenSetPoint(
        threshold,
        float((accepted & ~ranked.known).sum() / max(strangers, 1)),
        float((accepted & ranked.right).sum() / known),
        float((accepted & ranked.known & ~ranked.right).sum() / known),
    )


def confusion_matrix(ranked: Ranked, people: int, threshold: float) -> I64:
    """(people + 1, people + 2) counts: row = ground truth (last: strangers), column = answer.

    The last two columns are "unknown" (below the threshold) and "no face".
    """
    answer = np.where(ranked.top >= threshold, ranked.best, people)
    answer = np.where(np.isnan(ranked.top), people + 1, answer)
    ground_truth = np.where(ranked.ground_truth < 0, people, ranked.ground_truth)
    out = np.zeros((people + 1, people + 2), np.int64)
    np.add.at(out, (ground_truth, answer), 1)
    return out


def most_confused(matrix: I64, names: Sequence[str], most: int = 10) -> list[tuple[str, str, int]]:
    """The commonest wrong names as (ground truth, answer, count); also of "not enrolled"."""
    rows = [*names, "not enrolled"]
    people = len(names)
    wrong = matrix[:, :people].copy()
    wrong[np.arange(people), np.arange(people)] = 0
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    found = [(int(i) // people, int(i) % people) for i in order]
    return [(rows[r], names[c], int(wrong[r, c])) for r, c in found if wrong[r, c] > 0]
