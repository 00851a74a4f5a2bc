"""What averaging over frames gains: the same question asked with 1, 3, 10 and 30 frames.

Every probe frame is one trial. With N frames a trial has that frame and the next N - 1 of the
same person: those of its own video first, then those of the person's other probe videos, so that
short videos can be asked about 10 frames too. All strategies and all N see the same trials, and a
gain is measured trial by trial against the single frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jetson_face.calibration.leave_one_out import Enrol
from jetson_face.core.types import F32, I64, Embeddings
from jetson_face.evaluation import openset as o
from jetson_face.evaluation.bootstrap import Interval, Statistic, draw_groups, intervals_of
from jetson_face.evaluation.extract import ExtractedFaces
from jetson_face.evaluation.identification import ground_truth_of, templates_of
from jetson_face.evaluation.method import snapshot_of
from jetson_face.evaluation.metrics import or_none
from jetson_face.evaluation.people import Division, Shot
from jetson_face.recognition.fusion import Fuser, Scorer, Strategy

FRAMES = (1, 3, 10, 30)
FPIR = 1e-2
STRATEGIES: Mapping[str, tuple[Strategy, bool]] = {
    # name: (how the product fuses, weighted by face quality)
    "score_mean": ("score_mean", False),
    "vote": ("vote", False),
    "embedding_mean": ("embedding_mean", False),
    "quality_weighted": ("embedding_mean", True),
}

RULES = (
    "A trial is a probe frame and the frames after it: of its own video first, then of the "
    "person's other probe videos. Frames without a face add nothing; a trial without any is a "
    "miss.",
    "One video a person is enrolled; probes are frames of the other videos; strangers are people "
    "of whom nothing is enrolled.",
    "A gain is the difference to one frame on the same trials; its interval resamples people, and "
    "sets the threshold again in every resample.",
)


@dataclass(frozen=True, slots=True, eq=False)
class Averaged:
    """One strategy with one number of frames. used: mean frames with a face in a trial.

    intervals: of `rank1`, `dir`, `rank1_gain` and `dir_gain`, where they can be shown.
    """

    strategy: str
    frames: int
    used: float
    rank1: float
    dir: float | None
    intervals: Mapping[str, Interval | None]

    def as_json(self) -> dict[str, Any]:
        """Its figures."""
        return {
            "strategy": self.strategy,
            "frames": self.frames,
            "frames_used_mean": self.used,
            "rank1": self.rank1,
            "rank1_interval": self.intervals.get("rank1"),
            "rank1_gain_interval": self.intervals.get("rank1_gain"),
            f"dir_at_fpir_{FPIR:g}": self.dir,
            f"dir_at_fpir_{FPIR:g}_interval": self.intervals.get("dir"),
            f"dir_at_fpir_{FPIR:g}_gain_interval": self.intervals.get("dir_gain"),
        }


def trials_of(shots: Sequence[Shot], frames: int) -> list[tuple[int, ...]]:
    """For every shot the rows (into `shots`) of the frames that its trial has, itself first."""
    by_person: dict[str, list[int]] = {}
    for row, shot in enumerate(shots):
        by_person.setdefault(shot.person, []).append(row)
    trials: list[tuple[int, ...]] = []
    for row, shot in enumerate(shots):
        rows = by_person[shot.person]
        at = rows.index(row)
        later = rows[at:] + rows[:at]
        own = [r for r in later if shots[r].session == shot.session]
        others = [r for r in later if shots[r].session != shot.session]
        trials.append(tuple((own + others)[:frames]))
    return trials


def average_over_frames(
    division: Division,
    faces: ExtractedFaces,
    enrol: Enrol,
    *,
    rng: np.random.Generator,
    frames: Sequence[int] = FRAMES,
    resamples: int = 500,
) -> list[Averaged]:
    """Every strategy with every number of frames; the single frame first, as strategy `frame`.

    Stops at the first number of frames that no trial can fill further. Raises ValueError where no
    enrolled picture has a face.
    """
    snapshot = snapshot_of(faces.space, templates_of(division.enrolled, faces))
    if not snapshot.people:
        raise ValueError("no enrolled picture has a face")
    matcher = enrol(snapshot)
    people = tuple(person.name for person in snapshot.people)
    ground_truth = ground_truth_of(division, people)
    shots = (*division.probes, *division.strangers)
    groups = [shot.person for shot in shots]
    rows = faces.rows([shot.name for shot in shots])
    vectors, quality = faces.vectors[rows], faces.quality[rows]
    single = _asked(
        trials_of(shots, 1), vectors, quality, faces, matcher, people, ground_truth, "vote"
    )
    out = [_measured("frame", 1, 1.0, single, single, groups, rng, resamples)]
    fullest = 1
    for count in sorted(set(frames) - {1}):
        trials = trials_of(shots, count)
        if max(map(len, trials)) <= fullest:
            break
        fullest = max(map(len, trials))
        used = float(np.mean([np.isfinite(quality[list(trial)]).sum() for trial in trials]))
        for name in STRATEGIES:
            ranked = _asked(trials, vectors, quality, faces, matcher, people, ground_truth, name)
            out.append(_measured(name, count, used, ranked, single, groups, rng, resamples))
    return out


def _asked(
    trials: Sequence[tuple[int, ...]],
    vectors: F32,
    quality: F32,
    faces: ExtractedFaces,
    matcher: Scorer,
    people: Sequence[str],
    ground_truth: I64,
    strategy: str,
) -> o.Ranked:
    """The product's own fuser, a track a trial."""
    how, weighted = STRATEGIES[strategy]
    column = {person: at for at, person in enumerate(people)}
    top = np.full(len(trials), np.nan)
    best = np.full(len(trials), -1, np.int64)
    for at, trial in enumerate(trials):
        there = [row for row in trial if np.isfinite(quality[row])]
        if not there:
            continue
        fuser = Fuser(
            faces.space,
            strategy=how,
            memory=float(len(trial)),
            window=len(trial),
        )
        weights = quality[there] if weighted else np.ones(len(there), np.float32)
        track = np.zeros(len(there), np.int64)
        fuser.add(track, Embeddings(vectors[there], faces.space), weights)
        match = fuser.match(track[:1], matcher)[0]
        if match.person is not None:
            top[at], best[at] = match.similarity, column[match.person.id]
    return o.Ranked(top, best, ground_truth)


def _measured(
    name: str,
    frames: int,
    used: float,
    ranked: o.Ranked,
    single: o.Ranked,
    groups: Sequence[str],
    rng: np.random.Generator,
    resamples: int,
) -> Averaged:
    def gain(rows: I64, figure: Callable[[o.Ranked], float]) -> float:
        return figure(ranked[rows]) - figure(single[rows])

    direct = or_none(_dir, ranked)
    statistics: dict[str, Statistic] = {"rank1": lambda rows: o.rank1(ranked[rows])}
    if direct is not None:
        statistics["dir"] = lambda rows: _dir(ranked[rows])
    if frames > 1:
        statistics["rank1_gain"] = lambda rows: gain(rows, o.rank1)
    if frames > 1 and direct is not None:
        statistics["dir_gain"] = lambda rows: gain(rows, _dir)
    intervals = intervals_of(statistics, draw_groups(groups), rng, resamples)
    return Averaged(name, frames, used, o.rank1(ranked), direct, intervals)


def _dir(ranked: o.Ranked) -> float:
    return o.dir_share(ranked, FPIR)
