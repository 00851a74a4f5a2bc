"""A Torch 7 network through OpenCV's importer: OpenFace's own nn4.small2.v1.t7, from the user."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from jetson_face.align import TEMPLATES
from jetson_face.embed.onnx import preprocess
from jetson_face.embed.vectors import check_crops, unit_vectors
from jetson_face.errors import ModelError
from jetson_face.models import ModelCard, embedding_space, resolve
from jetson_face.types import Embeddings, EmbeddingSpace, ImageU8


class OpenCvNet:
    """Embeds crops with OpenCV's own network runner; preprocessing is the card's.

    OpenCV 5 has no Torch importer: 4.x is needed. One crop at a time: the importer fixes the batch.
    Raises ModelError where the file cannot be read or does not give what the card says.
    """

    def __init__(self, card: ModelCard) -> None:
        if card.input is None or card.output is None or card.alignment not in TEMPLATES:
            raise ModelError(f"model {card.name!r}: the card is not that of an embedder")
        path = resolve(card)
        if not hasattr(cv2.dnn, "readNetFromTorch"):
            raise ModelError(
                f"{path}: OpenCV {cv2.__version__} has no Torch importer: "
                "pip install 'opencv-python-headless>=4.8,<5'"
            )
        try:
            self._net: Any = cv2.dnn.readNetFromTorch(str(path))
        except cv2.error as exc:
            raise ModelError(
                f"{path}: not a Torch 7 network that OpenCV can read: {' '.join(str(exc).split())}"
            ) from exc
        self._card, self._input, self._dim = card, card.input, card.output.dim
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
        """Unit vectors (N, dim) of crops (N, S, S, 3) uint8 BGR. Raises ModelError."""
        if self._net is None:
            raise ModelError(f"model {self._card.name!r}: used after close()")
        check_crops(crops, self._size)
        out = np.empty((len(crops), self._dim), np.float32)
        for row in range(len(crops)):
            self._net.setInput(preprocess(crops[row : row + 1], self._input))
            found = np.asarray(self._net.forward(), np.float32).reshape(-1)
            if len(found) != self._dim:
                raise ModelError(
                    f"model {self._card.name!r} gives {len(found)} numbers, its card says "
                    f"{self._dim}"
                )
            out[row] = found
        return Embeddings(unit_vectors(out, self._card.name), self._space)

    def close(self) -> None:
        """Free the network."""
        self._net = None
