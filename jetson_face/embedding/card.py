"""What embedders that follow a model card have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from jetson_face.core.errors import ModelError
from jetson_face.core.types import F32, Embeddings, ImageU8
from jetson_face.embedding.align import TEMPLATES
from jetson_face.models.cards import ModelCard, embedding_space


class CardEmbedder(ABC):
    """Checks the crops on the way in and the vectors on the way out; `_vectors` is the network.

    Raises ModelError where the card is not that of an embedder.
    """

    def __init__(self, card: ModelCard) -> None:
        if card.alignment is None:
            raise ModelError(f"model {card.name!r} is a {card.kind}, not an embedder")
        if card.alignment not in TEMPLATES:
            raise ModelError(
                f"model {card.name!r} wants alignment {card.alignment!r}; there are "
                f"{', '.join(TEMPLATES)}"
            )
        self._card = card
        self._size = TEMPLATES[card.alignment].size
        self.space = embedding_space(card)
        self.alignment = card.alignment
        self.similarity_min = float(card.similarity_min or 0.0)

    def embed(self, crops: ImageU8) -> Embeddings:
        """Unit vectors (N, dim) of crops (N, S, S, 3) uint8 BGR. Raises ModelError."""
        check_crops(crops, self._size)
        return Embeddings(unit_vectors(self._vectors(crops), self._card.name), self.space)

    @abstractmethod
    def _vectors(self, crops: ImageU8) -> F32:
        """(N, dim) of any length."""


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
