"""The bake-off as a page to read: one table a question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jetson_face.evaluation import report
from jetson_face.evaluation.bakeoff.rows import LEVELS
from jetson_face.evaluation.bootstrap import Interval
from jetson_face.evaluation.sensitivity import UNITS

Row = Mapping[str, Any]

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
    "in N is searched. All methods take turns, round after round; medians, with the extremes.",
    "Adding a person: finding and embedding five pictures, then making the matcher of 101 people; "
    "make / query: seconds to make a matcher of so many people, five pictures each, and to ask it.",
)


def markdown(
    rows: Sequence[Row],
    facts: Mapping[str, object],
    command: str,
    images: Sequence[str],
    notes: str = "",
) -> str:
    """The page; images: paths of the plots as the page names them. notes: what to know first."""
    done = [row for row in rows if row["refused"] is None]
    timed = [row for row in done if row.get("speed")]
    parts = [
        "Every method of the source material in this program, on the same faces. Made by:",
        f"```\n{command}\n```",
        report.facts_table(facts),
        notes,
        "## Accuracy",
        _accuracy(done),
    ]
    if timed:
        parts += ["## Speed and cost", _speed(timed), _cost(timed)]
    parts += [
        "## Sensitivity",
        "Accuracy of pairs of which one picture is changed, per cent.",
        _sensitivity(done),
        "\n".join(f"![{path.rsplit('/', 1)[-1]}]({path})" for path in images),
        "## Sizes, training data and licences",
        _licences(done),
    ]
    refused = [row for row in rows if row["refused"] is not None]
    if refused:
        parts += [
            "## Not measured",
            "These run like the others once their weights are there; none are shipped.",
            report.table(["method", "why"], [[row["name"], row["refused"]] for row in refused]),
        ]
    return report.page("The bake-off", *parts, "## Rules", report.bullets(RULES))


def _accuracy(rows: Sequence[Row]) -> str:
    header = [
        "method",
        "verification accuracy",
        "EER",
        "TAR at FAR 1 %",
        "pairs without a face",
        "rank-1",
        "DIR at FPIR 1 %",
        "correctly identified / misidentified / non-enrolled named, at own threshold",
    ]
    lines = []
    for row in rows:
        seen, met = row["verification"], row["identification"]
        at, intervals = met["at_similarity_min"], row["identification_intervals"]
        lines.append(
            [
                row["name"],
                _between(seen["accuracy"], row["verification_intervals"].get("accuracy")),
                report.percent(seen["eer"], 1),
                report.percent(seen["tar_at_far"].get("0.01"), 1),
                seen["undetected_pairs"],
                _between(met["rank1"], intervals.get("rank1")),
                _between(met["dir_at_fpir"]["0.01"], intervals.get("dir_at_fpir_0.01")),
                " / ".join(
                    report.percent(at[key], 1)
                    for key in ("correctly_identified", "misidentified", "fpir")
                ),
            ]
        )
    return report.table(header, lines)


def _between(value: float | None, ends: Sequence[float] | None) -> str:
    """A share with its 95 % interval."""
    interval = None if ends is None else Interval(ends[0], ends[1], 0.95, 0)
    return report.with_interval(value, interval, 1)


def _speed(rows: Sequence[Row]) -> str:
    cells = rows[0]["speed"]
    header = ["frames per second", *(f"{c['width']} px, N = {c['every']}" for c in cells)]
    lines = [
        [
            row["name"],
            *(f"{c['fps']:.1f} ({c['fps_low']:.1f}, {c['fps_high']:.1f})" for c in row["speed"]),
        ]
        for row in rows
    ]
    return report.table(header, lines)


def _cost(rows: Sequence[Row]) -> str:
    header = ["method", "network files, MiB", "add a person: pictures + matcher, s"]
    header += [f"{crowd['people']} people: make / query" for crowd in rows[0]["scaling"]]
    lines = []
    for row in rows:
        spent = row["add_person_seconds"]
        lines.append(
            [
                row["name"],
                f"{row['model']['mib']:.1f}",
                f"{spent['pictures']:.2f} + {spent['train']:.3f}",
                *(
                    f"{crowd['train_seconds']:.3f} s / {1000 * crowd['query_seconds']:.2f} ms"
                    for crowd in row["scaling"]
                ),
            ]
        )
    return report.table(header, lines)


def _sensitivity(rows: Sequence[Row]) -> str:
    steps = [(kind, value) for kind, values in LEVELS.items() for value in values]
    header = ["method", *(f"{kind.replace('_', ' ')} {value:g}" for kind, value in steps)]
    lines = []
    for row in rows:
        found = {(each["kind"], each["value"]): each["accuracy"] for each in row["sensitivity"]}
        lines.append([row["name"], *(f"{100 * found[step]:.0f}" for step in steps)])
    units = "; ".join(f"{kind.replace('_', ' ')}: {UNITS[kind]}" for kind in LEVELS)
    return report.table(header, lines) + f"\n\n{units}."


def _licences(rows: Sequence[Row]) -> str:
    lines = [
        [row["name"], f"{facts['mib']:.1f}", facts["trained_on"], facts["licence"]]
        for row in rows
        for facts in [row["model"]]
    ]
    return report.table(["method", "MiB", "features come from", "licence"], lines)


def as_json(rows: Sequence[Row], facts: Mapping[str, object]) -> dict[str, Any]:
    """Every figure of every row."""
    return {"kind": "bakeoff", "rows": rows, "setting": facts, "rules": RULES}
