"""Is the stated FPIR what people who are not enrolled see, at every gallery size?

Galleries of 5, 20, 60 and 600 people are drawn, everybody else is an impostor. The threshold is the
one that the program takes from the network's impostor curve; then the one that calibration with
half of the impostors gives. What it does is measured on the other half. The interval knows the
chance in the people who are asked, not that in the curve; `tools/cross_validate_fpir.py` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jetson_face.calibration.fpir import (
    RateWithInterval,
    Scores,
    named,
    threshold_for,
    together,
)
from jetson_face.calibration.impostors import averaged
from jetson_face.calibration.leave_one_out import ask
from jetson_face.core.errors import CalibrationError
from jetson_face.evaluation import report
from jetson_face.evaluation.calibration import above, impostors_of_shots
from jetson_face.evaluation.extract import ExtractedFaces
from jetson_face.evaluation.identification import templates_of
from jetson_face.evaluation.method import Method, snapshot_of
from jetson_face.evaluation.people import Shot, by_hash

SIZES = (5, 20, 60, 600)
FRAMES = (1, 3)
PICTURES = 3
IMPOSTORS_MIN = 50
"""People left over, below which a size is left out."""


@dataclass(frozen=True, slots=True)
class StatedRate:
    """Impostors that get a name where `fpir` was stated. people: enrolled. frames: averaged.
    source: of the threshold. holds: `fpir` lies in the observed rate's 95 % interval."""

    fpir: float
    people: int
    frames: int
    source: str
    thresholds: tuple[float, ...]
    observed: RateWithInterval

    @property
    def holds(self) -> bool:
        """The stated rate lies within the interval of what was observed."""
        return self.observed.low <= self.fpir <= self.observed.high


def stated_rates(
    people: Mapping[str, Sequence[Shot]],
    faces: ExtractedFaces,
    method: Method,
    *,
    fpir: float,
    seeds: Sequence[int],
    sizes: Sequence[int] = SIZES,
) -> list[StatedRate]:
    """A line for each gallery size, number of frames and source of the threshold.

    A size that leaves fewer than 50 people to be impostors is left out. Empty where the method has
    no impostor curve.
    """
    out: list[StatedRate] = []
    for size in sizes:
        if size + IMPOSTORS_MIN > len(people):
            continue
        found: dict[tuple[int, str], tuple[list[float], list[Scores]]] = {}
        for seed in seeds:
            for key, threshold, scores in _division(people, faces, method, size, fpir, seed):
                thresholds, parts = found.setdefault(key, ([], []))
                thresholds.append(threshold)
                parts.append(above(scores, threshold))
        out += [
            StatedRate(fpir, size, frames, source, tuple(used), named(together(parts), 0.0))
            for (frames, source), (used, parts) in found.items()
        ]
    return out


def _division(
    people: Mapping[str, Sequence[Shot]],
    faces: ExtractedFaces,
    method: Method,
    size: int,
    fpir: float,
    seed: int,
) -> list[tuple[tuple[int, str], float, Scores]]:
    order = by_hash(list(people), seed)
    enrolled = {person: _first_session(people[person]) for person in sorted(order[:size])}
    matcher = method.enrol(snapshot_of(faces.space, templates_of(enrolled, faces)))
    if matcher.thresholds is None:
        return []
    number = {name: at for at, name in enumerate(people)}
    rest = order[size:]
    halves = [
        impostors_of_shots([shot for person in half for shot in people[person]], faces, number)
        for half in (rest[::2], rest[1::2])
    ]
    out = []
    for frames in FRAMES:
        to_set, to_test = (
            ask(matcher, *averaged(half, frames), method.margin_min) for half in halves
        )
        curve = matcher.thresholds[min(frames, len(matcher.thresholds)) - 1]
        out.append(((frames, "impostor curve"), curve, to_test))
        try:
            site = threshold_for(to_set, fpir)
        except CalibrationError:
            continue
        out.append(((frames, "site calibration"), site, to_test))
    return out


def _first_session(shots: Sequence[Shot]) -> tuple[Shot, ...]:
    """Up to three pictures of a person, of one session where sessions are videos."""
    own = [shot for shot in shots if shot.session == shots[0].session]
    return tuple((own if len(own) > 1 else list(shots))[:PICTURES])


def as_json(rows: Sequence[StatedRate]) -> list[dict[str, Any]]:
    """Every figure under its key."""
    return [{**asdict(row), "holds": row.holds} for row in rows]


def table(rows: Sequence[StatedRate]) -> str:
    """As Markdown."""
    return report.table(
        ["stated FPIR", "enrolled", "frames", "threshold from", "similarity", "observed FPIR", ""],
        [
            [
                f"{100 * row.fpir:g} %",
                row.people,
                row.frames,
                row.source,
                f"{np.mean(row.thresholds):.3f}",
                report.with_interval(row.observed.share, row.observed),
                "holds" if row.holds else "does not hold",
            ]
            for row in rows
        ],
    )
