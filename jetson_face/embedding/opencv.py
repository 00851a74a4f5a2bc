"""A Torch 7 network through OpenCV's importer: OpenFace's own nn4.small2.v1.t7, from the user."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from jetson_face.core.errors import ModelError
from jetson_face.core.types import F32, ImageU8
from jetson_face.embedding.card import CardEmbedder
from jetson_face.embedding.onnx import preprocess
from jetson_face.models.cards import ModelCard, resolve


class OpenCvNet(CardEmbedder):
    """Embeds crops with OpenCV's own network runner; preprocessing is the card's.

    OpenCV 5 has no Torch importer: 4.x is needed. One crop at a time: the importer fixes the batch.
    Raises ModelError where the file cannot be read or does not give what the card says.
    """

    def __init__(self, card: ModelCard) -> None:
        super().__init__(card)
        if card.input is None or card.output is None:
            raise ModelError(f"model {card.name!r}: its card names no input and output tensors")
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
        self._input, self._dim = card.input, card.output.dim

    def _vectors(self, crops: ImageU8) -> F32:
        if self._net is None:
            raise ModelError(f"model {self._card.name!r}: used after close()")
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
        return out

    def close(self) -> None:
        """Free the network."""
        self._net = None
