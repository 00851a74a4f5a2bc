"""The search: the finest settings that meet the goal, with as few measurements as it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from jetson_face.util.rounding import away

NET_FACE_PX = 12
"""A shrunk face smaller than this cannot be found by a search net: such settings are not tried."""
EVERY = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30)
SIZES = (1920, 1280, 960, 640, 480, 320)
MIN_FACE_STEPS = (1.0, 1.25, 1.5, 2.0)


@dataclass(frozen=True, slots=True)
class Goal:
    """What must hold at the camera's own rate; None: no such wish.

    decision_fps_min: frames decided per second. age_ms_max: 95th percentile from capture to
    decision. cpu_max: share of all cores, [0, 1]. time_to_name_max_s: median over the people of a
    labelled clip. wait_max_s: the longest that a face which comes into view waits for a search.
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

    def __str__(self) -> str:
        size = "full size" if self.size is None else f"size {self.size}"
        return f"faces from {self.min_face_px} px, {size}, sampling 1 in {self.every}"


@dataclass(frozen=True, slots=True)
class Trial:
    """What a setting gave, as a camera of the clip's rate would see it."""

    choice: Choice
    decision_fps: float
    age_ms: float
    cpu: float
    time_to_name_s: float | None = None
    named: float | None = None


@dataclass(frozen=True, slots=True)
class Space:
    """All that may be tried. details: (min_face_px, size), finest first."""

    details: tuple[tuple[int, int | None], ...]
    every: tuple[int, ...]


@dataclass(slots=True)
class Outcome:
    """best: what to set, None where nothing meets the goal. why: the way there, line by line."""

    best: Trial | None = None
    trials: list[Trial] = field(default_factory=list)
    why: list[str] = field(default_factory=list)


def space_of(
    frame: tuple[int, int],
    fps: float,
    goal: Goal,
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
    faces = [min_face_px] if fixed_min_face else [round(min_face_px * s) for s in MIN_FACE_STEPS]
    details: list[tuple[int, int | None]] = []
    for face in dict.fromkeys(faces):
        details.append((face, None))
        details += [
            (face, size)
            for size in sorted(sizes, reverse=True)
            if size < longest and face * size / longest >= NET_FACE_PX
        ]
    most = max(1, math.floor(goal.wait_max_s * fps))
    return Space(tuple(details), tuple(every for every in EVERY if every <= most))


def misses(goal: Goal, trial: Trial) -> list[str]:
    """The goals of speed that a trial does not meet, in words."""
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


def names_late(goal: Goal, trial: Trial) -> str | None:
    """How a trial misses the time to a name, in words; None where it does not."""
    limit = goal.time_to_name_max_s
    if limit is None or trial.time_to_name_s is None or trial.time_to_name_s <= limit:
        return None
    took = trial.time_to_name_s
    said = "half of the people never named"
    if math.isfinite(took):
        said = f"named after {away(took, limit, 2)} s"
    return f"{said}, {limit:g} s wanted"


def search(goal: Goal, space: Space, measure: Callable[[Choice], Trial]) -> Outcome:
    """The first detail, finest first, at which some sampling rate meets every goal.

    For each detail the most seldom search is tried first, since it is the cheapest: when that is
    too slow, so are all others. Otherwise the most frequent search that is fast enough is found by
    bisection.
    """
    outcome = Outcome()
    for face, size in space.details:
        outcome.best = _at_detail(goal, space.every, face, size, measure, outcome)
        if outcome.best is not None:
            return outcome
    outcome.why.append("nothing that was tried meets the goal: ask for less, or use more hardware")
    return outcome


def _at_detail(
    goal: Goal,
    rates: Sequence[int],
    face: int,
    size: int | None,
    measure: Callable[[Choice], Trial],
    outcome: Outcome,
) -> Trial | None:
    def attempt(every: int) -> Trial:
        trial = measure(Choice(every, size, face))
        outcome.trials.append(trial)
        return trial

    trial = attempt(rates[-1])
    failed = misses(goal, trial)
    if failed:
        outcome.why.append(f"{trial.choice}: {'; '.join(failed)}: too slow at any sampling")
        return None
    good, low, high = trial, 0, len(rates) - 1
    while low < high:
        middle = (low + high) // 2
        trial = attempt(rates[middle])
        failed = misses(goal, trial)
        if failed:
            outcome.why.append(f"{trial.choice}: {'; '.join(failed)}")
            low = middle + 1
        else:
            good, high = trial, middle
    late = names_late(goal, good)
    if late is not None:
        outcome.why.append(f"{good.choice}: fast enough, but {late}")
        return None
    outcome.why.append(f"{good.choice}: meets the goal; nothing finer that was tried does")
    return good
