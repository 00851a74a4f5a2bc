"""A benchmark's result: what was measured where, its medians and spreads, as JSON, CSV and text."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jetson_face.core.errors import InputBrokenError, InputMissingError
from jetson_face.util.files import write_file

FORMAT = 1
Figures = dict[str, float | None]
"""Named numbers; None stands for infinite (a name that was never given)."""


class _ResultPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BenchSetting(_ResultPart):
    """What was varied. size: longest side searched, pixels, None for the configuration's own."""

    method: str
    clip: str
    size: int | None
    every: int

    def __str__(self) -> str:
        size = "" if self.size is None else f" size {self.size}"
        return f"{self.method} {self.clip}{size} sampling {self.every}"


class Point(_ResultPart):
    """One setting and the figures of each repeat."""

    setting: BenchSetting
    frame_size: tuple[int, int]
    frames: int
    runs: tuple[Figures, ...] = Field(min_length=1)

    def values(self, name: str) -> list[float]:
        """A figure in each run that has it."""
        return [
            math.inf if run[name] is None else float(run[name])  # type: ignore[arg-type]
            for run in self.runs
            if name in run
        ]

    def median(self, name: str) -> float | None:
        """The median over the repeats; None where no run has the figure."""
        values = self.values(name)
        return statistics.median(values) if values else None

    def spread(self, name: str) -> float:
        """Largest minus smallest over the repeats."""
        values = [value for value in self.values(name) if math.isfinite(value)]
        return max(values) - min(values) if values else 0.0

    def names(self) -> list[str]:
        """Every figure that any run has."""
        return list({name: None for run in self.runs for name in run})


class Result(_ResultPart):
    """A whole benchmark. configs: each method's resolved configuration."""

    format: int = FORMAT
    created: str
    machine: dict[str, Any]
    configs: dict[str, dict[str, Any]]
    repeats: int
    notes: tuple[str, ...] = ()
    points: tuple[Point, ...]


def to_figures(numbers: Mapping[str, float]) -> Figures:
    """Numbers that JSON can hold: infinite becomes None."""
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def write_json(path: Path, result: Result) -> None:
    """The result with the medians and spreads written out. Raises OutputError."""
    content = result.model_dump(mode="json")
    for plain, point in zip(content["points"], result.points, strict=True):
        plain["median"] = to_figures({n: point.median(n) or 0.0 for n in point.names()})
        plain["spread"] = {n: point.spread(n) for n in point.names()}
    write_file(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Result:
    """A result that `write_json` wrote. Raises InputMissingError, InputBrokenError."""
    try:
        content = json.loads(path.read_text("utf-8"))
        for point in content["points"]:
            point.pop("median", None)
            point.pop("spread", None)
        result = Result.model_validate(content)
    except FileNotFoundError:
        raise InputMissingError(f"{path}: no such file; `bench --json FILE` writes one") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        short = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise InputBrokenError(f"{path}: not a result of `jetson-face bench`: {short}") from None
    if result.format != FORMAT:
        raise InputBrokenError(f"{path}: format {result.format}, this version reads {FORMAT}")
    return result


def write_csv(path: Path, result: Result) -> None:
    """One line a point: setting, then median and spread of each figure. Raises OutputError."""
    names = list({name: None for point in result.points for name in point.names()})
    out = io.StringIO()
    writer = csv.writer(out)
    head = ["method", "clip", "size", "every", "width", "height", "frames", "repeats"]
    writer.writerow(head + [column for name in names for column in (name, f"{name}_spread")])
    for point in result.points:
        setting = point.setting
        row: list[object] = [
            setting.method,
            setting.clip,
            "" if setting.size is None else setting.size,
            setting.every,
            *point.frame_size,
            point.frames,
            len(point.runs),
        ]
        for name in names:
            median = point.median(name)
            empty = median is None
            row += ["", ""] if empty else [f"{median:.6g}", f"{point.spread(name):.3g}"]
        writer.writerow(row)
    write_file(path, out.getvalue())


COLUMNS: tuple[tuple[str, str, str], ...] = (
    ("capture", "capture_fps", ".0f"),
    ("detect", "detection_fps", ".1f"),
    ("recogn", "recognition_fps", ".1f"),
    ("decide", "decision_fps", ".1f"),
    ("p50 ms", "frame_ms_p50", ".1f"),
    ("p95 ms", "frame_ms_p95", ".1f"),
    ("p99 ms", "frame_ms_p99", ".1f"),
    ("age p95", "age_ms_p95", ".0f"),
    ("CPU %", "cpu_percent", ".0f"),
    ("MB", "peak_mb", ".0f"),
    ("effic", "efficiency", ".2f"),
    ("found", "found", ".3f"),
    ("named", "named", ".3f"),
    ("false", "false_names", ".4f"),
    ("name s", "time_to_name_s", ".2f"),
)
"""Title, figure and number format of the table's columns; those without figures are left out."""


def table(result: Result) -> str:
    """The medians as text; after the decision rate its spread, in percent."""
    columns = [c for c in COLUMNS if any(c[1] in p.names() for p in result.points)]
    lines = [["method", "clip", "size", "every"]]
    for title, name, _ in columns:
        lines[0] += [title, "±%"] if name == "decision_fps" else [title]
    for point in result.points:
        setting = point.setting
        size = "own" if setting.size is None else str(setting.size)
        line = [setting.method, setting.clip, size, str(setting.every)]
        for _, name, form in columns:
            line.append(number(point.median(name), form))
            if name == "decision_fps":
                line.append(_percent(point))
        lines.append(line)
    return aligned(lines)


def stage_table(result: Result) -> str:
    """Milliseconds of each stage on the frames where it ran: p50 / p95 / p99."""
    stages = list(
        {
            name.removesuffix("_ms_p50"): None
            for point in result.points
            for name in point.names()
            if name.endswith("_ms_p50") and not name.startswith(("frame_", "age_"))
        }
    )
    lines = [["stage, ms p50/p95/p99", *stages]]
    for point in result.points:
        line = [str(point.setting)]
        for stage in stages:
            values = [point.median(f"{stage}_ms_p{q}") for q in (50, 95, 99)]
            known = [f"{value:.1f}" for value in values if value is not None]
            line.append("/".join(known) or "-")
        lines.append(line)
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns of text: the first flush left, numbers flush right."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = []
    for line in lines:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)


def number(value: float | None, form: str) -> str:
    """A figure as text, in a format such as ".1f"; infinite: never."""
    if value is None:
        return "-"
    return format(value, form) if math.isfinite(value) else "never"


def _percent(point: Point) -> str:
    median = point.median("decision_fps")
    if not median or len(point.runs) < 2:
        return "-"
    return f"{50 * point.spread('decision_fps') / median:.0f}"
