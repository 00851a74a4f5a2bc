"""The log of a campaign's evaluations."""

from __future__ import annotations

import csv
from pathlib import Path

import train_evaluate

REPO = Path(__file__).resolve().parents[2]


def test_a_line_for_each_evaluation(tmp_path: Path) -> None:
    row = dict.fromkeys(train_evaluate.COLUMNS, "")
    train_evaluate.add_line(
        tmp_path / "log.csv", row | {"dir_single": "56.24", "note": "one, and more"}
    )
    train_evaluate.add_line(tmp_path / "log.csv", row | {"dir_single": "60.00"})
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["dir_single"] for r in rows] == ["56.24", "60.00"]
    assert rows[0]["note"] == "one, and more"


def test_the_log_that_is_kept_has_the_columns_of_the_tool() -> None:
    with (REPO / "engines" / "training_log.csv").open(newline="") as file:
        assert tuple(next(csv.reader(file))) == train_evaluate.COLUMNS
