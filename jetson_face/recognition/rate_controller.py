"""Adapts the sampling rate while the program runs: a pure decision with its explanation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from jetson_face.util.rounding import away

HEADROOM = 0.75
"""Searching more often is tried only while every figure is below this share of its limit."""
TOLERANCE = 1.03
"""A goal counts as missed beyond 3 %: so much is the meter's own jitter."""
CAPTURE_SHARE = 0.95
"""No goal asks for more decisions than this share of the frames that the camera gives."""
SEARCH_SHARE_MIN = 0.1
"""With less of the work being searches, searching less often cannot fix a missed goal."""
_BACKOFF_MAX = 64
_SAY_AGAIN_NS = 600_000_000_000


@dataclass(frozen=True, slots=True)
class RateGoal:
    """What must hold; None: no such wish. decision_fps_min: frames decided per second.
    age_ms_max: 95th percentile from capture to decision. cpu_max: share of all cores, [0, 1]."""

    decision_fps_min: float | None = None
    age_ms_max: float | None = None
    cpu_max: float | None = None

    def __post_init__(self) -> None:
        wishes = (self.decision_fps_min, self.age_ms_max, self.cpu_max)
        if all(wish is None for wish in wishes):
            raise ValueError("a goal needs at least one of decision rate, frame age and CPU")
        if any(wish is not None and not wish > 0 for wish in wishes):
            raise ValueError(f"goals are above 0, got {wishes}")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Sampling rates that may be chosen, one frame in `least` to one in `most`."""

    least: int = 1
    most: int = 30

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError(f"sampling bounds need 1 <= least <= most, got {self}")


@dataclass(frozen=True, slots=True)
class RateMeasurement:
    """The last few seconds; None where it could not be measured.

    busy: share of the time in which the recogniser worked, [0, 1]: what it did not use is room.
    search_share: share of that work which was searching, the only part that a governor can lower.
    """

    decision_fps: float
    capture_fps: float | None = None
    busy: float | None = None
    search_share: float | None = None
    age_ms: float | None = None
    cpu: float | None = None


@dataclass(frozen=True, slots=True)
class IntervalChange:
    """What to set, and why, in one line for the log. every None: nothing more can be done."""

    every: int | None
    why: str


@dataclass(frozen=True, slots=True)
class _Strain:
    """How near a figure is to its limit: 1 is at the limit, more is a goal missed."""

    ratio: float
    text: str


class Governor:
    """Searches as often as the goal allows.

    A missed goal lowers the search frequency at once, by as much as it is missed. Headroom raises
    it by one step, after it has lasted `calm_updates` updates. When a step up is followed by a
    miss, the next one waits twice as long, so that the rate does not swing about a limit.

    cooldown_ns: no change for so long after one, since old frames are still in the figures.
    """

    def __init__(
        self,
        goal: RateGoal,
        bounds: Bounds,
        every: int,
        *,
        cooldown_ns: int = 4_000_000_000,
        calm_updates: int = 3,
    ) -> None:
        self._goal = goal
        self._bounds = bounds
        self._every = min(max(every, bounds.least), bounds.most)
        self._cooldown_ns = cooldown_ns
        self._calm_wanted = calm_updates
        self._calm = 0
        self._backoff = 1
        self._changed_ns: int | None = None
        self._stepped_up = False
        self._said_ns: int | None = None

    @property
    def every(self) -> int:
        """The sampling rate that holds now: one frame in so many is searched."""
        return self._every

    def update(self, measured: RateMeasurement, now_ns: int) -> IntervalChange | None:
        """What to change, given the last seconds; None: nothing. now_ns: monotonic."""
        if self._changed_ns is not None and now_ns - self._changed_ns < self._cooldown_ns:
            return None
        strains = self._strains(measured)
        if not strains:
            return None
        worst = max(strains, key=lambda strain: strain.ratio)
        if worst.ratio > TOLERANCE:
            return self._relieve(worst, measured, now_ns)
        self._calm = self._calm + 1 if worst.ratio < HEADROOM else 0
        if self._calm >= self._calm_wanted * self._backoff and self._every > self._bounds.least:
            return self._set(self._every - 1, now_ns, f"there is room: {worst.text}", up=True)
        return None

    def _relieve(
        self, worst: _Strain, measured: RateMeasurement, now_ns: int
    ) -> IntervalChange | None:
        self._calm = 0
        if self._stepped_up:
            self._backoff = min(2 * self._backoff, _BACKOFF_MAX)
        share = measured.search_share
        if share is not None and share < SEARCH_SHARE_MIN:
            return self._say(
                f"goal missed: {worst.text}, but searching is only {100 * share:.0f} % of the "
                "work: lower fusion.max_per_frame, raise fusion.embed_interval, or choose a "
                "faster embedder",
                now_ns,
            )
        if self._every >= self._bounds.most:
            return self._say(
                f"goal missed: {worst.text}, and the sampling rate is at its bound, "
                f"1 in {self._every}: lower detector.max_side_px, raise detector.min_face_px, "
                "or run `jetson-face tune`",
                now_ns,
            )
        wanted = math.ceil(self._every * min(worst.ratio, 2.0))
        every = min(wanted, self._bounds.most)
        return self._set(every, now_ns, f"goal missed: {worst.text}", up=False)

    def _say(self, why: str, now_ns: int) -> IntervalChange | None:
        """What cannot be fixed is said, but not every few seconds."""
        if self._said_ns is not None and now_ns - self._said_ns < _SAY_AGAIN_NS:
            return None
        self._said_ns = now_ns
        return IntervalChange(None, why)

    def _set(self, every: int, now_ns: int, why: str, *, up: bool) -> IntervalChange:
        before, self._every = self._every, every
        self._changed_ns, self._stepped_up, self._calm = now_ns, up, 0
        return IntervalChange(every, f"sampling 1 in {before} -> 1 in {every}: {why}")

    def _strains(self, measured: RateMeasurement) -> list[_Strain]:
        goal, found = self._goal, []
        if goal.decision_fps_min is not None:
            wanted = goal.decision_fps_min
            if measured.capture_fps is not None:
                wanted = min(wanted, CAPTURE_SHARE * measured.capture_fps)
            if wanted > 0:
                found.append(_rate_strain(measured, wanted))
        if goal.age_ms_max is not None and measured.age_ms is not None:
            age = away(measured.age_ms, goal.age_ms_max)
            text = f"frame age p95 {age} ms, at most {goal.age_ms_max:.10g} wanted"
            found.append(_Strain(measured.age_ms / goal.age_ms_max, text))
        if goal.cpu_max is not None and measured.cpu is not None:
            cpu = away(100 * measured.cpu, 100 * goal.cpu_max)
            text = f"CPU {cpu} %, at most {100 * goal.cpu_max:.3g} % wanted"
            found.append(_Strain(measured.cpu / goal.cpu_max, text))
        return found


def _rate_strain(measured: RateMeasurement, wanted: float) -> _Strain:
    """A machine that waits for its camera half of the time could decide twice as much.

    Only while it keeps up, though: idle time between slow searches cannot be saved up for them.
    """
    rate, busy = measured.decision_fps, measured.busy
    text = f"decision rate {away(rate, wanted, 1)}/s, at least {wanted:.1f} wanted"
    keeps_up = measured.capture_fps is not None and rate >= CAPTURE_SHARE * measured.capture_fps
    if busy is None or not keeps_up:
        return _Strain(wanted / rate if rate > 0 else math.inf, text)
    possible = rate / max(busy, 0.01)
    return _Strain(wanted / possible, f"{text}, {possible:.1f} possible")
