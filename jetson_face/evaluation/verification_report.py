"""What a person sees of a verification: Markdown and plots."""

from __future__ import annotations

from pathlib import Path

from jetson_face.evaluation import metrics as m
from jetson_face.evaluation import report
from jetson_face.evaluation.verification import RULES, Verification, folds_json, rate


def markdown(result: Verification, title: str) -> str:
    """The report a person reads."""
    return report.page(
        title,
        f"{len(result.same)} pairs, {int(result.same.sum())} equal; "
        f"{result.pairs.duplicates} repeated and {result.pairs.self_pairs} self-pairs left out. "
        f"{len(result.faces)} pictures, {len(result.faces.undetected)} without a face found, "
        f"{int(result.faces.relaxed.sum())} found only by the relaxed search. "
        "Intervals are 95 %.",
        report.table(["figure", "cosine", "L2 of unit vectors"], _figure_rows(result)),
        "## Folds",
        report.table(
            ["fold", "threshold", "accuracy", "pairs", "false accepts", "false rejects", "no face"],
            _fold_rows(result),
        ),
        report.method_and_rules({**result.faces.facts(), **result.method}, RULES),
    )


def summary(result: Verification) -> str:
    """The main figures in a few lines, for a terminal."""
    return "\n".join(f"{name:20} {value}" for name, value, _ in _figure_rows(result))


def plots(result: Verification, folder: Path) -> list[Path]:
    """ROC and histograms as PNG files in `folder`. Raises MissingDependencyError, OutputError."""
    curve = m.roc(result.cosine.scores, result.same)
    seen = result.distributions()
    paths = [folder / f"{name}.png" for name in ("roc", "histogram_cosine", "histogram_l2")]
    report.plot_curves(
        paths[0],
        {f"AUC {result.cosine.auc:.4f}": (curve.far, curve.tar)},
        title="ROC",
        x="FAR",
        y="TAR",
        log_x=True,
        x_limits=(0.5 / curve.negatives, 1.0),
        y_limits=(0.0, 1.01),
    )
    for path, name, label, line in (
        (paths[1], "cosine", "cosine", result.cosine.threshold),
        (paths[2], "l2", "L2 distance of unit vectors", -result.l2.threshold),
    ):
        report.plot_histogram(
            path,
            seen[name]["edges"],
            {"equal": seen[name]["equal"], "different": seen[name]["different"]},
            title="Equal and different pairs",
            x=label,
            line=line,
        )
    return paths


def _figure_rows(result: Verification) -> list[tuple[str, str, str]]:
    """Figure, cosine with its interval, L2."""
    cosine, l2, of = result.cosine, result.l2, result.intervals
    folds = cosine.folds
    rows = [
        (
            "accuracy over folds",
            f"{report.with_interval(folds.accuracy, of.get('accuracy'))} "
            f"± {report.percent(folds.std)}",
            f"{report.percent(l2.folds.accuracy)} ± {report.percent(l2.folds.std)}",
        ),
        ("F1 over folds", report.percent(folds.f1), report.percent(l2.folds.f1)),
        ("ROC AUC", report.number(cosine.auc, of.get("auc"), 5), f"{l2.auc:.5f}"),
        (
            "EER",
            report.with_interval(cosine.eer.far, of.get("eer")),
            report.percent(l2.eer.far),
        ),
    ]
    for far, point in cosine.tar.items():
        tar = report.with_interval(rate(point), of.get(f"tar_at_far_{far:g}"))
        rows.append((f"TAR at FAR {far:g}", tar, report.percent(rate(l2.tar[far]))))
    threshold = report.number(cosine.threshold, of.get("similarity_min"), 3)
    rows.append(("threshold", f"≥ {threshold}", f"≤ {-l2.threshold:.3f}"))
    return rows


def _fold_rows(result: Verification) -> list[list[object]]:
    return [
        [
            row["fold"],
            f"{row['threshold']:.4f}",
            report.percent(row["accuracy"]),
            row["pairs"],
            row["false_accepts"],
            row["false_rejects"],
            row["undetected_pairs"],
        ]
        for row in folds_json(result.cosine)
    ]
