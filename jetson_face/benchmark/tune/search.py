"""The search: at the finest detail at which the goal can be met, the sampling rate that meets it
for the least processor time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jetson_face.util.rounding import away

NET_FACE_PX = 12
"""A shrunk face smaller than this cannot be found by a search net: such settings are not tried."""
EVERY = (1, 2, 3, 5, 8, 12, 20, 30)
"""Sampling rates that are tried: each costs about two thirds of the searches of the one before."""
SIZES = (1920, 1280, 960, 640, 480, 320)
MIN_FACE_STEPS, MIN_FACE_MAX = (1.0, 1.25, 1.5, 2.0), 2000
FACES_MIN = 0.95
"""A sampling rate at which fewer than this share of the faces are found that another one finds (at
the same detail) loses faces: to save processor time with it would be no saving."""
CPU_TIE = 0.01
"""Of all cores. Nobody notices so little, and measurements differ by as much: of two such the more
frequent search is taken."""
WAIT_SLACK = 1.05
"""A camera's rate is seldom a round number."""


@dataclass(frozen=True, slots=True)
class TuneGoal:
    """What must hold at the camera's own rate; None: no such wish.

    decision_fps_min: frames decided per second. age_ms_max: 95th percentile from capture to
    decision. cpu_max: share of all cores, [0, 1]. time_to_name_max_s: median over the people of a
    labelled clip. wait_max_s: the longest that a face which comes into view waits for a search,
    and so the one that says how often is often enough.
    """

    decision_fps_min: float | None = None
    age_ms_max: float | None = None
    cpu_max: float | None = None
    time_to_name_max_s: float | None = None
    wait_max_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Choice:
    """One setting. size: longest side searched, pixels, None for the full frame. min_face_px:
    smallest face looked for, pixels of the frame."""

    every: int
    size: int | None
    min_face_px: int

    @property
    def detail(self) -> str:
        """What is looked for, in words."""
        size = "full size" if self.size is None else f"size {self.size}"
        return f"faces from {self.min_face_px} px, {size}"

    def __str__(self) -> str:
        return f"{self.detail}, sampling 1 in {self.every}"


@dataclass(frozen=True, slots=True)
class TuneTrial:
    """What a setting gave, as a camera of the clip's rate would see it. faces: found on a frame;
    with labels the share of the real ones."""

    choice: Choice
    decision_fps: float
    age_ms: float
    cpu: float
    faces: float = 0.0
    time_to_name_s: float | None = None
    named: float | None = None

    @property
    def wait_s(self) -> float:
        """The longest that a face which comes into view waits for a search."""
        return self.choice.every / self.decision_fps if self.decision_fps > 0 else math.inf


@dataclass(frozen=True, slots=True)
class Space:
    """All that may be tried. details: (min_face_px, size), finest first."""

    details: tuple[tuple[int, int | None], ...]
    every: tuple[int, ...]


@dataclass(slots=True)
class TuneOutcome:
    """best: what to set, None where nothing meets the goal. trials: all that was measured, and in
    `verdicts`, in the same order, what is wrong with each; nothing where it meets the goal. why:
    what decided, line by line."""

    best: TuneTrial | None = None
    trials: list[TuneTrial] = field(default_factory=list)
    verdicts: list[list[str]] = field(default_factory=list)
    why: list[str] = field(default_factory=list)


def space_of(
    frame: tuple[int, int],
    fps: float,
    goal: TuneGoal,
    *,
    min_face_px: int,
    fixed_min_face: bool = False,
    sizes: Sequence[int] = SIZES,
) -> Space:
    """What makes sense for frames of this size (width, height) and rate.

    Smaller faces come before larger pictures: a face that is not looked for is never found, while
    shrinking costs detail only.
    """
    longest = max(frame)
    steps = (1.0,) if fixed_min_face else MIN_FACE_STEPS
    faces = [min(round(min_face_px * step), MIN_FACE_MAX) for step in steps]
    details: list[tuple[int, int | None]] = []
    for face in dict.fromkeys(faces):
        details.append((face, None))
        details += [
            (face, size)
            for size in sorted(sizes, reverse=True)
            if size < longest and face * size / longest >= NET_FACE_PX
        ]
    most = max(1, math.floor(goal.wait_max_s * fps))
    seldom = min(most, EVERY[-1])
    return Space(tuple(details), (*(every for every in EVERY if every < seldom), seldom))


