"""An embedder of your own, here any ONNX network: python own_embedder.py net.onnx 1.jpg 2.jpg"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import onnxruntime

import jetson_face


class OnnxFile:
    """A network that takes (N, 3, 112, 112) RGB in [-1, 1] and gives (N, D)."""

    alignment = "arcface112"  # the five points where ArcFace-like networks want them
    similarity_min = 0.42  # of this network: cosine at or above which two faces are one person

    def __init__(self, path: str) -> None:
        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        dim = self._session.get_outputs()[0].shape[1]
        # Vectors of another file must not be compared with these: so the digest.
        digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        self.space = jetson_face.EmbeddingSpace(Path(path).stem, digest, dim)

    def embed(self, crops: np.ndarray) -> jetson_face.Embeddings:
        """(N, 112, 112, 3) uint8 BGR to N vectors of length 1."""
        rgb = crops[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
        (vectors,) = self._session.run(None, {self._session.get_inputs()[0].name: rgb / 127.5 - 1})
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return jetson_face.Embeddings(vectors / lengths, self.space)

    def close(self) -> None:
        """Nothing to let go."""


network, first, second = sys.argv[1:]
embedder = OnnxFile(network)
# Another network needs another gallery: so the gallery is named after it.
gallery = f"{embedder.space.model}-{embedder.space.digest[:8]}.db"
with jetson_face.Recognizer(embedder=embedder, gallery=gallery) as recognizer:
    recognizer.enroll("the first", first)
    for face in recognizer.identify(second):
        print(f"similarity {face.similarity:.2f}: {face.name or face.state}")
