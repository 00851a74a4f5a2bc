"""What a person sees of averaging over frames: JSON, Markdown and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jetson_face.evaluation import report
from jetson_face.evaluation.bootstrap import Interval
from jetson_face.evaluation.extract import ExtractedFaces
from jetson_face.evaluation.people import Division
from jetson_face.evaluation.video import FPIR, RULES, STRATEGIES, Averaged


def as_json(
    rows: Sequence[Averaged],
    division: Division,
    faces: ExtractedFaces,
    method: Mapping[str, object],
) -> dict[str, Any]:
    """Every figure under its key."""
    return {
        "kind": "video",
        "level": 0.95,
        "averaging": [row.as_json() for row in rows],
        **division.facts(),
        **faces.facts(),
        "method": dict(method),
        "rules": list(RULES),
    }


def summary_table(rows: Sequence[Averaged]) -> str:
    """The table of strategies and numbers of frames, as Markdown."""
    header = ["frames", "with a face", "strategy", "rank-1", "gain, points"]
    header += [f"DIR at FPIR {FPIR:g}", "gain, points"]
    return report.table(
        header,
        [
            [
                row.frames,
                f"{row.used:.1f}",
                row.strategy,
                report.with_interval(row.rank1, row.intervals.get("rank1"), 1),
                _points(row.intervals.get("rank1_gain")),
                report.with_interval(row.dir, row.intervals.get("dir"), 1),
                _points(row.intervals.get("dir_gain")),
            ]
            for row in rows
        ],
    )


def markdown(
    rows: Sequence[Averaged],
    division: Division,
    faces: ExtractedFaces,
    method: Mapping[str, object],
    title: str,
) -> str:
    """The report a person reads."""
    return report.page(
        title,
        "One frame against averages over frames, on the same trials. Intervals are 95 %; a gain "
        "whose interval lies above 0 is one.",
        summary_table(rows),
        report.method_and_rules({**division.facts(), **faces.facts(), **method}, RULES),
    )


def plots(rows: Sequence[Averaged], folder: Path) -> list[Path]:
    """DIR (or rank-1) against frames as a PNG. Raises MissingDependencyError, OutputError."""
    by_dir = all(row.dir is not None for row in rows)
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for name in STRATEGIES:
        chosen = [row for row in rows if row.strategy in ("frame", name)]
        values = [row.rank1 if row.dir is None or not by_dir else row.dir for row in chosen]
        curves[name] = ([row.frames for row in chosen], values)
    path = folder / "frames.png"
    report.plot_curves(
        path,
        curves,
        title="Averaging over frames",
        x="frames",
        y=f"DIR at FPIR {FPIR:g}" if by_dir else "rank-1",
        log_x=True,
        marks=True,
    )
    return [path]


def _points(interval: Interval | None) -> str:
    if interval is None:
        return "–"
    return f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f}"
