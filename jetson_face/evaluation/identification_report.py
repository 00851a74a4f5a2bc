"""What a person sees of an identification: Markdown and plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jetson_face.evaluation import report
from jetson_face.evaluation.identification import FPIRS, RULES, Identification


def summary(result: Identification) -> str:
    """The main figures in a few lines, for a terminal."""
    return "\n".join(f"{name:28} {value}" for name, value in _main_rows(result))


def markdown(result: Identification, title: str) -> str:
    """The report a person reads."""
    facts = {**result.division.facts(), **result.faces.facts(), **result.method}
    confused = result.as_json()["most_confused"]
    return report.page(
        title,
        f"{len(result.main.people)} people enrolled; intervals are 95 %.",
        report.table(["figure", "value"], _main_rows(result)),
        "## Against the number of enrolled pictures",
        "The same people at every number, alone in the gallery.",
        _curve_table("pictures", result.by_enrolled, ("people", "templates", "probes")),
        "## Against the number of people",
        _curve_table("people", result.by_people, ("templates",)),
        "## Most confused at the method's own threshold",
        report.table(["ground truth", "answer", "times"], confused) if confused else "None.",
        report.method_and_rules(facts, RULES),
    )


def plots(result: Identification, folder: Path) -> list[Path]:
    """The two curves as PNG files. Raises MissingDependencyError, OutputError."""
    paths = []
    for name, key, label, rows in (
        ("by_enrolled", "pictures", "enrolled pictures a person", result.by_enrolled),
        ("by_people", "people", "enrolled people", result.by_people),
    ):
        paths.append(folder / f"{name}.png")
        report.plot_curves(
            paths[-1],
            _curves(key, rows),
            title="Open-set identification",
            x=label,
            y="share of probes",
            log_x=True,
            y_limits=(0.0, 1.01),
            marks=True,
        )
    return paths


def _main_rows(result: Identification) -> list[tuple[str, str]]:
    figures = result.main.figures(result.similarity_min)
    rows = [("rank-1", report.with_interval(figures["rank1"], result.intervals.get("rank1")))]
    for fpir, value in figures["dir_at_fpir"].items():
        interval = result.intervals.get(f"dir_at_fpir_{fpir}")
        rows.append((f"DIR at FPIR {fpir}", report.with_interval(value, interval)))
    at = figures["at_similarity_min"]
    where = f"at the own threshold, {at['similarity_min']:.3f}: "
    spent = result.seconds_per_picture
    rows += [
        (where + "correctly identified", report.percent(at["correctly_identified"])),
        (where + "misidentified", report.percent(at["misidentified"])),
        (where + "called unknown", report.percent(at["known_called_unknown"])),
        (where + "non-enrolled called unknown", report.percent(at["strangers_called_unknown"])),
        ("read to vector, a picture", "–" if spent is None else f"{1e3 * spent:.1f} ms"),
        ("enrol everybody", f"{1e3 * figures['enrol_seconds']:.2f} ms"),
        ("query, a probe", f"{1e3 * figures['query_seconds']:.4f} ms"),
    ]
    return rows


def _curve_table(key: str, rows: Sequence[Mapping[str, Any]], more: tuple[str, ...]) -> str:
    header = [key, *more, "rank-1", *(f"DIR at FPIR {fpir:g}" for fpir in FPIRS), "query ms"]
    return report.table(
        header,
        [
            [
                row[key],
                *(row[name] for name in more),
                report.percent(row["rank1"]),
                *(report.percent(row["dir_at_fpir"][f"{fpir:g}"]) for fpir in FPIRS),
                f"{1e3 * row['query_seconds']:.4f}",
            ]
            for row in rows
        ],
    )


def _curves(
    key: str, rows: Sequence[Mapping[str, Any]]
) -> dict[str, tuple[list[float], list[float]]]:
    xs = [float(row[key]) for row in rows]
    curves = {"rank-1": (xs, [float(row["rank1"]) for row in rows])}
    for fpir in FPIRS:
        values = [row["dir_at_fpir"][f"{fpir:g}"] for row in rows]
        if all(value is not None for value in values):
            curves[f"DIR at FPIR {fpir:g}"] = (xs, values)
    return curves