def slow(goal: TuneGoal, trial: TuneTrial) -> list[str]:
    """The goals that a trial does not meet, and a more frequent search still less, in words."""
    found = []
    if goal.decision_fps_min is not None and trial.decision_fps < goal.decision_fps_min:
        rate = away(trial.decision_fps, goal.decision_fps_min, 1)
        found.append(f"decides {rate}/s, {goal.decision_fps_min:g} wanted")
    if goal.age_ms_max is not None and trial.age_ms > goal.age_ms_max:
        age = away(trial.age_ms, goal.age_ms_max)
        found.append(f"frame age p95 {age} ms, {goal.age_ms_max:.10g} wanted")
    if goal.cpu_max is not None and trial.cpu > goal.cpu_max:
        cpu = away(100 * trial.cpu, 100 * goal.cpu_max)
        found.append(f"CPU {cpu} %, {100 * goal.cpu_max:.3g} % wanted")
    return found


def late(goal: TuneGoal, trial: TuneTrial) -> list[str]:
    """The goals that a trial does not meet, and a more seldom search still less, in words."""
    found = []
    if trial.wait_s > WAIT_SLACK * goal.wait_max_s:
        found.append(f"a new face waits {trial.wait_s:.2f} s, {goal.wait_max_s:.2f} s wanted")
    limit, took = goal.time_to_name_max_s, trial.time_to_name_s
    if limit is not None and took is not None and not took <= limit:
        said = "half are never named"
        if math.isfinite(took):
            said = f"named after {away(took, limit, 2)} s"
        found.append(f"{said}, {limit:g} s wanted")
    return found


def search(goal: TuneGoal, space: Space, measure: Callable[[Choice], TuneTrial]) -> TuneOutcome:
    """What to set.

    Detail comes first: the finest at which some sampling rate meets every goal. There the most
    seldom search is tried first, since it is the cheapest, then ever more frequent ones until one
    is too slow. Of those that meet the goals and lose no faces, the one that takes the least
    processor time is the best: everything else that was asked for, it does.
    """
    outcome = TuneOutcome()
    for given_up, (face, size) in enumerate(space.details):
        begun = len(outcome.trials)
        for every in reversed(space.every):
            trial = measure(Choice(every, size, face))
            failed = slow(goal, trial)
            outcome.trials.append(trial)
            outcome.verdicts.append(failed or late(goal, trial))
            if failed:
                break
        outcome.best = _best_of(outcome, begun)
        if outcome.best is not None:
            if given_up:
                tried = f"in more detail ({given_up} tried)"
                outcome.why.insert(0, f"{tried} no sampling rate meets the goal")
            return outcome
    outcome.why.append("nothing that was tried meets the goal: ask for less, or use more hardware")
    return outcome


def _best_of(outcome: TuneOutcome, begun: int) -> TuneTrial | None:
    """The best of the trials at one detail, those from `begun` on, and why."""
    trials, verdicts = outcome.trials[begun:], outcome.verdicts[begun:]
    most = max(trial.faces for trial in trials)
    for trial, verdict in zip(trials, verdicts, strict=True):
        if trial.faces < FACES_MIN * most:
            verdict.append(f"finds {100 * trial.faces / most:.0f} % of the faces")
    met = [t for t, verdict in zip(trials, verdicts, strict=True) if not verdict]
    if not met:
        return None
    least = min(trial.cpu for trial in met)
    best = min((t for t in met if t.cpu <= least + CPU_TIE), key=lambda t: t.choice.every)
    said = f"{best.choice}: meets the goal with {_costs(best)}"
    if len(met) > 1:
        said += f"; of the {len(met)} sampling rates that meet it, the least processor time"
    outcome.why.append(said)
    finest = min(met, key=lambda trial: trial.choice.every)
    if finest is not best:
        outcome.why.append(
            f"sampling 1 in {finest.choice.every} meets it, too, with {_costs(finest)}: to have "
            f"new faces found so soon, ask for it with --wait {finest.wait_s:.2g}"
        )
    return best


def _costs(trial: TuneTrial) -> str:
    return f"CPU {100 * trial.cpu:.0f} %; a new face waits {trial.wait_s:.2g} s"
