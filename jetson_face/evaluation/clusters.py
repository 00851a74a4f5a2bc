"""Do clusters of unnamed faces hold one person each, and each person in one cluster?

Every video gives one face, as a track gives one review item: its first frame ("single"), or the
mean of its frames ("video"), as a remembered unknown has it. Nobody is enrolled; all are clustered
as `jetson-face review clusters` does it, and, to compare, by chains of faces that look alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import F32, I64
from jetson_face.evaluation import report
from jetson_face.evaluation.bootstrap import Interval, bootstrap, draw_groups
from jetson_face.evaluation.divisions import videos_of
from jetson_face.evaluation.extract import ExtractedFaces
from jetson_face.evaluation.metrics import F64
from jetson_face.evaluation.people import Shot
from jetson_face.review.clusters import cluster_faces

STEPS = (-0.1, -0.05, 0.0, 0.05, 0.1)
"""Around the threshold in force, to show what another one would do."""
RULES = (
    "BCubed: precision of a face is the share of its cluster that is its person, recall the share "
    "of its person that is in its cluster; means over faces (A. Bagga, B. Baldwin, 1998).",
    "Pairwise: precision is the share of pairs inside a cluster that are one person, recall the "
    "share of one person's pairs that are inside a cluster.",
    "Videos without a face are left out. Intervals: percentile bootstrap over people.",
)


@dataclass(frozen=True, slots=True)
class ClusterScore:
    """Shares of 1. A face alone has precision 1; pairs are only those that there are."""

    bcubed_precision: float
    bcubed_recall: float
    pair_precision: float
    pair_recall: float

    @property
    def bcubed_f(self) -> float:
        """The harmonic mean of both."""
        return _harmonic(self.bcubed_precision, self.bcubed_recall)


@dataclass(frozen=True, slots=True)
class ClusterRow:
    """One way to cluster one kind of faces. clusters, people, faces: how many."""

    kind: str
    linkage: str
    similarity_min: float
    faces: int
    people: int
    clusters: int
    score: ClusterScore
    interval: Interval | None

    def as_json(self) -> dict[str, Any]:
        """Every figure under its key."""
        return {
            "kind": self.kind,
            "linkage": self.linkage,
            "similarity_min": self.similarity_min,
            "faces": self.faces,
            "people": self.people,
            "clusters": self.clusters,
            "bcubed_precision": self.score.bcubed_precision,
            "bcubed_recall": self.score.bcubed_recall,
            "bcubed_f": self.score.bcubed_f,
            "bcubed_f_interval": self.interval,
            "pair_precision": self.score.pair_precision,
            "pair_recall": self.score.pair_recall,
        }


def score_clusters(labels: I64, person: I64) -> ClusterScore:
    """labels, person: (N,). Pair precision is 1 without a pair in a cluster, recall 0."""
    precision, recall = _bcubed(labels, person)
    together, same = _pairs(labels), _pairs(person)
    width = int(person.max(initial=0)) + 1
    both = _pairs(labels * width + person)
    return ClusterScore(
        float(precision.mean()),
        float(recall.mean()),
        both / together if together else 1.0,
        both / same if same else 0.0,
    )


def measure_clusters(
    people: Mapping[str, Sequence[Shot]],
    faces: ExtractedFaces,
    similarity_min: float,
    *,
    rng: np.random.Generator,
    resamples: int = 500,
) -> list[ClusterRow]:
    """See the module. faces: a row for every shot. Raises InputBrokenError where no video has a
    face."""
    rows: list[ClusterRow] = []
    for kind in ("single", "video"):
        vectors, names, _ = of_videos(people, faces, mean=kind == "video")
        _, person = np.unique(names, return_inverse=True)
        tried: list[tuple[str, float, Callable[[F32, float], I64]]] = [
            ("average", round(similarity_min + step, 4), cluster_faces) for step in STEPS
        ]
        tried.append(("chains", similarity_min, _chains))
        for linkage, least, cluster in tried:
            labels = cluster(vectors, least)
            rows.append(
                ClusterRow(
                    kind,
                    linkage,
                    least,
                    len(labels),
                    len(np.unique(person)),
                    len(np.unique(labels)),
                    score_clusters(labels, person),
                    _interval(labels, person, names, rng, resamples),
                )
            )
    return rows


def of_videos(
    people: Mapping[str, Sequence[Shot]], faces: ExtractedFaces, *, mean: bool
) -> tuple[F32, list[str], list[int]]:
    """(V, dim) unit vectors, whose they are, and of how many frames each is the mean.

    Raises InputBrokenError where no video has a face.
    """
    vectors: list[F32] = []
    names: list[str] = []
    frames: list[int] = []
    for person, videos in videos_of(people, faces.vectors, faces.row_of).items():
        for rows in filter(None, videos):
            used = rows if mean else rows[:1]
            own = faces.vectors[used].mean(axis=0)
            vectors.append(np.asarray(own / np.linalg.norm(own), np.float32))
            names.append(person)
            frames.append(len(used))
    if not vectors:
        raise InputBrokenError("no video has a face")
    return np.stack(vectors), names, frames


def table(rows: Sequence[ClusterRow]) -> str:
    """As Markdown."""
    header = ["faces", "clusters by", "similarity_min", "clusters (people)", "BCubed precision"]
    header += ["recall", "F", "pairwise precision", "recall"]
    return report.table(
        header,
        [
            [
                f"{row.faces}, {row.kind}",
                row.linkage,
                f"{row.similarity_min:.3f}",
                f"{row.clusters} ({row.people})",
                f"{100 * row.score.bcubed_precision:.1f} %",
                f"{100 * row.score.bcubed_recall:.1f} %",
                report.with_interval(row.score.bcubed_f, row.interval, 1),
                f"{100 * row.score.pair_precision:.1f} %",
                f"{100 * row.score.pair_recall:.1f} %",
            ]
            for row in rows
        ],
    )


def as_json(
    rows: Sequence[ClusterRow], faces: ExtractedFaces, method: Mapping[str, object]
) -> dict[str, Any]:
    """Every figure under its key."""
    return {
        "kind": "clusters",
        "level": 0.95,
        "clusterings": [row.as_json() for row in rows],
        **faces.facts(),
        "method": dict(method),
        "rules": list(RULES),
    }


def markdown(rows: Sequence[ClusterRow], method: Mapping[str, object], title: str) -> str:
    """The report a person reads."""
    return report.page(title, table(rows), report.method_and_rules(method, RULES))


def _chains(vectors: F32, similarity_min: float) -> I64:
    """Faces that are alike, directly or through others (single linkage)."""
    label = np.arange(len(vectors))
    for row, col in np.argwhere(np.triu(vectors @ vectors.T >= similarity_min, 1)):
        if label[row] != label[col]:
            label[label == label[col]] = label[row]
    return np.asarray(label, np.int64)


def _bcubed(labels: I64, person: I64) -> tuple[F64, F64]:
    """(N,) precision and (N,) recall of each face."""
    together, same = labels[:, None] == labels, person[:, None] == person
    both = (together & same).sum(axis=1)
    return both / together.sum(axis=1), both / same.sum(axis=1)


def _interval(
    labels: I64, person: I64, names: Sequence[str], rng: np.random.Generator, resamples: int
) -> Interval | None:
    """Of F; the clusters stay as they are, the people whose faces count are drawn."""
    if not resamples:
        return None
    precision, recall = _bcubed(labels, person)

    def statistic(rows: I64) -> float:
        return _harmonic(float(precision[rows].mean()), float(recall[rows].mean()))

    return bootstrap(statistic, draw_groups(names), rng, resamples=resamples)


def _pairs(labels: I64) -> int:
    """How many pairs have equal labels."""
    counts = np.unique(labels, return_counts=True)[1]
    return int((counts * (counts - 1) // 2).sum())


def _harmonic(one: float, other: float) -> float:
    return 2 * one * other / (one + other) if one + other else 0.0
