"""Does a calibrated threshold keep its promise, on strangers it was not set with?

People are divided three ways: enrolled, strangers to calibrate with, strangers to test with. The
threshold comes from the first two as `jetson-face calibrate` sets it; what it does is measured on
the third and on the enrolled people's other pictures. Repeated with other divisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jetson_face.calibration.fpir import (
    RateWithInterval,
    Scores,
    correctly_identified,
    named,
    threshold_for,
    together,
)
from jetson_face.calibration.impostors import Impostors, averaged
from jetson_face.calibration.leave_one_out import ask
from jetson_face.calibration.operating_point import CalibrationTrial
from jetson_face.core.errors import CalibrationError
from jetson_face.core.types import Embeddings
from jetson_face.evaluation import report
from jetson_face.evaluation.extract import ExtractedFaces
from jetson_face.evaluation.identification import templates_of
from jetson_face.evaluation.method import Method, snapshot_of
from jetson_face.evaluation.people import Division, Shot, divide, fraction

FPIRS = (0.05, 0.02, 0.01)
FRAMES = 10
DIVISIONS = 5

RULES = (
    "Enrolled people, strangers to calibrate with and strangers to test with are three groups of "
    "people; which follows from a hash of the names, again for every division.",
    "The threshold is set as `jetson-face calibrate` does, from the enrolled people, each asked of "
    "the others, and the strangers to calibrate with; single pictures, the method's own margin.",
    "Correctly identified: of the enrolled people's pictures that are not enrolled (other videos), "
    f"in which a face was found. Averages: the unit mean of up to {FRAMES} pictures of one folder.",
    "Counts of all divisions together; a person in several of them is still one person for the "
    "interval (95 %, Clopper and Pearson, with Kish's design effect).",
    "An FPIR that the faces cannot show is refused, as the command refuses it.",
)


@dataclass(frozen=True, slots=True)
class ThresholdResult:
    """One way to set the threshold: `name`. average: pictures a face."""

    name: str
    fpir: float | None
    thresholds: tuple[float, ...]
    average: int
    strangers: RateWithInterval
    enrolled: RateWithInterval
    misidentified: RateWithInterval


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """One division: the trial that sets thresholds, and what is asked afterwards, by average."""

    trial: CalibrationTrial
    strangers: dict[int, Scores]
    enrolled: dict[int, Scores]


def keep_promises(
    people: dict[str, list[Shot]],
    faces: ExtractedFaces,
    method: Method,
    *,
    fpirs: Sequence[float] = FPIRS,
    strangers: float = 0.5,
    seeds: Sequence[int] = tuple(range(1, DIVISIONS + 1)),
) -> list[ThresholdResult]:
    """The network's threshold, the configuration's, then a calibrated one for each FPIR that can
    be shown.

    faces: a row for every picture. Raises InputBrokenError where people cannot be divided.
    """
    number = {name: at for at, name in enumerate(people)}
    asked = []
    for seed in seeds:
        division = divide(people, strangers=strangers, seed=seed)
        asked.append(_ask(division, faces, method, number, seed))
    out: list[ThresholdResult] = []
    if method.default_min is not None and method.default_min != method.similarity_min:
        out += _kept(asked, "the method's own", None, [method.default_min] * len(asked))
    out += _kept(asked, "as configured", None, [method.similarity_min] * len(asked))
    for fpir in fpirs:
        try:
            set_to = [threshold_for(one.trial.strangers(), fpir) for one in asked]
        except CalibrationError:
            continue
        out += _kept(asked, f"FPIR {100 * fpir:g} %", fpir, set_to)
    return out


def _ask(
    division: Division, faces: ExtractedFaces, method: Method, number: dict[str, int], seed: int
) -> _Asked:
    snapshot = snapshot_of(faces.space, templates_of(division.enrolled, faces))
    tests = [s for s in division.strangers if fraction(f"test/{s.person}", seed) < 0.5]
    others = [s for s in division.strangers if fraction(f"test/{s.person}", seed) >= 0.5]
    trial = CalibrationTrial(
        snapshot,
        method.enrol,
        impostors_of_shots(others, faces, number),
        margin_min=method.margin_min,
        trained=method.trained,
    )
    matcher = method.enrol(snapshot)
    names = list(number)
    shown: dict[int, Scores] = {}
    known: dict[int, Scores] = {}
    for average in (1, FRAMES):
        vectors, person = averaged(impostors_of_shots(tests, faces, number), average)
        shown[average] = ask(matcher, vectors, person, method.margin_min)
        vectors, person = averaged(impostors_of_shots(division.probes, faces, number), average)
        ground_truth = [names[int(at)] for at in person]
        known[average] = ask(matcher, vectors, person, method.margin_min, ground_truth)
    return _Asked(trial, shown, known)


def impostors_of_shots(
    shots: Sequence[Shot], faces: ExtractedFaces, number: dict[str, int]
) -> Impostors:
    """The shots in which a face was found."""
    rows = faces.rows([shot.name for shot in shots])
    there = [(row, shot) for row, shot in zip(rows, shots, strict=True) if faces.found[row]]
    there.sort(key=lambda item: (number[item[1].person], item[1].session))
    series: dict[tuple[str, str], int] = {}
    for _, shot in there:
        series.setdefault((shot.person, shot.session), len(series))
    return Impostors(
        Embeddings(faces.vectors[[row for row, _ in there]], faces.space),
        np.array([number[shot.person] for _, shot in there], np.int64),
        np.array([series[shot.person, shot.session] for _, shot in there], np.int64),
        tuple(shot.name for _, shot in there),
    )


def _kept(
    asked: Sequence[_Asked], name: str, fpir: float | None, thresholds: Sequence[float]
) -> list[ThresholdResult]:
    out = []
    for average in (1, FRAMES):
        moved = [
            [above(side[average], at) for side in (one.strangers, one.enrolled)]
            for one, at in zip(asked, thresholds, strict=True)
        ]
        shown, known = (together([pair[side] for pair in moved]) for side in (0, 1))
        wrong = Scores(np.where(known.right, -np.inf, known.score), known.right, known.person)
        out.append(
            ThresholdResult(
                name,
                fpir,
                tuple(float(at) for at in thresholds),
                average,
                named(shown, 0.0),
                correctly_identified(known, 0.0),
                named(wrong, 0.0),
            )
        )
    return out


def above(scores: Scores, threshold: float) -> Scores:
    """Scores counted from the threshold, so that divisions with different ones go together."""
    return Scores(scores.score - threshold, scores.right, scores.person)


def as_json(
    rows: Sequence[ThresholdResult], faces: ExtractedFaces, method: dict[str, object]
) -> dict[str, Any]:
    """Every figure under its key."""
    return {
        "kind": "calibration",
        "level": 0.95,
        "thresholds": [asdict(row) for row in rows],
        **faces.facts(),
        "method": method,
        "rules": list(RULES),
    }


def summary_table(rows: Sequence[ThresholdResult]) -> str:
    """The table as Markdown."""
    header = ["threshold", "similarity_min", "pictures", "non-enrolled named"]
    header += ["correctly identified", "misidentified"]
    return report.table(
        header,
        [
            [
                row.name,
                _range(row.thresholds),
                row.average if row.average == 1 else f"up to {row.average}",
                *(
                    report.with_interval(rate.share, rate, 1)
                    for rate in (row.strangers, row.enrolled, row.misidentified)
                ),
            ]
            for row in rows
        ],
    )


def markdown(
    rows: Sequence[ThresholdResult], faces: ExtractedFaces, method: dict[str, object], title: str
) -> str:
    """The report a person reads."""
    known, strangers = rows[0].enrolled, rows[0].strangers
    return report.page(
        title,
        f"{len(rows[0].thresholds)} divisions; {known.faces} pictures of {known.people} enrolled "
        f"people, {strangers.faces} of {strangers.people} non-enrolled people to test with. "
        "Intervals are 95 %.",
        summary_table(rows),
        report.method_and_rules({**faces.facts(), **method}, RULES),
    )


def plots(rows: Sequence[ThresholdResult], folder: Path) -> list[Path]:
    """Strangers named and people correctly identified, as a PNG. Raises as `report.plot_curves`."""
    path = folder / "calibration.png"
    curves = {}
    for average in (1, FRAMES):
        chosen = [r for r in rows if r.average == average and r.fpir is not None]
        which = "one picture" if average == 1 else f"up to {average} averaged"
        curves[which] = (
            [row.strangers.share for row in chosen],
            [row.enrolled.share for row in chosen],
        )
    report.plot_curves(
        path,
        curves,
        title="Calibrated thresholds on non-enrolled people they were not set with",
        x="non-enrolled people named (FPIR)",
        y="enrolled people correctly identified",
        marks=True,
    )
    return [path]


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3f}" if high - low < 5e-4 else f"{low:.3f} to {high:.3f}"
