"""Open-set identification: who of the enrolled people is this, or nobody?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from jetson_face.calibration.leave_one_out import Enrol
from jetson_face.core.types import F32, I64, Embeddings
from jetson_face.evaluation import openset as o
from jetson_face.evaluation.bootstrap import Interval, Statistic, draw_groups, intervals_of
from jetson_face.evaluation.extract import ExtractedFaces
from jetson_face.evaluation.method import snapshot_of
from jetson_face.evaluation.metrics import or_none
from jetson_face.evaluation.people import Division, Shot, by_hash

FPIRS = (1e-2, 1e-3)
ENROLLED_COUNTS = (1, 2, 5, 10, 20)
PEOPLE_COUNTS = (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
_MATRIX_MAX = 20
_PANEL_LEAST = 4

RULES = (
    "Probes never share a video (or a picture) with what is enrolled; who is a stranger and what "
    "is enrolled follows from a hash of the names.",
    "A probe of an enrolled person in which no face is found is a miss at every threshold; a "
    "stranger's leaves the strangers, so that it does not lower FPIR.",
    "An enrolled person of whom no picture has a face stays among the people asked about: all "
    "probes of that person are misses.",
    "DIR@FPIR: the lowest threshold at which at most that share of strangers gets a name; refused "
    "(null) where there are fewer than 1/FPIR strangers' probes.",
    "Intervals: percentile bootstrap over people.",
)


@dataclass(frozen=True, slots=True, eq=False)
class IdentificationTrial:
    """One gallery asked about all probes. people: enrolled with at least one template.

    ranked: probes of enrolled people first, then strangers. decided: the same, with -inf where the
    lead over the second person is too small for a name. groups: (P,) whose probe it is.
    enrol_seconds: from templates to a matcher that answers (training, for a classifier);
    query_seconds: one probe against everybody.
    """

    ranked: o.Ranked
    decided: o.Ranked
    people: tuple[str, ...]
    groups: tuple[str, ...]
    templates: int
    enrol_seconds: float
    query_seconds: float

    def figures(self, similarity_min: float) -> dict[str, Any]:
        """rank1, DIR by FPIR, and what happens at the method's own threshold and lead."""
        at = o.at_threshold(self.decided, similarity_min)
        known, missing = self.ranked.known, np.isnan(self.ranked.top)
        return {
            "people": len(self.people),
            "templates": self.templates,
            "probes": int(known.sum()),
            "stranger_probes": int((~known).sum()),
            "rank1": o.rank1(self.ranked),
            "dir_at_fpir": {f"{fpir:g}": or_none(o.dir_share, self.ranked, fpir) for fpir in FPIRS},
            "at_similarity_min": {
                "similarity_min": similarity_min,
                "correctly_identified": at.dir,
                "misidentified": at.misidentified,
                "known_called_unknown": 1 - at.dir - at.misidentified - _share(missing, known),
                "known_without_face": _share(missing, known),
                "fpir": at.fpir,
                "strangers_called_unknown": 1 - at.fpir,
            },
            "enrol_seconds": self.enrol_seconds,
            "query_seconds": self.query_seconds,
        }

    def intervals(self, rng: np.random.Generator, resamples: int) -> dict[str, Interval | None]:
        """95 % intervals of rank-1 and the DIRs, resampling people; empty for no resamples."""
        statistics: dict[str, Statistic] = {"rank1": lambda rows: o.rank1(self.ranked[rows])}
        for fpir in FPIRS:
            if or_none(o.dir_share, self.ranked, fpir) is not None:
                statistics[f"dir_at_fpir_{fpir:g}"] = partial(self._dir_of_drawn, fpir)
        return intervals_of(statistics, draw_groups(self.groups), rng, resamples)

    def _dir_of_drawn(self, fpir: float, rows: I64) -> float:
        return o.dir_share(self.ranked[rows], fpir)


@dataclass(frozen=True, slots=True, eq=False)
class Identification:
    """The whole result. by_enrolled, by_people: the figures against gallery size."""

    division: Division
    faces: ExtractedFaces
    main: IdentificationTrial
    similarity_min: float
    intervals: Mapping[str, Interval | None]
    by_enrolled: Sequence[Mapping[str, Any]]
    by_people: Sequence[Mapping[str, Any]]
    method: Mapping[str, object]

    def as_json(self) -> dict[str, Any]:
        """Every figure under its key."""
        matrix = self.matrix()
        names = list(self.main.people)
        return {
            "kind": "identification",
            **self.main.figures(self.similarity_min),
            "intervals": dict(self.intervals),
            "level": 0.95,
            **self.division.facts(),
            **self.faces.facts(),
            "enrol_seconds_per_picture": self.seconds_per_picture,
            "most_confused": [list(row) for row in o.most_confused(matrix, names)],
            "confusion": matrix if len(names) <= _MATRIX_MAX else None,
            "confusion_columns": [*names, "unknown", "no face"],
            "by_enrolled": list(self.by_enrolled),
            "by_people": list(self.by_people),
            "method": dict(self.method),
            "rules": list(RULES),
        }

    def matrix(self) -> I64:
        """Answers by ground truth at `similarity_min`."""
        # people without a template have no column: their probes are shown with the strangers'
        ground_truth = np.where(
            self.main.ranked.ground_truth < len(self.main.people), self.main.ranked.ground_truth, -1
        )
        shown = o.Ranked(self.main.decided.top, self.main.decided.best, ground_truth)
        return o.confusion_matrix(shown, len(self.main.people), self.similarity_min)

    @property
    def seconds_per_picture(self) -> float | None:
        """Read, detect, align and embed one picture; None where all were remembered."""
        searched = self.faces.searched
        return sum(self.faces.seconds.values()) / searched if searched else None


