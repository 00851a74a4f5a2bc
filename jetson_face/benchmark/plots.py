"""Plots of a result: rate against sampling, rate against image size, speed against accuracy."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any, Literal

from jetson_face.benchmark.result import Point, Result
from jetson_face.util.files import write_file
from jetson_face.util.optional import needs


def write_plots(folder: Path, result: Result) -> list[Path]:
    """Write the PNG files that the result has enough points for, and return their paths.

    Raises MissingDependencyError, OutputError.
    """
    with needs("plots need matplotlib: pip install 'jetson-face[eval]'"):
        from matplotlib.figure import Figure
    written = []
    for name, draw in (
        ("fps_by_sampling", _by_sampling),
        ("fps_by_size", _by_size),
        ("speed_accuracy", _accuracy),
    ):
        figure = Figure(figsize=(7, 4.5), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        if draw(axes, result):
            axes.grid(alpha=0.3)
            axes.legend(fontsize=8)
            out = io.BytesIO()
            figure.savefig(out, format="png")
            path = folder / f"{name}.png"
            write_file(path, out.getvalue())
            written.append(path)
    return written


def lines_of(
    points: tuple[Point, ...], axis: Literal["every", "size"], figure: str
) -> dict[str, list[tuple[int, float, float, float]]]:
    """(x, median, least, most) of each line, sorted by x; one line for each of the other settings.

    Lines with one point, and figures that are infinite, are left out.
    """
    lines: dict[str, list[tuple[int, float, float, float]]] = {}
    for point in points:
        setting, values = point.setting, point.values(figure)
        at = setting.every if axis == "every" else setting.size
        median = point.median(figure)
        if at is None or median is None or not all(map(math.isfinite, values)):
            continue
        other = setting.size if axis == "every" else setting.every
        label = f"{setting.method}, {setting.clip}"
        if other is not None:
            label += f", {'size' if axis == 'every' else 'sampling'} {other}"
        lines.setdefault(label, []).append((at, median, min(values), max(values)))
    return {label: sorted(line) for label, line in lines.items() if len(line) > 1}


def _by_sampling(axes: Any, result: Result) -> bool:
    axes.set(xlabel="sampling: one frame in N is searched", ylabel="frames decided per second")
    return _draw(axes, lines_of(result.points, "every", "decision_fps"))


def _by_size(axes: Any, result: Result) -> bool:
    axes.set(xlabel="longest side searched, pixels", ylabel="frames decided per second")
    return _draw(axes, lines_of(result.points, "size", "decision_fps"))


def _draw(axes: Any, lines: dict[str, list[tuple[int, float, float, float]]]) -> bool:
    for label, line in lines.items():
        xs, medians, least, most = zip(*line, strict=True)
        below = [median - low for median, low in zip(medians, least, strict=True)]
        above = [high - median for median, high in zip(medians, most, strict=True)]
        axes.errorbar(xs, medians, yerr=(below, above), marker="o", capsize=3, label=label)
    axes.set_ylim(bottom=0)
    return bool(lines)


def _accuracy(axes: Any, result: Result) -> bool:
    axes.set(xlabel="frames decided per second", ylabel="face-frames with the right name")
    drawn = False
    for point in result.points:
        speed, named = point.median("decision_fps"), point.median("named")
        if speed is not None and named is not None:
            axes.scatter([speed], [named], label=str(point.setting))
            drawn = True
    axes.set_ylim(0, 1.02)
    return drawn
