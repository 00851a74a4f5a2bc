"""Are people who are not enrolled known again, and nobody taken for another?

Nobody is enrolled. The videos of all people come one after the other, in drawn orders, as visits do
at a camera; each gives one face, the mean of its frames, and is asked and remembered by the rule of
`unknown.remember`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jetson_face.config import Config
from jetson_face.core.types import F32, I64, Embeddings
from jetson_face.evaluation import report
from jetson_face.evaluation.bootstrap import Interval, draw_groups, intervals_of
from jetson_face.evaluation.clusters import of_videos
from jetson_face.evaluation.extract import ExtractedFaces
from jetson_face.evaluation.method import Method
from jetson_face.evaluation.metrics import F64, or_none
from jetson_face.evaluation.people import Shot
from jetson_face.factory.threshold import unknown_thresholds
from jetson_face.gallery.matcher import GallerySnapshot, Thresholds
from jetson_face.recognition.known_again import Bounds, seen_before
from jetson_face.review.unknowns import FACES_MAX

ORDERS = 20
RULES = (
    "A new person's first video is taken for another's where it gets an id that is there already.",
    "A later video is known again where it gets an id that this person's video began, wrong where "
    "another person's did, and new where it gets none.",
    "Shares are means over the drawn orders. Intervals: percentile bootstrap over people.",
)


@dataclass(frozen=True, slots=True)
class KnownAgain:
    """Shares of 1, None where no video was asked for. people, videos: how many came. remembered:
    ids at the end, mean over orders. Intervals: None without resamples."""

    people: int
    videos: int
    remembered: float
    new_taken_for_another: float | None
    new_interval: Interval | None
    known_again: float | None
    known_interval: Interval | None
    wrong: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Visits:
    """Videos in the order of their people. faces: (V, dim), the mean of each. names: whose; frames:
    of how many each is the mean."""

    faces: Embeddings
    names: Sequence[str]
    frames: Sequence[int]


def measure_videos(
    people: Mapping[str, Sequence[Shot]],
    faces: ExtractedFaces,
    config: Config,
    method: Method,
    rng: np.random.Generator,
    *,
    resamples: int,
) -> KnownAgain:
    """Of people's videos, at `unknown.fpir`. Raises InputBrokenError where no video has a face."""
    nobody = GallerySnapshot.empty(method.space)
    vectors, names, frames = of_videos(people, faces, mean=True)
    visits = Visits(Embeddings(vectors, method.space), names, frames)

    def bounds(found: GallerySnapshot) -> Thresholds:
        return unknown_thresholds(config, config, nobody, found, method.same_person_min)

    return measure_known_again(visits, bounds, config.matching.top_k, rng, resamples=resamples)


def measure_known_again(
    visits: Visits,
    bounds: Bounds,
    top_k: int,
    rng: np.random.Generator,
    *,
    resamples: int = 500,
) -> KnownAgain:
    """See the module."""
    found = []
    remembered = []
    for _ in range(ORDERS):
        asked, ids = _one_order(visits, bounds, top_k, rng)
        found += asked
        remembered.append(ids)
    draw, every = draw_groups([who for who, *_ in found]), np.arange(len(found))
    new, known, wrong = (_share(np.array(part)) for part in list(zip(*found, strict=True))[1:])
    intervals = intervals_of({"new": new, "known": known}, draw, rng, resamples)
    return KnownAgain(
        len(set(visits.names)),
        len(visits.names),
        float(np.mean(remembered)),
        or_none(new, every),
        intervals.get("new"),
        or_none(known, every),
        intervals.get("known"),
        or_none(wrong, every),
    )


def _share(values: F64) -> Callable[[I64], float]:
    """The mean of what is a number in the rows drawn."""

    def mean(rows: I64) -> float:
        asked = values[rows][~np.isnan(values[rows])]
        if not len(asked):
            raise ValueError("no video to ask")
        return float(asked.mean())

    return mean


def _one_order(
    visits: Visits, bounds: Bounds, top_k: int, rng: np.random.Generator
) -> tuple[list[tuple[str, float, float, float]], int]:
    """Per video: whose, (first) taken for another, (later) known again, (later) taken for another;
    not a number where it was not asked. And how many ids there are in the end."""
    kept: dict[str, list[F32]] = {}
    began: dict[str, str] = {}
    came: set[str] = set()
    found = []
    for row in rng.permutation(len(visits.names)):
        who = visits.names[row]
        face = Embeddings(visits.faces.vectors[row : row + 1], visits.faces.space)
        got = seen_before(face, visits.frames[row], kept, bounds, top_k=top_k)
        taken = got is not None and began[got] != who
        if who in came:
            found.append((who, np.nan, float(got is not None and not taken), float(taken)))
        else:
            found.append((who, float(taken), np.nan, np.nan))
        came.add(who)
        if got is None:
            got = str(len(kept))
            began[got] = who
        kept[got] = [*kept.get(got, []), face.vectors[0]][-FACES_MAX:]
    return found, len(kept)


def table(row: KnownAgain) -> str:
    """As Markdown."""
    return report.table(
        ["videos (people)", "ids at the end", "new, taken for another", "known again", "wrong"],
        [
            [
                f"{row.videos} ({row.people})",
                f"{row.remembered:.0f}",
                report.with_interval(row.new_taken_for_another, row.new_interval),
                report.with_interval(row.known_again, row.known_interval, 1),
                report.percent(row.wrong, 1),
            ]
        ],
    )


def markdown(row: KnownAgain) -> str:
    """As a part of a page."""
    return f"\n## Known again\n\n{table(row)}\n\n{report.bullets(RULES)}\n"
