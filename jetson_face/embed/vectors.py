"""What every embedder checks: its crops on the way in, its vectors on the way out."""

from __future__ import annotations

import numpy as np

from jetson_face.errors import ModelError
from jetson_face.types import F32, ImageU8


def check_crops(crops: ImageU8, size: int) -> None:
    """Raise ModelError unless crops are (N, size, size, 3) uint8."""
    if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (size, size, 3):
        raise ModelError(
            f"crops must be (N, {size}, {size}, 3) uint8 BGR, got {crops.shape} {crops.dtype}"
        )


def unit_vectors(vectors: F32, what: str) -> F32:
    """Rows (N, D) scaled to length 1. Raises ModelError on a row that is zero or not finite."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 1e-6).all()):
        raise ModelError(f"model {what!r} gave a vector that is zero or not finite")
    return np.asarray(vectors / lengths, np.float32)
