"""Writing results: JSON, Markdown and plots, each file whole or not at all."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jetson_face.calibration.fpir import RateWithInterval
from jetson_face.evaluation.bootstrap import Interval
from jetson_face.util.files import write_file
from jetson_face.util.optional import needs, pip_install


def write_json(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as JSON; numbers that JSON does not have (NaN, infinite) become null.

    Raises OutputError.
    """
    text = json.dumps(plain(result), indent=2, ensure_ascii=False, allow_nan=False)
    write_file(path, text + "\n")


def plain(value: Any) -> Any:
    """What JSON can hold: arrays as lists, intervals as [low, high], numbers that are finite."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Interval):
        return plain([value.low, value.high])
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value if isinstance(value, int | None) else str(value)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; cells may not break it."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(str(c).replace("|", "\\|").replace("\n", " ") for c in line) + " |"
        for line in lines
    )


def percent(value: float | None, digits: int = 2) -> str:
    """A share as per cent; a dash for none."""
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f} %"


def with_interval(
    value: float | None, interval: Interval | RateWithInterval | None, digits: int = 2
) -> str:
    """A share as per cent with its interval."""
    if interval is None:
        return percent(value, digits)
    low, high = 100 * interval.low, 100 * interval.high
    return f"{percent(value, digits)} [{low:.{digits}f}, {high:.{digits}f}]"


def number(value: float, interval: Interval | None, digits: int) -> str:
    """A figure that is no share, with its interval."""
    if interval is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def facts_table(facts: Mapping[str, object]) -> str:
    """The method and its surroundings as a Markdown table, without the list of lost pictures."""
    rows = [[key, value] for key, value in facts.items() if key != "undetected_pictures"]
    return table(["fact", "value"], rows)


def bullets(lines: Iterable[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"- {line}" for line in lines)


def page(title: str, *parts: str) -> str:
    """A Markdown page; empty parts are left out."""
    return "\n\n".join(part for part in (f"# {title}", *parts) if part) + "\n"


def method_and_rules(facts: Mapping[str, object], rules: Iterable[str]) -> str:
    """The part with which most pages end."""
    return f"## Method\n\n{facts_table(facts)}\n\n## Rules\n\n{bullets(rules)}"


def plot_curves(
    path: Path,
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    title: str,
    x: str,
    y: str,
    log_x: bool = False,
    x_limits: tuple[float, float] | None = None,
    y_limits: tuple[float, float] | None = None,
    marks: bool = False,
) -> None:
    """Lines by name as a PNG. Raises MissingDependencyError without matplotlib, OutputError."""
    figure, axes = _axes(title, x, y)
    for number, (name, (xs, ys)) in enumerate(curves.items()):
        style = "-" if number < 10 else "--"  # there are ten colours
        mark = "o" if marks else None
        axes.plot(np.asarray(xs), np.asarray(ys), label=name, marker=mark, linestyle=style)
    if log_x:
        axes.set_xscale("log")
    if x_limits is not None:
        axes.set_xlim(*x_limits)
    if y_limits is not None:
        axes.set_ylim(*y_limits)
    axes.grid(alpha=0.3)
    axes.legend()
    _save(path, figure)


def plot_points(
    path: Path,
    points: Mapping[str, tuple[float, float, float]],
    *,
    title: str,
    x: str,
    y: str,
) -> None:
    """Named points (x, y, size) as a PNG, x logarithmic, area by size. Raises as `plot_curves`."""
    figure, axes = _axes(title, x, y)
    largest = max((size for _, _, size in points.values()), default=1.0) or 1.0
    for name, (at_x, at_y, size) in points.items():
        axes.scatter([at_x], [at_y], s=20 + 600 * size / largest, alpha=0.5)
        axes.annotate(f"{name}, {size:.1f}", (at_x, at_y), fontsize=7, ha="center", va="center")
    axes.set_xscale("log")
    axes.margins(0.15)
    axes.grid(alpha=0.3)
    _save(path, figure)


def plot_panels(
    path: Path,
    panels: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]],
    *,
    title: str,
    y_limits: tuple[float, float],
) -> None:
    """Curves by name beside each other, a panel by the label of its x axis, as one PNG.

    Raises MissingDependencyError without matplotlib, OutputError.
    """
    figure = _figure((3.2 * len(panels), 3.2))
    figure.suptitle(title)
    for at, (label, curves) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), at)
        axes.set(xlabel=label, ylim=y_limits)
        for name, (xs, ys) in curves.items():
            axes.plot(np.asarray(xs), np.asarray(ys), label=name, marker="o", markersize=3)
        axes.grid(alpha=0.3)
        if at == 1:
            axes.legend()
    _save(path, figure)


def plot_histogram(
    path: Path,
    edges: Sequence[float],
    counts: Mapping[str, Sequence[int]],
    *,
    title: str,
    x: str,
    line: float | None = None,
) -> None:
    """Shares by name in common bins, and a vertical line. Raises as `plot_curves`."""
    figure, axes = _axes(title, x, "share of pairs")
    for name, numbers in counts.items():
        shares = np.asarray(numbers) / max(sum(numbers), 1)
        axes.stairs(shares, edges, fill=True, alpha=0.5, label=f"{name} ({sum(numbers)})")
    if line is not None:
        axes.axvline(line, color="black", linestyle="--", label=f"threshold {line:.3f}")
    axes.legend()
    _save(path, figure)


def _axes(title: str, x: str, y: str) -> tuple[Any, Any]:
    figure = _figure((7, 5))
    axes = figure.add_subplot()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def _figure(size: tuple[float, float]) -> Any:
    with needs(f"plots need matplotlib: {pip_install('eval')}, or leave --plots out"):
        from matplotlib.figure import Figure
    # a Figure of its own, not pyplot: no global state, no display
    return Figure(figsize=size, dpi=110, layout="constrained")


def _save(path: Path, figure: Any) -> None:
    buffer = io.BytesIO()
    # without the version of the library in it, equal results give equal files
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_file(path, buffer.getvalue())
