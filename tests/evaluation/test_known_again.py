"""Known again, one after the other, worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from jetson_face.core.types import F32, Embeddings, EmbeddingSpace
from jetson_face.evaluation.known_again import KnownAgain, Visits, measure_known_again, table

SPACE = EmbeddingSpace("made", "0" * 64, 3)
ANN, BEN, CAT = np.eye(3, dtype=np.float32)


def measured(
    names: str, vectors: list[F32], least: tuple[float, ...], frames: int = 1, resamples: int = 500
) -> KnownAgain:
    visits = Visits(Embeddings(np.stack(vectors), SPACE), list(names), [frames] * len(names))
    rng = np.random.default_rng(1)
    return measure_known_again(visits, lambda found: least, 1, rng, resamples=resamples)


def test_everybody_is_known_again_where_faces_are_apart() -> None:
    row = measured("aabbc", [ANN, ANN, BEN, BEN, CAT], (0.5,))
    assert (row.people, row.videos, row.remembered) == (3, 5, 3)
    assert (row.new_taken_for_another, row.known_again, row.wrong) == (0, 1, 0)


def test_a_double_is_taken_for_whoever_came_first() -> None:
    """Ben looks like Ann: whoever of them comes second is taken for the first, ever after."""
    row = measured("aabb", [ANN] * 4, (0.5,))
    assert row.remembered == 1
    assert row.new_taken_for_another == 0.5
    assert (row.known_again, row.wrong) == (0.5, 0.5)


def test_the_threshold_for_averages_counts() -> None:
    alike = np.array([0.8, 0.6, 0], np.float32)
    assert measured("aa", [ANN, alike], (0.9, 0.7), frames=1).known_again == 0
    assert measured("aa", [ANN, alike], (0.9, 0.7), frames=2).known_again == pytest.approx(1)


def test_a_share_of_no_videos_is_none() -> None:
    """Nobody came twice: what is said of new people stands all the same."""
    row = measured("abc", [ANN, BEN, CAT], (0.5,))
    assert (row.new_taken_for_another, row.known_again, row.wrong) == (0, None, None)
    assert row.known_interval is None
    assert "| 3 (3) | 3 | 0.00 % [0.00, 0.00] | – | – |" in table(row)


def test_without_resamples_there_are_no_intervals() -> None:
    row = measured("aabb", [ANN, ANN, BEN, BEN], (0.5,), resamples=0)
    assert (row.known_again, row.new_interval, row.known_interval) == (1, None, None)
