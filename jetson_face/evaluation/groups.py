"""Is one group of people mistaken for each other more often than another, at one threshold?

The groups are the user's: by sex, by age, by shift. One threshold is set on all pairs of different
people; each group's own rates at it are what a person of that group would meet where the others are
of it, too. What is compared: Grother, Ngan, Hanaoka, "Face Recognition Vendor Test, part 3:
demographic effects", NIST IR 8280, 2019.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import F32, I64
from jetson_face.evaluation import report
from jetson_face.evaluation.bootstrap import Interval
from jetson_face.evaluation.extract import ExtractedFaces
from jetson_face.evaluation.metrics import F64
from jetson_face.evaluation.people import Shot
from jetson_face.util.documents import read_text

FMRS = (1e-3, 1e-4)
"""False matches among all pairs of different people, by which the thresholds are set."""
ALL = "all"
RULES = (
    "Two people's rate is the share of their pairs of pictures at or above the threshold, one "
    "person's the share of the pairs from two sessions below it; a group's rate is the mean over "
    "its people, or pairs of people: many pictures of one do not count more.",
    "Thresholds are set on all pairs of different people, those in no group, too, so that their "
    "FMR is the one that is named. FMR of a group: pairs of two people who are both of it.",
    "Pictures without a face are left out, and counted by group.",
    "Intervals: percentile bootstrap over the people of the group; the threshold stays.",
)
_BLOCK, _STEPS = 256, 10_000


@dataclass(frozen=True, slots=True)
class GroupRates:
    """At one threshold. fmr, fnmr: shares; None where there is no such pair. of: the kind of group,
    a column of the file. people, with_several: how many, and of how many FNMR is."""

    of: str
    group: str
    fmr_of_all: float
    similarity_min: float
    people: int
    with_several: int
    pictures: int
    undetected: int
    fmr: float | None
    fmr_interval: Interval | None
    fnmr: float | None
    fnmr_interval: Interval | None


def read_groups(path: Path) -> dict[str, dict[str, str]]:
    """By kind of group, who is in which. The file is a table, separated by tabs or commas: the
    first column `person`, each other a kind of group; an empty cell says nothing.

    Raises InputMissingError, InputBrokenError with file:line.
    """
    lines = read_text(path, error=InputBrokenError).removeprefix("\ufeff").splitlines()
    by_tabs = bool(lines) and "\t" in lines[0]
    rows = csv.reader(lines, delimiter="\t" if by_tabs else ",")
    kinds = [cell.strip() for cell in next(rows, [])]
    if len(kinds) < 2 or kinds[0] != "person" or not all(kinds) or len({*kinds}) < len(kinds):
        raise InputBrokenError(
            f"{path}:1: expected a header: person, then a name for each kind of group, "
            "separated by tabs or commas, such as person,sex,age"
        )
    found: dict[str, dict[str, str]] = {kind: {} for kind in kinds[1:]}
    seen: set[str] = set()
    for row in filter(None, rows):
        person, *groups = (cell.strip() for cell in row)
        if len(row) != len(kinds):
            raise InputBrokenError(
                f"{path}:{rows.line_num}: expected {len(kinds)} cells, got {len(row)}"
            )
        if not person or person in seen:
            wrong = f"{person} is there twice" if person else "no person"
            raise InputBrokenError(f"{path}:{rows.line_num}: {wrong}")
        seen.add(person)
        for kind, group in zip(kinds[1:], groups, strict=True):
            if group:
                found[kind][person] = group
    return found


def measure_groups(
    people: Mapping[str, Sequence[Shot]],
    groups: Mapping[str, Mapping[str, str]],
    faces: ExtractedFaces,
    *,
    rng: np.random.Generator,
    resamples: int = 500,
) -> list[GroupRates]:
    """Rates of everybody, then of each group of each kind, at each threshold of FMRS.

    faces: a row for every shot. Raises InputBrokenError where nobody of `people` is in a group, or
    fewer than two people have a face.
    """
    if not any(name in who for who in groups.values() for name in people):
        raise InputBrokenError(
            "nobody of the pictures is in a group: persons of the table are the folders' names"
        )
    kept = {
        name: [shot for shot in shots if faces.found[faces.row_of[shot.name]]]
        for name, shots in people.items()
    }
    names = [name for name, shots in kept.items() if shots]
    if len(names) < 2:
        raise InputBrokenError("fewer than two people have a face: nobody to compare")
    seen = _Pictures.of([kept[name] for name in names], faces)
    by_kind = {ALL: dict.fromkeys(people, "everybody"), **groups}
    found: list[GroupRates] = []
    for fmr_of_all, similarity_min in zip(FMRS, seen.thresholds(FMRS), strict=True):
        matches = seen.matches(similarity_min)
        for kind, who in by_kind.items():
            for group in sorted({who[name] for name in names if name in who}):
                rows = np.flatnonzero([who.get(name) == group for name in names])
                own = [name for name in people if who.get(name) == group]
                fmr, fnmr = matches.rates(rows, rng, resamples)
                found.append(
                    GroupRates(
                        of=kind,
                        group=group,
                        fmr_of_all=fmr_of_all,
                        similarity_min=similarity_min,
                        people=len(rows),
                        with_several=int(np.isfinite(matches.missed[rows]).sum()),
                        pictures=sum(len(people[name]) for name in own),
                        undetected=sum(len(people[name]) - len(kept[name]) for name in own),
                        fmr=fmr[0],
                        fmr_interval=fmr[1],
                        fnmr=fnmr[0],
                        fnmr_interval=fnmr[1],
                    )
                )
    return found


_Rate: TypeAlias = tuple[float | None, Interval | None]


@dataclass(frozen=True, slots=True)
class _Matches:
    """At one threshold. first, second, share: two people who match, and how many of their pairs of
    pictures do. missed: (P,) each person's FNMR, NaN without a second session."""

    first: I64
    second: I64
    share: F64
    missed: F64

    def rates(self, rows: I64, rng: np.random.Generator, resamples: int) -> tuple[_Rate, _Rate]:
        """FMR and FNMR of the people in these rows, with intervals."""
        ones = np.zeros(len(self.missed))
        ones[rows] = 1
        fmrs, fnmrs = [self._fmr(ones)], [self._fnmr(ones)]
        for _ in range(resamples):
            drawn = np.bincount(rng.choice(rows, len(rows)), minlength=len(ones)).astype(float)
            fmrs.append(self._fmr(drawn))
            fnmrs.append(self._fnmr(drawn))
        return _rate(fmrs), _rate(fnmrs)

    def _fmr(self, times: F64) -> float:
        pairs = (times.sum() ** 2 - (times**2).sum()) / 2
        matched = (times[self.first] * times[self.second] * self.share).sum()
        return float(matched / pairs) if pairs else math.nan

    def _fnmr(self, times: F64) -> float:
        several = np.isfinite(self.missed)
        weight = times[several].sum()
        return float((times[several] * self.missed[several]).sum() / weight) if weight else math.nan


