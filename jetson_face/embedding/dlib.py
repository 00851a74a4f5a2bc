"""dlib's face recognition ResNet: 150x150 crops to 128 numbers. dlib runs it, no back end."""

from __future__ import annotations

from typing import Any

import numpy as np

from jetson_face.core.errors import ModelError
from jetson_face.core.types import F32, ImageU8
from jetson_face.embedding.card import CardEmbedder
from jetson_face.models.cards import ModelCard, resolve
from jetson_face.util.optional import needs, pip_install


class DlibResnet128(CardEmbedder):
    """Embeds with dlib's network, weights from the card (a pip package), checked by SHA-256.

    dlib compares its vectors by Euclidean distance and they are not of unit length; here they are
    made so, and compared by cosine, as everywhere in this program.
    Raises ModelError, MissingDependencyError.
    """

    def __init__(self, card: ModelCard, *, max_batch: int = 16) -> None:
        super().__init__(card)
        path = resolve(card)
        with needs(f"dlib is not installed: {pip_install('dlib')}"):
            import dlib
        try:
            self._model: Any = dlib.face_recognition_model_v1(str(path))
        except RuntimeError as exc:
            raise ModelError(f"{path}: dlib cannot read it: {exc}") from exc
        self._max_batch = max_batch

    def _vectors(self, crops: ImageU8) -> F32:
        if self._model is None:
            raise ModelError(f"model {self._card.name!r}: used after close()")
        out = np.empty((len(crops), self.space.dim), np.float32)
        for first in range(0, len(crops), self._max_batch):
            batch = [np.ascontiguousarray(c[:, :, ::-1]) for c in crops[first:][: self._max_batch]]
            found = self._model.compute_face_descriptor(batch)
            out[first : first + len(batch)] = np.array(found, np.float32)
        return out

    def close(self) -> None:
        """Free the network."""
        self._model = None
