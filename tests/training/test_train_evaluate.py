"""The log of a campaign's evaluations."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import train_evaluate

from jetson_face.core.types import EmbeddingSpace
from jetson_face.evaluation.extract import ExtractedFaces
from jetson_face.evaluation.people import Shot

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


def test_pairs_of_one_person_are_of_two_videos() -> None:
    """Each person has two pictures in one video, alike, and one in another, at 60 degrees."""
    people: dict[str, list[Shot]] = {}
    rows: list[list[float]] = []
    for number in range(3):
        for name, degrees in (("v0/a", 0), ("v0/b", 0), ("v1/a", 60)):
            at = np.zeros(6)
            at[2 * number] = np.cos(np.radians(degrees))
            at[2 * number + 1] = np.sin(np.radians(degrees))
            rows.append(at.tolist())
            shot = Shot(f"p{number}", name[:2], f"p{number}/{name}", Path(name))
            people.setdefault(shot.person, []).append(shot)
    people["p2"].append(Shot("p2", "v1", "p2/v1/nobody", Path("none")))
    names = tuple(shot.name for shots in people.values() for shot in shots)
    found = np.array([True] * 9 + [False])
    faces = ExtractedFaces(
        names,
        np.array([*rows, [np.nan] * 6], np.float32),
        np.zeros((10, 4), np.float32),
        np.where(found, 1, np.nan).astype(np.float32),
        np.zeros(10, bool),
        found.astype(np.int64),
        EmbeddingSpace("test", "test", 6),
        {},
    )
    told = train_evaluate.pairs_of_videos(people, faces)
    assert told["of one person, mean"] == pytest.approx(0.5)
    assert told["of two people, highest in a thousand"] == pytest.approx(0)
    assert told["of one person, share over the latter"] == 1