def identify_open_set(
    division: Division,
    faces: ExtractedFaces,
    enrol: Enrol,
    *,
    similarity_min: float,
    margin_min: float = 0.0,
    rng: np.random.Generator,
    method: Mapping[str, object] | None = None,
    resamples: int = 500,
    seed: int = 1,
) -> Identification:
    """Enrol, ask, and ask again with fewer pictures and with fewer people.

    faces: a row for every shot of the division. Raises ValueError where nobody can be enrolled.
    """
    main = ask(division, faces, enrol, margin_min=margin_min)

    def again(people: Sequence[str], pictures: int | None = None) -> dict[str, Any]:
        """The figures of some people alone, with at most so many pictures each."""
        enrolled = {person: division.enrolled[person][:pictures] for person in people}
        probes = tuple(shot for shot in division.probes if shot.person in enrolled)
        smaller = Division(enrolled, probes, division.strangers)
        return ask(smaller, faces, enrol, margin_min=margin_min).figures(similarity_min)

    counts, panel = panel_of(division)
    by_enrolled = [{"pictures": count, **again(panel, count)} for count in counts]
    order = by_hash(list(division.enrolled), seed)
    sizes = [*(count for count in PEOPLE_COUNTS if count < len(order)), len(order)]
    by_people = [again(order[:size]) for size in sizes]
    return Identification(
        division,
        faces,
        main,
        similarity_min,
        main.intervals(rng, resamples),
        by_enrolled,
        by_people,
        dict(method or {}),
    )


def panel_of(division: Division) -> tuple[list[int], list[str]]:
    """The numbers of pictures to enrol, and the people who have the most of them.

    The same people at every number: else those with few pictures would blur what more of them
    bring. The largest number is one that `_PANEL_LEAST` people have, or as many as there are.
    """
    owned = {person: len(shots) for person, shots in division.enrolled.items()}
    enough = min(_PANEL_LEAST, len(owned))
    largest = sorted(owned.values())[-enough]
    counts = [count for count in ENROLLED_COUNTS if count <= largest]
    return counts, [person for person, count in owned.items() if count >= counts[-1]]


def ask(
    division: Division,
    faces: ExtractedFaces,
    enrol: Enrol,
    *,
    margin_min: float = 0.0,
) -> IdentificationTrial:
    """Every probe and every stranger against one gallery; margin_min: the lead that a name needs.

    Raises ValueError where no enrolled picture has a face.
    """
    templates = templates_of(division.enrolled, faces)
    snapshot = snapshot_of(faces.space, templates)
    if not snapshot.people:
        raise ValueError("no enrolled picture has a face")
    start = time.perf_counter()
    matcher = enrol(snapshot)
    enrolled = time.perf_counter() - start
    people = tuple(person.name for person in snapshot.people)
    shots = (*division.probes, *division.strangers)
    rows = faces.rows([shot.name for shot in shots])
    there = faces.found[rows]
    scores = np.full((len(shots), len(people)), np.nan)
    start = time.perf_counter()
    scores[there] = matcher.scores(Embeddings(faces.vectors[rows[there]], faces.space))
    asked = (time.perf_counter() - start) / max(int(there.sum()), 1)
    ranked = o.rank(scores, np.arange(len(people)), ground_truth_of(division, people))
    groups = tuple(shot.person for shot in shots)
    led = np.isnan(ranked.top) | (_leads(scores) >= margin_min)
    decided = o.Ranked(np.where(led, ranked.top, -np.inf), ranked.best, ranked.ground_truth)
    return IdentificationTrial(
        ranked, decided, people, groups, len(snapshot.vectors), enrolled, asked
    )


def templates_of(enrolled: Mapping[str, Sequence[Shot]], faces: ExtractedFaces) -> dict[str, F32]:
    """(K, dim) vectors by person, of the pictures in which a face was found."""
    out: dict[str, F32] = {}
    for person, shots in enrolled.items():
        rows = faces.rows([shot.name for shot in shots])
        out[person] = faces.vectors[rows[faces.found[rows]]]
    return out


def ground_truth_of(division: Division, people: Sequence[str]) -> I64:
    """(P,) the column of each probe's person; beyond the last where it has no template; -1."""
    column = {person: at for at, person in enumerate(people)}
    known = [column.get(shot.person, len(people)) for shot in division.probes]
    return np.array([*known, *[-1] * len(division.strangers)], np.int64)


def _leads(scores: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(N, P) scores to (N,) of the first over the second; as `Match`, the second of one is -1."""
    if scores.shape[1] == 1:
        return np.asarray(scores[:, 0] + 1)
    two = np.partition(scores, -2, axis=1)[:, -2:]
    return np.asarray(two[:, 1] - two[:, 0])


def _share(what: np.ndarray[Any, Any], among: np.ndarray[Any, Any]) -> float:
    return float((what & among).sum() / max(int(among.sum()), 1))
