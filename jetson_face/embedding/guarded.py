"""Embedders of others: held to the contract, and named when they break it."""

from __future__ import annotations

import numpy as np

from jetson_face.core.errors import PluginError
from jetson_face.core.types import Embeddings, EmbeddingSpace, ImageU8
from jetson_face.embedding.align import TEMPLATES
from jetson_face.embedding.embedder import Embedder
from jetson_face.util.plugins import blamed, require

_LENGTH_ERROR = 1e-3


class GuardedEmbedder:
    """An embedder from outside. who: what errors call it. max_batch: crops for one call.

    Raises PluginError where the object is no embedder; `embed` where it fails, or gives anything
    but one finite unit vector a crop.
    """

    def __init__(self, inner: Embedder, who: str, *, max_batch: int = 16) -> None:
        require(inner, who, "space", "alignment", "similarity_min", "embed", "close")
        self._inner, self._who, self._max_batch = inner, who, max_batch
        with blamed(who):
            self.space, self.alignment = inner.space, inner.alignment
            self.similarity_min = float(inner.similarity_min)
        if not isinstance(self.space, EmbeddingSpace):
            raise PluginError(f"{who}: space is not a jetson_face.EmbeddingSpace")
        if self.alignment not in TEMPLATES:
            known = ", ".join(TEMPLATES)
            raise PluginError(f"{who}: no alignment {self.alignment!r}; there are {known}")
        if not -1 <= self.similarity_min <= 1:
            raise PluginError(f"{who}: similarity_min {self.similarity_min} is no cosine")

    def embed(self, crops: ImageU8) -> Embeddings:
        """See Embedder."""
        out = np.empty((len(crops), self.space.dim), np.float32)
        for first in range(0, len(crops), self._max_batch):
            part = crops[first : first + self._max_batch]
            with blamed(self._who):
                found = self._inner.embed(part)
            if not isinstance(found, Embeddings):
                given = type(found).__name__
                raise PluginError(f"{self._who}: gave a {given}, not jetson_face.Embeddings")
            if found.space != self.space or len(found) != len(part):
                raise PluginError(
                    f"{self._who}: gave {len(found)} vectors of {found.space} for {len(part)} "
                    f"crops, wanted one each of {self.space}"
                )
            out[first : first + len(part)] = found.vectors
        lengths = np.linalg.norm(out, axis=1)
        if not (np.abs(lengths - 1) <= _LENGTH_ERROR).all():  # also where one is no number
            raise PluginError(f"{self._who}: gave vectors that are not finite and of length 1")
        return Embeddings(out, self.space)

    def close(self) -> None:
        """Close it."""
        with blamed(self._who):
            self._inner.close()
