"""Review items and queues for tests, made without a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jetson_face.core.types import Embeddings, EmbeddingSpace
from jetson_face.privacy.encryption import AesGcm
from jetson_face.review.item import ReviewItem
from jetson_face.review.queue import ReviewQueue
from jetson_face.review.sealed_file import Limits
from jetson_face.util.images import encode_jpeg

SPACE = EmbeddingSpace("review", "0" * 64, 32)
CIPHER = AesGcm(bytes(32))


def face(seed: int, space: EmbeddingSpace = SPACE) -> Embeddings:
    """A unit vector; those of two seeds are nearly orthogonal."""
    vector = np.random.default_rng(seed).normal(size=(1, space.dim)).astype(np.float32)
    return Embeddings(vector / np.linalg.norm(vector), space)


def review_item(
    candidate: str = "ada", seed: int = 1, *, space: EmbeddingSpace = SPACE
) -> ReviewItem:
    """An item of one face of noise."""
    portrait = np.random.default_rng(seed).integers(0, 255, (256, 256, 3), np.uint8)
    marks = np.arange(10, dtype=np.float32).reshape(5, 2)
    return ReviewItem(
        candidate, 0.4, 0.3, 1e9, "door", 7, 0.8, face(seed, space), encode_jpeg(portrait), marks
    )


class Age:
    """Service time that tests turn by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def open_queue(
    folder: Path, *, items: int = 200, age: Age | None = None, key: bytes = bytes(32)
) -> ReviewQueue:
    """A queue in the folder."""
    limits = Limits(items, 30 * 86400.0)
    return ReviewQueue.open(folder / "review.db", AesGcm(key), limits=limits, age=age or Age())
