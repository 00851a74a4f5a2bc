"""The embedder seam: aligned crops in, unit vectors of one embedding space out."""

from __future__ import annotations

from typing import Protocol

from jetson_face.core.types import Embeddings, EmbeddingSpace, ImageU8


class Embedder(Protocol):
    """Turns aligned faces into unit vectors.

    alignment: name of the template (`jetson_face.embedding.align.TEMPLATES`) of its crops.
    similarity_min: the cosine at or above which two single faces are the same person, as measured
        for this network; the default of the decision threshold.
    embed: (N, S, S, 3) uint8 BGR crops, S the template's size; N = 0 gives (0, dim).
    """

    @property
    def space(self) -> EmbeddingSpace: ...
    @property
    def alignment(self) -> str: ...
    @property
    def similarity_min(self) -> float: ...
    def embed(self, crops: ImageU8) -> Embeddings: ...
    def close(self) -> None: ...
