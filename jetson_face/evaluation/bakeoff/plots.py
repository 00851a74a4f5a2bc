"""The bake-off's plots: ROC, accuracy against speed and size, speed, and one a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jetson_face.evaluation import report
from jetson_face.evaluation.bakeoff.rows import LEVELS
from jetson_face.evaluation.sensitivity import UNITS

Row = Mapping[str, Any]


def plots(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Every PNG that the rows have figures for. Raises MissingDependencyError, OutputError."""
    done = [row for row in rows if row["refused"] is None]
    if not done:
        return []
    paths = [folder / "bakeoff_roc.png"]
    report.plot_curves(
        paths[0],
        {row["name"]: (row["roc"]["far"], row["roc"]["tar"]) for row in done},
        title="Verification",
        x="false accepts",
        y="true accepts",
    )
    timed = [row for row in done if row.get("speed")]
    if timed:
        paths += [_trade(timed, folder), _speed(timed, folder)]
    for kind, values in LEVELS.items():
        if len(values) < 2:
            continue
        paths.append(folder / f"bakeoff_{kind}.png")
        curves = {
            row["name"]: (values, [each["accuracy"] for each in of_kind(row, kind)]) for row in done
        }
        report.plot_curves(
            paths[-1],
            curves,
            title=f"Accuracy against {kind.replace('_', ' ')}",
            x=UNITS[kind],
            y="accuracy",
            y_limits=(0.0, 1.02),
            marks=True,
        )
    return paths


def _trade(rows: Sequence[Row], folder: Path) -> Path:
    path = folder / "bakeoff_trade.png"
    report.plot_points(
        path,
        {
            row["name"]: (
                fps_at(row, 640, 5),
                100 * row["verification"]["accuracy"],
                row["model"]["mib"],
            )
            for row in rows
        },
        title="Accuracy, speed and size (area: network files, MiB)",
        x="frames per second, 640 px, one frame in 5 searched",
        y="verification accuracy, per cent",
    )
    return path


def _speed(rows: Sequence[Row], folder: Path) -> Path:
    path = folder / "bakeoff_speed.png"
    widths = sorted({cell["width"] for cell in rows[0]["speed"] if cell["every"] == 5})
    report.plot_curves(
        path,
        {row["name"]: (widths, [fps_at(row, width, 5) for width in widths]) for row in rows},
        title="Speed, one frame in 5 searched",
        x="width of the frame, pixels",
        y="frames per second",
        marks=True,
    )
    return path


def fps_at(row: Row, width: int, every: int) -> float:
    """Frames a second of one cell."""
    cells = [c["fps"] for c in row["speed"] if (c["width"], c["every"]) == (width, every)]
    return float(cells[0])


def of_kind(row: Row, kind: str) -> list[Mapping[str, Any]]:
    """Levels of one change."""
    return [level for level in row["sensitivity"] if level["kind"] == kind]
