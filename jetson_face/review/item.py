"""One doubtful face, as it is stored: what a person needs to decide, and what a template needs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np

from jetson_face.core.types import F32, Embeddings, EmbeddingSpace

NOBODY = ""
"""The candidate of a face that is like nobody enrolled."""
_MARKS_BYTES = 5 * 2 * 4
_PLAIN = ("candidate", "similarity", "second", "time", "source", "track", "quality")


@dataclass(frozen=True, slots=True, eq=False)
class ReviewItem:
    """Is this `candidate`?

    candidate: a person's id, or NOBODY. similarity: cosine of the track's mean to them; second: to
    the best other person. time: UTC seconds. quality: [0, 1]. face: one vector. portrait: JPEG;
    landmarks: (5, 2) float32, its pixels.
    """

    candidate: str
    similarity: float
    second: float
    time: float
    source: str
    track: int
    quality: float
    face: Embeddings
    portrait: bytes
    landmarks: F32

    @property
    def photo(self) -> str:
        """Hex SHA-256 of the portrait: names its template in the gallery."""
        return hashlib.sha256(self.portrait).hexdigest()

    def to_bytes(self) -> bytes:
        """A line of JSON, then vector, landmarks and portrait."""
        head = {name: getattr(self, name) for name in _PLAIN} | {"space": asdict(self.face.space)}
        vector = np.asarray(self.face.vectors[0], "<f4").tobytes()
        marks = np.asarray(self.landmarks, "<f4").tobytes()
        return json.dumps(head).encode() + b"\n" + vector + marks + self.portrait

    @classmethod
    def from_bytes(cls, data: bytes) -> ReviewItem:
        """What `to_bytes` made. Raises ValueError, KeyError or TypeError for anything else."""
        line, _, rest = data.partition(b"\n")
        head = json.loads(line)
        space = EmbeddingSpace(**head.pop("space"))
        split = 4 * space.dim
        vector = np.frombuffer(rest[:split], "<f4").reshape(1, space.dim).copy()
        marks = np.frombuffer(rest[split : split + _MARKS_BYTES], "<f4").reshape(5, 2).copy()
        return cls(
            face=Embeddings(vector, space),
            landmarks=marks,
            portrait=rest[split + _MARKS_BYTES :],
            **head,
        )
