"""`jetson-face review clusters|name`: a whole cluster in one step, with preview, audit and undo."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from jetson_face.config import Config
from jetson_face.core.types import Embeddings, Person
from jetson_face.privacy.encryption import open_cipher
from jetson_face.review.queue import ReviewQueue
from tests.review import test_review_command
from tests.review.review_fakes import SPACE, face, review_item
from tests.review.test_review_command import Review, acts, photos

ada, config, review = (getattr(test_review_command, name) for name in ("ada", "config", "review"))


@pytest.fixture
def queued(config: Config, ada: Person) -> None:
    """Items 1, 3 and 4 of one person, 2 of another; all may be Ada."""
    rng = np.random.default_rng(5)
    path = config.state_dir / "review.db"
    with ReviewQueue.open(path, open_cipher(config.state_dir)) as queue:
        for at, seed in enumerate((1, 2, 1, 1)):
            vector = face(seed).vectors + 0.04 * rng.normal(size=SPACE.dim)
            unit = np.asarray(vector / np.linalg.norm(vector), np.float32)
            item = replace(review_item(ada.id, 10 + at), face=Embeddings(unit, SPACE))
            queue.add(item, same_face_min=2)


def test_the_clusters_are_told_the_largest_first(
    review: Review, queued: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert review("clusters") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == [
        "cluster 1, 3 faces", "cluster 2, 1 face"
    ]  # fmt: skip
    assert [line.split(":")[0] for line in lines if line.startswith(" ")] == [
        "  1", "  3", "  4", "  2"
    ]  # fmt: skip
    assert review("clusters", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [[row["number"] for row in one["items"]] for one in told] == [[1, 3, 4], [2]]
    assert told[0]["items"][0]["candidate"] == "Ada"


def test_nothing_waits_in_clusters(
    review: Review, ada: Person, capsys: pytest.CaptureFixture[str]
) -> None:
    assert review("clusters") == 0
    assert capsys.readouterr().out == "no face waits for review\n"
    assert review("name", 1, "Eve") == 2


def test_a_preview_says_what_naming_would_change_and_changes_nothing(
    review: Review, queued: None, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config.state_dir / "review.db"
    with ReviewQueue.open(path, open_cipher(config.state_dir)) as queue:
        # like Eve enough to be named so, not enough for her cluster
        vector = face(1).vectors + 3.0 * face(7).vectors
        unit = np.asarray(vector / np.linalg.norm(vector), np.float32)
        queue.add(replace(review_item("x", 30), face=Embeddings(unit, SPACE)), same_face_min=2)
    assert review("name", 3, "Eve", "--preview", "--set", "matching.similarity_min=0.3") == 0
    told = capsys.readouterr().out.splitlines()
    assert told == ["Eve: 3 faces more", "1 face that still waits would be decided otherwise",
                    "  review item 5: unknown, then Eve"]  # fmt: skip
    assert photos(config) == {"Ada": 1}


def test_a_cluster_is_named_in_one_step_and_taken_back_one_by_one(
    review: Review, queued: None, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    assert review("name", 3, "Eve") == 0
    assert capsys.readouterr().out == "Eve: 3 added (review items 1, 3, 4)\n"
    assert photos(config) == {"Ada": 1, "Eve": 3}
    assert acts(config) == [("confirmed", "Eve", 1), ("confirmed", "Eve", 3),
                            ("confirmed", "Eve", 4)]  # fmt: skip
    assert review("name", 1, "Eve") == 2
    assert review("name", 2, "ada") == 0
    for _ in range(4):
        assert review("undo") == 0
    assert photos(config) == {"Ada": 1}
    assert review("name", 1, "\n") == 13
    assert photos(config) == {"Ada": 1}
