"""The canary asks on time and speaks only when the answer changes."""

from __future__ import annotations

import numpy as np
import pytest

from jetson_face.core.types import F32, Embeddings, EmbeddingSpace, ImageU8
from jetson_face.inference.canary import Canary

SPACE = EmbeddingSpace("test", "0" * 64, 3)
WANTED = np.array([1, 0, 0], np.float32)
CROP: ImageU8 = np.zeros((1, 8, 8, 3), np.uint8)


class Embed:
    """Answers what it is told to."""

    def __init__(self) -> None:
        self.answer = WANTED
        self.asked = 0

    def __call__(self, crops: ImageU8) -> Embeddings:
        self.asked += 1
        return Embeddings(self.answer[None], SPACE)


def test_it_asks_at_once_and_then_every_so_often() -> None:
    embed = Embed()
    canary = Canary(embed, CROP, WANTED, 100)
    asked = []
    for now in (5, 50, 104, 105, 106, 204, 206):
        canary.poll(now)
        asked.append(embed.asked)
    assert asked == [1, 1, 1, 2, 2, 2, 3]
    never = Canary(embed, CROP, WANTED, 0)
    assert never.poll(5) is None
    assert embed.asked == 3


@pytest.mark.parametrize(
    "wrong",
    [
        np.array([0, 1, 0], np.float32),
        np.array([0.998, np.sqrt(1 - 0.998**2), 0], np.float32),
        np.array([np.nan, 0, 0], np.float32),
        np.zeros(3, np.float32),
    ],
    ids=["another face", "slightly off", "not a number", "nothing"],
)
def test_drift_and_recovery_are_one_event_each(wrong: F32) -> None:
    embed = Embed()
    canary = Canary(embed, CROP, WANTED, 1)
    assert canary.poll(1) is None
    embed.answer = wrong
    event = canary.poll(2)
    assert event is not None
    assert (event.state, event.at_ns) == ("drifted", 2)
    assert "engines check" in str(event)
    assert canary.poll(3) is None
    embed.answer = WANTED
    event = canary.poll(4)
    assert event is not None
    assert event.state == "recovered"
    assert canary.last_cosine == 1.0
    assert canary.poll(5) is None
