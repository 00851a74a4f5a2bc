"""What changed between two results beyond the noise of their repeats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from jetson_face.benchmark.result import BenchSetting, Point, Result, aligned, number
from jetson_face.util.machine import facts_that_differ

Better: TypeAlias = Literal["higher", "lower"]

WATCHED: dict[str, Better] = {
    "decision_fps": "higher",
    "detection_fps": "higher",
    "recognition_fps": "higher",
    "frame_ms_p95": "lower",
    "age_ms_p95": "lower",
    "cpu_ms_per_frame": "lower",
    "peak_mb": "lower",
    "efficiency": "higher",
    "found": "higher",
    "named": "higher",
    "false_names": "lower",
    "time_to_name_s": "lower",
}
"""The figures that are compared, and which way is better."""

FLOOR = 0.02
"""Changes below 2 % are nobody's business, however small the noise."""
FLOOR_UNREPEATED = 0.10
"""With a single run there is no noise to be seen: this much is assumed."""


@dataclass(frozen=True, slots=True)
class FigureChange:
    """One figure of one setting that moved beyond the noise.

    percent: of the old median, positive for larger; infinite from 0, or to and from `never`.
    noise_percent: what the repeats' own scatter explains. better: it moved the good way.
    """

    setting: BenchSetting
    figure: str
    old: float
    new: float
    percent: float
    noise_percent: float
    better: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """changes: beyond the noise, in the order of the old result. missing: settings that only one
    of the two has. machine: facts that differ, so that speed may have changed by itself."""

    changes: tuple[FigureChange, ...]
    compared: int
    missing: tuple[str, ...]
    machine: tuple[str, ...]

    def slower(self, percent: float) -> tuple[FigureChange, ...]:
        """The settings whose decision rate fell by more than `percent`, beyond the noise."""
        return tuple(
            change
            for change in self.changes
            if change.figure == "decision_fps" and -change.percent > percent
        )


def compare(old: Result, new: Result) -> Comparison:
    """Match the settings of two results and judge each watched figure."""
    before = {point.setting: point for point in old.points}
    after = {point.setting: point for point in new.points}
    changes = [
        change
        for setting, point in before.items()
        if setting in after
        for figure in WATCHED
        if (change := judge(figure, point, after[setting])) is not None
    ]
    only_old = [f"only in the first: {setting}" for setting in before if setting not in after]
    only_new = [f"only in the second: {setting}" for setting in after if setting not in before]
    return Comparison(
        tuple(changes),
        sum(setting in after for setting in before),
        (*only_old, *only_new),
        tuple(facts_that_differ(old.machine, new.machine)),
    )


def judge(figure: str, old: Point, new: Point) -> FigureChange | None:
    """The change of one figure, None when it is within the noise or missing.

    A change counts when the ranges of the repeats do not overlap and the medians differ by more
    than `FLOOR`. With one run on a side `FLOOR_UNREPEATED` takes the place of the missing range,
    except for figures that do not depend on the clock.
    """
    a, b = old.values(figure), new.values(figure)
    if not a or not b:
        return None
    before, after = old.median(figure), new.median(figure)
    if before is None or after is None or before == after:
        return None
    if min(a) <= max(b) and min(b) <= max(a):
        return None
    percent = _percent(before, after)
    steady = figure in ("found", "named", "false_names", "time_to_name_s")
    once = min(len(a), len(b)) < 2 and not steady
    if abs(percent) <= 100 * (FLOOR_UNREPEATED if once else FLOOR):
        return None
    noise = _noise_percent(before, a, b)
    grew = after > before
    better = grew == (WATCHED[figure] == "higher")
    return FigureChange(old.setting, figure, before, after, percent, noise, better)


def _percent(before: float, after: float) -> float:
    if math.isinf(before) or math.isinf(after) or before == 0:
        return math.inf if after > before else -math.inf
    return 100 * (after - before) / abs(before)


def _noise_percent(before: float, *runs: Sequence[float]) -> float:
    """Half the wider range of the two, in percent of the old median."""
    finite = [[value for value in values if math.isfinite(value)] for values in runs]
    widest = max((max(values) - min(values) for values in finite if values), default=0.0)
    return 50 * widest / abs(before) if before and math.isfinite(before) else 0.0


def describe(comparison: Comparison) -> str:
    """The comparison as text for people."""
    lines = [f"another machine or version: {fact}" for fact in comparison.machine]
    lines += comparison.missing
    if not comparison.changes:
        lines.append(f"{comparison.compared} settings compared: nothing changed beyond the noise")
        return "\n".join(lines)
    rows = [["setting", "figure", "old", "new", "change", "noise", ""]]
    for change in comparison.changes:
        rows.append(
            [
                str(change.setting),
                change.figure,
                number(change.old, ".4g"),
                number(change.new, ".4g"),
                f"{change.percent:+.1f} %" if math.isfinite(change.percent) else "-",
                f"±{change.noise_percent:.1f} %",
                "better" if change.better else "WORSE",
            ]
        )
    worse = sum(not change.better for change in comparison.changes)
    lines.append(aligned(rows))
    lines.append(
        f"{comparison.compared} settings compared: {len(comparison.changes) - worse} figures "
        f"better, {worse} worse, beyond the noise"
    )
    return "\n".join(lines)
