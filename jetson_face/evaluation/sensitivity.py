"""How verification holds out against smaller, blurred, darker, turned and compressed faces.

One picture of every pair is changed, the other stays as it is: a poor camera picture against a
good enrolment photo. The threshold is the one that was best on the unchanged pictures, as a user
would have set it, so that a change which shifts all scores shows as the loss it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jetson_face.core.types import BoolArray, ImageU8
from jetson_face.evaluation import image_changes, report
from jetson_face.evaluation import metrics as m
from jetson_face.evaluation.bootstrap import Interval, bootstrap, draw_people, mean_of
from jetson_face.evaluation.extract import ExtractedFaces, PictureProgress
from jetson_face.evaluation.method import Method
from jetson_face.evaluation.pairs import Pair, PairList, person_of
from jetson_face.evaluation.people import fraction
from jetson_face.util.images import read_picture

LEVELS: Mapping[str, tuple[float, ...]] = {
    "face_px": (112, 64, 48, 32, 24, 16, 12),
    "blur": (0, 1, 2, 4, 6, 8),
    "brightness": (0.05, 0.1, 0.25, 0.5, 1, 2, 3),
    "rotation": (-60, -45, -30, -15, 0, 15, 30, 45, 60),
    "jpeg": (95, 50, 20, 10, 5),
}
UNITS: Mapping[str, str] = {
    "face_px": "width of the face's box, pixels",
    "blur": "Gaussian sigma, per cent of the box's width",
    "brightness": "gain",
    "rotation": "turn, degrees",
    "jpeg": "JPEG quality",
}

RULES = (
    "The second picture of every pair is changed, the first is not.",
    "The threshold is fixed: the best one on the unchanged pairs.",
    "A pair with an undetected face is wrong.",
    "Intervals: percentile bootstrap over people.",
)


@dataclass(frozen=True, slots=True)
class ChangeStrength:
    """One change at one strength, over all pairs. unit: see `UNITS`."""

    kind: str
    value: float
    accuracy: float
    interval: Interval | None
    auc: float | None
    undetected: int
    pairs: int

    def as_json(self) -> dict[str, Any]:
        """Its figures."""
        return {**asdict(self), "interval": self.interval}


def sample_pairs(pairs: PairList, count: int, seed: int = 1) -> PairList:
    """At most `count` pairs, half of them equal, chosen by a hash of their names."""

    def order(pair: Pair) -> float:
        return fraction(f"{pair.a}|{pair.b}", seed)

    equal = sorted((p for p in pairs.pairs if p.same), key=order)[: count // 2]
    other = sorted((p for p in pairs.pairs if not p.same), key=order)[: count // 2]
    return PairList((*equal, *other), 0, 0)


def changed(image: ImageU8, kind: str, value: float, face_width: float) -> ImageU8:
    """The picture with one change. face_width: of the face's box before, pixels.

    Raises ValueError for a kind that there is not.
    """
    if kind == "face_px":
        return image_changes.scaled(image, value / face_width)
    if kind == "blur":
        return image_changes.blurred(image, value / 100 * face_width)
    if kind == "brightness":
        return image_changes.lit(image, value)
    if kind == "rotation":
        return image_changes.rotated(image, value)
    if kind == "jpeg":
        return image_changes.compressed(image, int(value))
    raise ValueError(f"no such change: {kind!r}; there are {', '.join(LEVELS)}")


def measure_sensitivity(
    pairs: PairList,
    pictures: Mapping[str, Path],
    method: Method,
    *,
    rng: np.random.Generator,
    levels: Mapping[str, Sequence[float]] = LEVELS,
    resamples: int = 300,
    progress: PictureProgress | None = None,
) -> tuple[float, list[ChangeStrength]]:
    """The threshold that was used, and every level of every change.

    Raises ValueError where the unchanged pairs cannot be measured.
    """
    faces = method.extractor.extract(pictures)
    same = pairs.same
    first = faces.vectors[faces.rows([pair.a for pair in pairs.pairs])]
    rows = faces.rows([pair.b for pair in pairs.pairs])
    threshold = m.best_threshold(method.pair_scorer(first, faces.vectors[rows]), same)
    widths = _widths(faces)
    draw = draw_people(
        [person_of(pair.a) for pair in pairs.pairs], [person_of(pair.b) for pair in pairs.pairs]
    )
    steps = [(kind, value) for kind, values in levels.items() for value in values]
    out: list[ChangeStrength] = []
    for kind, value in steps:
        made = []
        for row in rows:
            image = read_picture(pictures[faces.names[row]])
            # a face that was not found has no width: half the picture's is a guess
            made.append(changed(image, kind, value, widths[row] or image.shape[1] / 2))
        after = method.extractor.faces_of(made)
        scores = method.pair_scorer(first, after.vectors)
        right = _right(scores, same, threshold)
        interval = bootstrap(mean_of(right), draw, rng, resamples=resamples) if resamples else None
        lost = int((~after.found).sum())
        accuracy = float(right.mean())
        auc = m.or_none(lambda scores: m.auc(m.roc(scores, same)), scores)
        out.append(ChangeStrength(kind, value, accuracy, interval, auc, lost, len(rows)))
        if progress is not None:
            progress(len(out), len(steps))
    return threshold, out


def _widths(faces: ExtractedFaces) -> list[float]:
    widths = faces.boxes[:, 2] - faces.boxes[:, 0]
    return [float(width) if np.isfinite(width) else 0.0 for width in widths]


def _right(scores: m.F64, same: BoolArray, threshold: float) -> BoolArray:
    return np.asarray(~np.isnan(scores) & ((scores >= threshold) == same))


def as_json(
    threshold: float, levels: Sequence[ChangeStrength], method: Mapping[str, object]
) -> dict[str, Any]:
    """Every figure under its key."""
    return {
        "kind": "sensitivity",
        "similarity_min": threshold,
        "levels": [level.as_json() for level in levels],
        "units": dict(UNITS),
        "method": dict(method),
        "rules": list(RULES),
    }


def markdown(
    threshold: float, levels: Sequence[ChangeStrength], method: Mapping[str, object], title: str
) -> str:
    """The report a person reads."""
    rows = [
        [
            level.kind,
            f"{level.value:g}",
            report.with_interval(level.accuracy, level.interval, 1),
            "–" if level.auc is None else f"{level.auc:.4f}",
            f"{level.undetected} of {level.pairs}",
        ]
        for level in levels
    ]
    return report.page(
        title,
        f"Threshold: cosine ≥ {threshold:.3f}. Intervals are 95 %.",
        report.table(["change", "value", "accuracy", "AUC", "undetected"], rows),
        report.bullets(f"{kind}: {unit}" for kind, unit in UNITS.items()),
        report.facts_table(method),
        report.bullets(RULES),
    )


def summary(levels: Sequence[ChangeStrength]) -> str:
    """A line a level."""
    return "\n".join(
        f"{level.kind:10} {level.value:>6g}  accuracy {100 * level.accuracy:5.1f} %  "
        f"undetected {level.undetected} of {level.pairs}"
        for level in levels
    )


def plots(levels: Sequence[ChangeStrength], folder: Path, name: str) -> list[Path]:
    """One PNG with a panel a change. Raises MissingDependencyError, OutputError."""
    panels = {}
    for kind in dict.fromkeys(level.kind for level in levels):
        chosen = [level for level in levels if level.kind == kind]
        xs = [level.value for level in chosen]
        curves: dict[str, tuple[ArrayLike, ArrayLike]] = {
            "accuracy": (xs, [level.accuracy for level in chosen]),
            "faces found": (xs, [1 - level.undetected / level.pairs for level in chosen]),
        }
        panels[UNITS[kind]] = curves
    path = folder / f"sensitivity_{name}.png"
    report.plot_panels(path, panels, title=f"Sensitivity: {name}", y_limits=(0.0, 1.02))
    return [path]
