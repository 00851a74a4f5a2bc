"""Faces of the review queue: those that were rejected count against who they are not."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from jetson_face.config import Config, load_config
from jetson_face.core.types import EmbeddingSpace
from jetson_face.factory.negatives import faces_of, negatives_of, queued
from jetson_face.privacy.encryption import open_cipher
from jetson_face.review.queue import ReviewQueue
from tests.review.review_fakes import SPACE, face, review_item

OTHER = EmbeddingSpace("other", "1" * 64, 32)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Its queue has four faces: rejected, open, rejected of another network, rejected."""
    config = load_config(None, [f"state_dir={tmp_path}"])
    cipher = open_cipher(tmp_path, create=True)
    with ReviewQueue.open(tmp_path / "review.db", cipher) as queue:
        for seed, (who, space) in enumerate(
            (("ada", SPACE), ("bob", SPACE), ("bob", OTHER), ("cid", SPACE)), 1
        ):
            queue.add(review_item(who, seed, space=space), same_face_min=0.9)
            if who != "bob" or space == OTHER:
                queue.answer(seed, "rejected", None)
    return config


def test_rejected_faces_of_this_network_count_against_their_candidates(config: Config) -> None:
    found = negatives_of(config, SPACE, 0.45)
    assert found is not None
    assert (found.person, found.similarity_min) == (("ada", "cid"), 0.45)
    expected = np.concatenate([face(1).vectors, face(4).vectors])
    np.testing.assert_array_equal(found.vectors, expected)


def test_without_rejected_faces_or_where_they_are_not_wanted_there_are_none(
    config: Config, tmp_path: Path
) -> None:
    off = load_config(None, [f"state_dir={tmp_path}", "matching.negatives=false"])
    assert negatives_of(off, SPACE, 0.45) is None
    assert negatives_of(config, EmbeddingSpace("third", "2" * 64, 32), 0.45) is None
    away = load_config(None, [f"state_dir={tmp_path / 'away'}"])
    assert negatives_of(away, SPACE, 0.45) is None
    assert not (tmp_path / "away").exists()


def test_queued_faces_come_open_ones_first(config: Config) -> None:
    items = queued(config, SPACE)
    assert [item.number for item in items] == [2, 1, 4]
    faces = faces_of(items, SPACE)
    assert faces.space == SPACE
    assert faces.vectors.dtype == np.dtype(np.float32)
    np.testing.assert_array_equal(
        faces.vectors, np.concatenate([face(seed).vectors for seed in (2, 1, 4)])
    )
    none = faces_of([], SPACE).vectors
    assert none.shape == (0, SPACE.dim)
    assert none.dtype == np.dtype(np.float32)


def test_a_damaged_face_is_left_out_and_said(
    config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with sqlite3.connect(tmp_path / "review.db") as db:
        db.execute("UPDATE items SET body = zeroblob(1000) WHERE number = 1")
    found = negatives_of(config, SPACE, 0.45)
    assert found is not None
    assert found.person == ("cid",)
    (said,) = caplog.messages
    assert said.startswith(f"left out: {tmp_path / 'review.db'}: review item 1 is damaged: `")
    assert said.endswith("throws it away")


def test_a_face_that_is_erased_meanwhile_is_none(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = ReviewQueue.numbers

    def listed(self: ReviewQueue, state: str = "open") -> list[int]:
        found = numbers(self, state)
        self.erase("ada", [])
        return found

    monkeypatch.setattr(ReviewQueue, "numbers", listed)
    found = negatives_of(config, SPACE, 0.45)
    assert found is not None
    assert found.person == ("cid",)
