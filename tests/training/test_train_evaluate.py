"""The log of a campaign's evaluations."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[2]


def _tool() -> Any:
    path = REPO / "tools" / "train_evaluate.py"
    spec = importlib.util.spec_from_file_location("train_evaluate", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_line_for_each_evaluation(tmp_path: Path) -> None:
    tool = _tool()
    row = dict.fromkeys(tool.COLUMNS, "")
    tool.add_line(tmp_path / "log.csv", row | {"dir_single": "56.24", "note": "one, and more"})
    tool.add_line(tmp_path / "log.csv", row | {"dir_single": "60.00"})
    with (tmp_path / "log.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [r["dir_single"] for r in rows] == ["56.24", "60.00"]
    assert rows[0]["note"] == "one, and more"


def test_the_log_that_is_kept_has_the_columns_of_the_tool() -> None:
    with (REPO / "engines" / "training_log.csv").open(newline="") as file:
        assert tuple(next(csv.reader(file))) == _tool().COLUMNS
