"""dlib's face recognition ResNet: 150x150 crops to 128 numbers. dlib runs it, no back end."""

from __future__ import annotations

from typing import Any

import numpy as np

from jetson_face.align import TEMPLATES
from jetson_face.embed.vectors import check_crops, unit_vectors
from jetson_face.errors import MissingDependencyError, ModelError
from jetson_face.models import ModelCard, embedding_space, resolve
from jetson_face.types import Embeddings, EmbeddingSpace, ImageU8


class DlibResnet128:
    """Embeds with dlib's network, weights from the card (a pip package), checked by SHA-256.

    dlib compares its vectors by Euclidean distance and they are not of unit length; here they are
    made so, and compared by cosine, as everywhere in this program.
    Raises ModelError, MissingDependencyError.
    """

    def __init__(self, card: ModelCard, *, max_batch: int = 16) -> None:
        path = resolve(card)
        try:
            import dlib
        except ImportError as exc:
            raise MissingDependencyError(
                "dlib is not installed: pip install 'jetson-face[pc]'"
            ) from exc
        try:
            self._model: Any = dlib.face_recognition_model_v1(str(path))
        except RuntimeError as exc:
            raise ModelError(f"{path}: dlib cannot read it: {exc}") from exc
        self._card = card
        self._max_batch = max_batch
        self._space = embedding_space(card)
        self._size = TEMPLATES[self.alignment].size

    @property
    def space(self) -> EmbeddingSpace:
        """Where its vectors live."""
        return self._space

    @property
    def alignment(self) -> str:
        """Name of the template that its crops must follow."""
        return str(self._card.alignment)

    @property
    def similarity_min(self) -> float:
        """Cosine at or above which two single faces are the same person."""
        return float(self._card.similarity_min or 0.0)

    def embed(self, crops: ImageU8) -> Embeddings:
        """Unit vectors (N, 128) of crops (N, 150, 150, 3) uint8 BGR. Raises ModelError."""
        if self._model is None:
            raise ModelError(f"model {self._card.name!r}: used after close()")
        check_crops(crops, self._size)
        out = np.empty((len(crops), self._space.dim), np.float32)
        for first in range(0, len(crops), self._max_batch):
            batch = [np.ascontiguousarray(c[:, :, ::-1]) for c in crops[first:][: self._max_batch]]
            found = self._model.compute_face_descriptor(batch)
            out[first : first + len(batch)] = np.array(found, np.float32)
        return Embeddings(unit_vectors(out, self._card.name), self._space)

    def close(self) -> None:
        """Free the network."""
        self._model = None