def _rate(values: Sequence[float]) -> _Rate:
    """The first is that of the people as they are, the others of resamples."""
    value, drawn = values[0], np.array(values[1:])
    drawn = drawn[np.isfinite(drawn)]
    if not math.isfinite(value):
        return None, None
    if len(drawn) * 2 < len(values) or not len(drawn):
        return value, None
    low, high = np.quantile(drawn, [0.025, 0.975])
    return value, Interval(float(low), float(high), 0.95, len(drawn))


@dataclass(frozen=True, slots=True)
class _Pictures:
    """vectors: (N, dim). person, session: (N,) whose, and in which session. count: (P,)."""

    vectors: F32
    person: I64
    session: I64
    count: I64

    @classmethod
    def of(cls, shots: Sequence[Sequence[Shot]], faces: ExtractedFaces) -> _Pictures:
        """shots: of each person, those with a face."""
        every = [shot for own in shots for shot in own]
        count = np.array([len(own) for own in shots], np.int64)
        sessions = [f"{shot.person}/{shot.session}" for shot in every]
        return cls(
            faces.vectors[[faces.row_of[shot.name] for shot in every]],
            np.repeat(np.arange(len(count)), count),
            np.asarray(np.unique(sessions, return_inverse=True)[1], np.int64),
            count,
        )

    def thresholds(self, fmrs: Sequence[float]) -> list[float]:
        """The lowest, of steps of 0.0001, with at most so many false matches among all people."""
        tally = np.zeros(2 * _STEPS + 1)
        for a, b, cosine in self._pairs():
            two = self.person[a] != self.person[b]
            step = np.clip(np.floor(cosine[two] * _STEPS), -_STEPS, _STEPS).astype(np.int64)
            tally += np.bincount(step + _STEPS, self._weight(a[two], b[two]), len(tally))
        above = np.append(np.cumsum(tally[::-1])[::-1], 0.0)  # at or above each step
        allowed = above[0] * np.array(fmrs) * (1 + 1e-9)
        return [float(np.argmax(above <= most) - _STEPS) / _STEPS for most in allowed]

    def matches(self, similarity_min: float) -> _Matches:
        """Who matches whom, and how often each person is missed."""
        size = len(self.count)
        keys, weights = [], []
        pairs, missed = np.zeros(size), np.zeros(size)
        for a, b, cosine in self._pairs():
            two = self.person[a] != self.person[b]
            hit = two & (cosine >= similarity_min)
            keys.append(self.person[a[hit]] * size + self.person[b[hit]])
            weights.append(self._weight(a[hit], b[hit]))
            own = ~two & (self.session[a] != self.session[b])
            pairs += np.bincount(self.person[a[own]], minlength=size)
            missed += np.bincount(self.person[a[own & (cosine < similarity_min)]], minlength=size)
        key, at = np.unique(np.concatenate(keys), return_inverse=True)
        share = np.bincount(at, np.concatenate(weights), len(key)).astype(np.float64)
        with np.errstate(invalid="ignore"):
            return _Matches(key // size, key % size, share, missed / pairs)

    def _weight(self, a: I64, b: I64) -> F64:
        return np.asarray(1 / (self.count[self.person[a]] * self.count[self.person[b]]), np.float64)

    def _pairs(self) -> Iterator[tuple[I64, I64, F32]]:
        """Rows of both pictures and their cosine, each pair once."""
        for start in range(0, len(self.vectors), _BLOCK):
            cosine = self.vectors[start : start + _BLOCK] @ self.vectors[start:].T
            a, b = np.triu_indices(len(cosine), 1, cosine.shape[1])
            yield a + start, b + start, cosine[a, b]


def summary(rows: Sequence[GroupRates]) -> str:
    """As Markdown: a table for each threshold, everybody first."""
    parts: list[str] = []
    for fmr in FMRS:
        own = [row for row in rows if row.fmr_of_all == fmr]
        base = own[0].fmr
        cells = [
            [
                row.group if row.of == ALL else f"{row.of}: {row.group}",
                f"{row.people} ({row.with_several})",
                f"{row.pictures} ({row.undetected})",
                report.with_interval(row.fmr, row.fmr_interval, 3),
                f"{row.fmr / base:.1f}" if row.fmr is not None and base else "–",
                report.with_interval(row.fnmr, row.fnmr_interval, 1),
            ]
            for row in own
        ]
        header = ["who", "people (with two sessions)", "pictures (without a face)", "FMR"]
        header += ["times everybody's", "FNMR"]
        title = f"FMR {100 * fmr:g} % of everybody, similarity_min {own[0].similarity_min:.4f}:"
        parts.append(f"{title}\n\n{report.table(header, cells)}")
    return "\n\n".join(parts)


def as_json(
    rows: Sequence[GroupRates], faces: ExtractedFaces, method: Mapping[str, object]
) -> dict[str, Any]:
    """Every figure under its key."""
    return {
        "kind": "groups",
        "level": 0.95,
        "groups": [{f.name: getattr(row, f.name) for f in fields(row)} for row in rows],
        **faces.facts(),
        "method": dict(method),
        "rules": list(RULES),
    }


def markdown(rows: Sequence[GroupRates], method: Mapping[str, object], title: str) -> str:
    """The report a person reads."""
    return report.page(title, summary(rows), report.method_and_rules(method, RULES))
