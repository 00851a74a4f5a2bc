"""How alike people are who are not each other, by gallery size: from a stated FPIR to a cosine.

A curve belongs to one embedding space. It holds thresholds, no vectors and no faces. It is measured
on faces of many people, never computed from a distribution of single pairs: some faces look like
many people, and templates of one person look alike, so that a gallery of P people is not P
independent chances.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jetson_face.calibration.fpir import F64
from jetson_face.core.errors import EmbeddingSpaceError, InputBrokenError, InputMissingError
from jetson_face.core.types import I64, EmbeddingSpace
from jetson_face.gallery.matcher import GallerySnapshot
from jetson_face.util.files import write_file

SCHEMA = "jetson-face.impostor-curve/1"


@dataclass(frozen=True, slots=True)
class Shifts:
    """Cosines to add to a threshold, by a count: `at` ascending from 1, `by` the same length."""

    at: tuple[int, ...]
    by: tuple[float, ...]

    def of(self, count: float) -> float:
        """For a count of 1 or more, between two of `at` by its logarithm; the last goes on."""
        return float(np.interp(math.log(max(count, 1.0)), np.log(self.at), self.by))


@dataclass(frozen=True, slots=True)
class ImpostorCurve:
    """Thresholds by gallery size and FPIR, for one template a person and single faces.

    space: `full_name` of the embedding space. faces, people: measured on. sizes: people enrolled,
    ascending. fpirs: falling. similarity: by size, the cosine for each FPIR. templates: what more
    templates a person add, by `top_k` of the matcher, as text. frames: what averaging frames adds.
    """

    space: str
    faces: int
    people: int
    sizes: tuple[int, ...]
    fpirs: tuple[float, ...]
    similarity: tuple[tuple[float, ...], ...]
    templates: dict[str, Shifts]
    frames: Shifts
    note: str = ""

    def threshold(self, fpir: float, gallery: GallerySize, frames: int = 1) -> float:
        """The cosine at or above which so many impostors get a name of that gallery; at most 1.

        fpir: between 0 and 1; beyond the measured ones the tail goes on straight in its logarithm.
        frames: averaged embeddings.
        """
        row = self._row(gallery.people)
        cosine = _line(math.log(fpir), np.log(self.fpirs), row)
        return float(np.clip(cosine + self._shift(gallery, frames), -1.0, 1.0))

    def fpir(self, threshold: float, gallery: GallerySize, frames: int = 1) -> float:
        """The share of impostors that get a name of that gallery at a cosine: [0, 1]."""
        if not gallery.people:
            return 0.0
        row = self._row(gallery.people)
        at = threshold - self._shift(gallery, frames)
        return float(min(1.0, math.exp(_line(at, row, np.log(self.fpirs)))))

    def by_frames(self, fpir: float, gallery: GallerySize) -> tuple[float, ...]:
        """Thresholds for 1, 2, … averaged embeddings; the last holds for more."""
        return tuple(self.threshold(fpir, gallery, n) for n in range(1, self.frames.at[-1] + 1))

    def _row(self, people: int) -> F64:
        """(F,) thresholds at a gallery size."""
        table, sizes = np.array(self.similarity), np.log(self.sizes)
        at = math.log(max(people, 1))
        return np.array([_line(at, sizes, column) for column in table.T])

    def _shift(self, gallery: GallerySize, frames: int) -> float:
        known = sorted(int(top_k) for top_k in self.templates)
        nearest = max((k for k in known if k <= gallery.top_k), default=known[0])
        shifts = self.templates[str(nearest)]
        own = [count * shifts.of(each) for each, count in gallery.templates]
        return sum(own) / max(gallery.people, 1) + self.frames.of(frames)

    def save(self, path: Path) -> None:
        """Write it as JSON. Raises OutputError."""
        text = json.dumps({"schema": SCHEMA, **_rounded(asdict(self))}, indent=1)
        write_file(path, text + "\n")


@dataclass(frozen=True, slots=True)
class GallerySize:
    """What a gallery's FPIR depends on. templates: (templates of a person, how many people have
    so many), ascending. top_k: of the matcher."""

    people: int
    templates: tuple[tuple[int, int], ...]
    top_k: int = 3

    @classmethod
    def of(cls, snapshot: GallerySnapshot, top_k: int) -> GallerySize:
        """Of the gallery as it is."""
        own = np.bincount(snapshot.person_index, minlength=len(snapshot.people))
        each, people = np.unique(own, return_counts=True)
        counts = tuple(zip(each.tolist(), people.tolist(), strict=True))
        return cls(len(snapshot.people), counts, top_k)


def read_curve(path: Path, space: EmbeddingSpace) -> ImpostorCurve:
    """What `save` wrote.

    Raises InputMissingError, InputBrokenError, EmbeddingSpaceError for another network's.
    """
    try:
        told: dict[str, Any] = json.loads(path.read_text("utf-8"))
        if told.pop("schema") != SCHEMA:
            raise ValueError("another schema")
        curve = ImpostorCurve(
            **{
                **told,
                "sizes": tuple(told["sizes"]),
                "fpirs": tuple(told["fpirs"]),
                "similarity": tuple(tuple(row) for row in told["similarity"]),
                "templates": {key: _shifts(own) for key, own in told["templates"].items()},
                "frames": _shifts(told["frames"]),
            }
        )
        table = np.array(curve.similarity, np.float64)
        if table.shape != (len(curve.sizes), len(curve.fpirs)) or not np.isfinite(table).all():
            raise ValueError("the table has gaps")
        if (np.diff(table, axis=1) <= 0).any() or (np.diff(curve.fpirs) >= 0).any():
            raise ValueError("thresholds must grow where the FPIR falls")
    except FileNotFoundError:
        raise InputMissingError(f"{path}: no such impostor curve: write it with {WRITE}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputBrokenError(
            f"{path}: no impostor curve ({error}): write it again with {WRITE}"
        ) from None
    if curve.space != space.full_name:
        raise EmbeddingSpaceError(
            f"{path}: measured with {curve.space[:60]}…, the embedder is {space}: write it again "
            f"with {WRITE}"
        )
    return curve


WRITE = "jetson-face calibrate --impostors FOLDER --curve FILE"


def _line(x: float, xs: Any, ys: Any) -> float:
    """Between points as straight lines; beyond the ends the last line goes on. xs: rising or
    falling."""
    xs, ys = np.asarray(xs, np.float64), np.asarray(ys, np.float64)
    if len(xs) == 1:
        return float(ys[0])
    if xs[0] > xs[-1]:
        xs, ys = xs[::-1], ys[::-1]
    right = int(np.clip(np.searchsorted(xs, x), 1, len(xs) - 1))
    left = right - 1
    share = (x - xs[left]) / (xs[right] - xs[left])
    return float(ys[left] + share * (ys[right] - ys[left]))


def _shifts(told: dict[str, Any]) -> Shifts:
    shifts = Shifts(tuple(told["at"]), tuple(told["by"]))
    if len(shifts.at) != len(shifts.by) or not shifts.at or shifts.at[0] != 1:
        raise ValueError("counts begin with 1")
    return shifts


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return [_rounded(inner) for inner in value] if isinstance(value, list | tuple) else value


def log_odds_of_none(hits: Sequence[int] | I64, people: int, drawn: int) -> F64:
    """Logarithm of the probability that none of `drawn` out of `people` is one of `hits`.

    Hypergeometric, without replacement; more drawn than there are: with replacement.
    """
    m = np.asarray(hits, np.float64)
    if drawn > people // 2:
        with np.errstate(divide="ignore"):
            return np.asarray(drawn * np.log1p(-m / people))
    gamma = np.array([math.lgamma(n + 1) for n in range(people + 1)])
    left = people - m.astype(np.int64)
    fits = left >= drawn
    safe = np.where(fits, left, drawn)
    out = gamma[safe] - gamma[safe - drawn] - (gamma[people] - gamma[people - drawn])
    return np.asarray(np.where(fits, out, -np.inf))
