"""Scores of clusters, worked by hand; and the command on made videos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import EmbeddingSpace
from jetson_face.evaluation.clusters import _chains, measure_clusters, score_clusters
from jetson_face.evaluation.extract import ExtractedFaces
from tests.evaluation.test_identification_video import leaving, run, videos_folder


def test_scores_worked_by_hand() -> None:
    """Ann's three faces are two and one, Ben's two are together with one of hers."""
    labels, person = np.array([0, 0, 1, 1, 1]), np.array([0, 0, 0, 1, 1])
    score = score_clusters(labels, person)
    assert score.bcubed_precision == pytest.approx((1 + 1 + 1 / 3 + 2 / 3 + 2 / 3) / 5)
    assert score.bcubed_recall == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1 + 1) / 5)
    assert score.bcubed_f == pytest.approx(11 / 15)
    assert (score.pair_precision, score.pair_recall) == (2 / 4, 2 / 4)
    alone = score_clusters(np.arange(5), person)
    assert (alone.bcubed_precision, alone.pair_precision, alone.pair_recall) == (1, 1, 0)


def test_chains_join_what_is_alike_through_others() -> None:
    vectors = np.array([[1, 0], [0, 1], [0.8, 0.6], [-1, 0]], np.float32)
    labels = _chains(vectors, 0.6)
    assert [bool(labels[0] == label) for label in labels] == [True, True, True, False]


def test_the_command_finds_who_is_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = videos_folder(tmp_path / "videos")
    assert run(monkeypatch, "clusters", "--images", images, *leaving(tmp_path / "out")) == 0
    got = json.loads((tmp_path / "out/r.json").read_text())
    assert got["kind"] == "clusters"
    rows = got["clusterings"]
    assert {(row["kind"], row["linkage"]) for row in rows} == {
        (kind, linkage) for kind in ("single", "video") for linkage in ("average", "chains")
    }
    for row in rows:
        assert (row["faces"], row["people"], row["clusters"]) == (16, 8, 8)
        assert (row["bcubed_f"], row["pair_recall"]) == (1, 1)
    again = got["known_again"]
    assert (again["people"], again["videos"], again["remembered"]) == (8, 16, 8)
    assert (again["new_taken_for_another"], again["known_again"], again["wrong"]) == (0, 1, 0)
    page = (tmp_path / "out/r.md").read_text()
    assert "| 16, video |" in page
    assert "| 16 (8) | 8 | 0.00 % " in page


def test_people_without_videos_are_refused() -> None:
    space = EmbeddingSpace("made", "0" * 64, 3)
    nothing = np.zeros(0, np.float32)
    none = ExtractedFaces(
        (), np.zeros((0, 3), np.float32), np.zeros((0, 4), np.float32), nothing,
        np.zeros(0, np.bool_), np.zeros(0, np.int64), space, {},
    )  # fmt: skip
    with pytest.raises(InputBrokenError, match="no video"):
        measure_clusters({}, none, 0.5, rng=np.random.default_rng(1))
