"""The bake-off as a page to read: one table a question, and its plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jetson_face.evaluate import report
from jetson_face.evaluate.bakeoff import LEVELS, SPEEDS, Row
from jetson_face.evaluate.sensitivity import UNITS

RULES = (
    "All methods see the same pictures. A face that is not found counts as an error in accuracy "
    "and as a miss in rank-1 and DIR; detectors search a second time with lower thresholds.",
    "Pairs are i < j, none twice, none of a picture with itself; thresholds of a fold come from "
    "the other folds. Probes never share a video with what is enrolled.",
    "At own threshold: the method as configured, with the threshold it ships with; DIR@FPIR "
    "chooses the threshold on the strangers themselves, so that methods of different scales "
    "compare. Rank-1 asks only who is nearest.",
    "Intervals are 95 %, percentile bootstrap over people.",
    "Sensitivity: one picture of each pair is changed, the threshold stays the one that was best "
    "unchanged.",
    "Frames per second: one face in view, everything from the frame to the decision; N: one frame "
    "in N is searched.",
    "Adding a person: finding and embedding five pictures, then making the matcher of 101 people.",
)


def markdown(rows: Sequence[Row], facts: Mapping[str, object], command: str, images: str) -> str:
    """The page; images: folder of the plots as the page names it, empty for none."""
    done = [row for row in rows if row.refused is None]
    parts = [
        "# The bake-off",
        "Every method of the source material in this program, on the same faces. Made by:",
        f"```\n{command}\n```",
        _setting(facts),
        "## Accuracy",
        _accuracy(done),
        "## Speed and cost",
        _speed(done),
        _cost(done),
        "## Sensitivity",
        "Accuracy of pairs of which one picture is changed, per cent.",
        _sensitivity(done),
    ]
    if images:
        names = [f"bakeoff_{name}.png" for name in ("roc", "speed", *LEVELS)]
        parts.append("\n".join(f"![{name}]({images}/{name})" for name in names))
    parts += ["## Sizes, training data and licences", _licences(done)]
    refused = [row for row in rows if row.refused is not None]
    if refused:
        parts += [
            "## Not measured",
            "These run like the others once their weights are there; none are shipped.",
            report.table(["method", "why"], [[row.name, row.refused] for row in refused]),
        ]
    parts += ["## Rules", "\n".join(f"- {rule}" for rule in RULES)]
    return "\n\n".join(parts) + "\n"


def _setting(facts: Mapping[str, object]) -> str:
    return report.facts_table(facts)


def _accuracy(rows: Sequence[Row]) -> str:
    header = [
        "method",
        "verification accuracy",
        "EER",
        "pairs without a face",
        "rank-1",
        "DIR at FPIR 1 %",
        "named rightly / misnamed / strangers named, at own threshold",
    ]
    lines = []
    for row in rows:
        assert row.verification is not None
        assert row.trial is not None
        measured, figures = row.verification.as_json(), row.trial.figures(row.similarity_min)
        at = figures["at_similarity_min"]
        lines.append(
            [
                row.name,
                report.with_interval(
                    measured["accuracy"], row.verification.intervals.get("accuracy"), 1
                ),
                report.percent(measured["eer"], 1),
                measured["undetected_pairs"],
                report.with_interval(figures["rank1"], row.intervals.get("rank1"), 1),
                report.with_interval(
                    figures["dir_at_fpir"]["0.01"], row.intervals.get("dir_at_fpir_0.01"), 1
                ),
                " / ".join(
                    report.percent(at[key], 1) for key in ("named_rightly", "misnamed", "fpir")
                ),
            ]
        )
    return report.table(header, lines)


def _speed(rows: Sequence[Row]) -> str:
    header = ["frames per second", *(f"{width} px, N = {every}" for width, every in SPEEDS)]
    return report.table(
        header, [[row.name, *(f"{fps:.1f}" for _, _, fps in row.speeds)] for row in rows]
    )


def _cost(rows: Sequence[Row]) -> str:
    header = ["method", "network files, MiB", "add a person: pictures + matcher, s"]
    crowds = rows[0].cost.crowds if rows and rows[0].cost is not None else ()
    header += [f"{people} people: make / query" for people, _, _ in crowds]
    lines = []
    for row in rows:
        assert row.cost is not None
        assert row.model is not None
        lines.append(
            [
                row.name,
                f"{row.model.mib:.1f}",
                f"{row.cost.seconds_pictures:.2f} + {row.cost.seconds_train:.3f}",
                *(f"{made:.3f} s / {1000 * q:.2f} ms" for _, made, q in row.cost.crowds),
            ]
        )
    return report.table(header, lines)


def _sensitivity(rows: Sequence[Row]) -> str:
    steps = [(kind, value) for kind, values in LEVELS.items() for value in values]
    header = ["method", *(f"{kind.replace('_', ' ')} {value:g}" for kind, value in steps)]
    lines = []
    for row in rows:
        found = {(level.kind, level.value): level.accuracy for level in row.levels}
        lines.append([row.name, *(f"{100 * found[step]:.0f}" for step in steps)])
    units = "; ".join(f"{kind.replace('_', ' ')}: {UNITS[kind]}" for kind in LEVELS)
    return report.table(header, lines) + f"\n\n{units}."


def _licences(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        assert row.model is not None
        lines.append([row.name, f"{row.model.mib:.1f}", row.model.trained_on, row.model.licence])
    return report.table(["method", "MiB", "features come from", "licence"], lines)


def as_json(rows: Sequence[Row], facts: Mapping[str, object]) -> dict[str, Any]:
    """Every figure of every row."""
    return {
        "kind": "bakeoff",
        "rows": [row.as_json() for row in rows],
        "setting": dict(facts),
        "rules": list(RULES),
    }


def plots(rows: Sequence[Row], folder: Path) -> list[Path]:
    """ROC, speed, and a plot a change. Raises MissingDependencyError, OutputError."""
    done = [row for row in rows if row.verification is not None]
    if not done:
        return []
    from jetson_face.evaluate import metrics as m

    paths = [folder / "bakeoff_roc.png"]
    curves = {}
    for row in done:
        assert row.verification is not None
        curve = m.roc(row.verification.cosine.scores, row.verification.same)
        curves[row.name] = (curve.far, curve.tar)
    report.plot_curves(paths[0], curves, title="Verification", x="false accepts", y="true accepts")
    widths = sorted({width for width, every in SPEEDS if every == 5})
    paths.append(folder / "bakeoff_speed.png")
    lines = {
        row.name: (widths, [fps for w in widths for x, n, fps in row.speeds if (x, n) == (w, 5)])
        for row in done
    }
    report.plot_curves(
        paths[-1],
        lines,
        title="Speed, one frame in 5 searched",
        x="width of the frame, pixels",
        y="frames per second",
        marks=True,
    )
    for kind, values in LEVELS.items():
        paths.append(folder / f"bakeoff_{kind}.png")
        levels = {
            row.name: (values, [each.accuracy for each in row.levels if each.kind == kind])
            for row in done
        }
        report.plot_curves(
            paths[-1],
            levels,
            title=f"Accuracy against {kind.replace('_', ' ')}",
            x=UNITS[kind],
            y="accuracy",
            y_limits=(0.0, 1.02),
            marks=True,
        )
    return paths
