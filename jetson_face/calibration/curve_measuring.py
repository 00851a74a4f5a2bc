"""Measures an impostor curve on faces of many people (`jetson_face.calibration.impostor_curve`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jetson_face.calibration.fpir import F64
from jetson_face.calibration.impostor_curve import ImpostorCurve, Shifts, log_odds_of_none
from jetson_face.calibration.impostors import Impostors
from jetson_face.calibration.leave_one_out import grouped
from jetson_face.core.errors import CalibrationError
from jetson_face.core.types import F32, I64, Embeddings, EmbeddingSpace, Person
from jetson_face.gallery.matcher import GallerySnapshot, Matcher

FPIRS = (0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005, 0.003, 0.002, 0.001)
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
TEMPLATES = (1, 2, 3, 5, 8)
FRAMES = (1, 2, 3)
TOP_K = (1, 3)
LEAST_PEOPLE = 50
_GRID = np.linspace(-0.3, 1.0, 651)
_DRAWS = 4
_SHIFT_SIZES = (5, 20)
_SHIFT_FPIRS = (0.1, 0.05, 0.02, 0.01)
_BLOCK = 500


def measure_curve(
    faces: Impostors, *, note: str = "", rng: np.random.Generator | None = None
) -> ImpostorCurve:
    """The curve of these faces' embedding space.

    Thresholds by gallery size come from all people, each face against one face of everybody else;
    what templates and frames add comes from the people who have enough faces, against the same
    people with one. Raises CalibrationError with fewer than 50 people.
    """
    rng = rng or np.random.default_rng(1)
    people = len(np.unique(faces.person))
    if people < LEAST_PEOPLE:
        raise CalibrationError(
            f"{people} people: an impostor curve needs {LEAST_PEOPLE} or more, best hundreds"
        )
    vectors, person, series = faces.faces.vectors, faces.person, faces.series
    counts = [
        _hits(vectors, person, *_drawn(vectors, person, 1, rng), top_k=1) for _ in range(_DRAWS)
    ]
    sizes = [size for size in SIZES if size <= people - 1]
    table = [_thresholds(counts, people - 1, size, FPIRS) for size in sizes]
    return ImpostorCurve(
        space=faces.faces.space.full_name,
        faces=len(faces),
        people=people,
        sizes=tuple(sizes),
        fpirs=FPIRS,
        similarity=tuple(tuple(float(at) for at in row) for row in table),
        templates={str(top_k): _template_shifts(vectors, person, top_k, rng) for top_k in TOP_K},
        frames=_frame_shifts(vectors, person, series, rng),
        note=note,
    )


def _drawn(vectors: F32, person: I64, templates: int, rng: np.random.Generator) -> tuple[F32, I64]:
    """So many faces of each person who has them, drawn; and whose they are."""
    order = rng.permutation(len(person))
    order = order[np.argsort(person[order], kind="stable")]
    whose = person[order]
    first = np.searchsorted(whose, whose)
    kept = order[np.arange(len(order)) - first < templates]
    return vectors[kept], person[kept]


def _hits(probes: F32, person: I64, templates: F32, owner: I64, *, top_k: int) -> I64:
    """(N, G) people other than its own whom each probe is like, at each cosine of the grid."""
    people, index = np.unique(owner, return_inverse=True)
    space = EmbeddingSpace("measured", "0" * 64, probes.shape[1])
    known = tuple(Person(str(who), str(who)) for who in people)
    snapshot = GallerySnapshot(space, templates.copy(), index.astype(np.int64), known)
    matcher = Matcher(snapshot, top_k=top_k)
    out = np.empty((len(probes), len(_GRID)), np.int64)
    for start in range(0, len(probes), _BLOCK):
        part = slice(start, start + _BLOCK)
        scores = matcher.scores(Embeddings(np.asarray(probes[part], np.float32), space))
        scores[person[part, None] == people[None]] = -2
        ordered = np.sort(scores, axis=1)
        for row, own in enumerate(ordered):
            out[start + row] = len(own) - np.searchsorted(own, _GRID)
    return out


def _thresholds(counts: Sequence[I64], people: int, size: int, fpirs: Sequence[float]) -> F64:
    """(F,) cosines at which so many probes are like somebody of `size` people drawn."""
    # of a probe that so many people are like, for every number of them
    named = 1 - np.exp(log_odds_of_none(np.arange(people + 1), people, size))
    rate = np.mean([named[own].mean(axis=0) for own in counts], axis=0)
    # falling along the grid; a tiny slope keeps the inverse unique where it is flat
    falling = np.minimum.accumulate(rate) - 1e-12 * np.arange(len(rate))
    return np.asarray(np.interp(-np.log(fpirs), -np.log(np.maximum(falling, 1e-300)), _GRID))


def _template_shifts(vectors: F32, person: I64, top_k: int, rng: np.random.Generator) -> Shifts:
    owned = np.bincount(person)
    at, by = [1], [0.0]
    for templates in TEMPLATES[1:]:
        enough = np.flatnonzero(owned >= templates)
        if len(enough) < LEAST_PEOPLE:
            break
        found = []
        for _ in range(_DRAWS):
            many = _drawn(
                vectors[np.isin(person, enough)], person[np.isin(person, enough)], templates, rng
            )
            one = _drawn(*many, 1, rng)
            found.append(_difference(vectors, person, one, many, top_k, len(enough)))
        at.append(templates)
        by.append(float(np.mean(found)))
    return Shifts(tuple(at), tuple(by))


def _difference(
    probes: F32, person: I64, one: tuple[F32, I64], many: tuple[F32, I64], top_k: int, people: int
) -> float:
    inside = np.isin(person, one[1])
    before = _hits(probes[inside], person[inside], *one, top_k=1)
    after = _hits(probes[inside], person[inside], *many, top_k=top_k)
    return _mean_shift([before], [after], people - 1)


def _frame_shifts(vectors: F32, person: I64, series: I64, rng: np.random.Generator) -> Shifts:
    at, by = [1], [0.0]
    for frames in FRAMES[1:]:
        owned = np.bincount(series)
        long = np.isin(series, np.flatnonzero(owned >= frames))
        if len(np.unique(person[long])) < LEAST_PEOPLE:
            break
        own, number, whose = vectors[long], series[long], person[long]
        means, group = grouped(own, number, frames)
        full = np.searchsorted(number, group)
        before, after = [], []
        for _ in range(_DRAWS):
            gallery = _drawn(own, whose, 1, rng)
            before.append(_hits(own, whose, *gallery, top_k=1))
            after.append(_hits(means, whose[full], *gallery, top_k=1))
        at.append(frames)
        by.append(_mean_shift(before, after, len(np.unique(whose)) - 1))
    return Shifts(tuple(at), tuple(by))


def _mean_shift(before: Sequence[I64], after: Sequence[I64], people: int) -> float:
    shifts = [
        _thresholds(after, people, size, _SHIFT_FPIRS)
        - _thresholds(before, people, size, _SHIFT_FPIRS)
        for size in _SHIFT_SIZES
    ]
    return float(np.mean(shifts))
