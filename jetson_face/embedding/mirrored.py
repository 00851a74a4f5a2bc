"""A face and its mirror image: what a network sees on one side only averages out."""

from __future__ import annotations

import numpy as np

from jetson_face.core.types import Embeddings, ImageU8
from jetson_face.embedding.card import unit_vectors
from jetson_face.embedding.embedder import Embedder


class Mirrored:
    """Gives the mean of a face's vector and its mirror image's, for twice the time.

    The vectors live in the space of the embedder inside.
    """

    def __init__(self, inner: Embedder) -> None:
        self._inner = inner
        self.space, self.alignment = inner.space, inner.alignment
        self.similarity_min = inner.similarity_min

    def embed(self, crops: ImageU8) -> Embeddings:
        """Unit vectors (N, dim) of crops (N, S, S, 3) uint8 BGR. Raises ModelError."""
        both = self._inner.embed(np.concatenate([crops, mirror(crops)])).vectors
        one, other = both[: len(crops)], both[len(crops) :]
        return Embeddings(unit_vectors(one + other, self.space.model), self.space)

    def close(self) -> None:
        """Close the embedder inside."""
        self._inner.close()


def mirror(crops: ImageU8) -> ImageU8:
    """Crops (N, S, S, 3), left and right exchanged."""
    return crops[:, :, ::-1]
