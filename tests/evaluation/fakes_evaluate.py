"""Stand-ins whose answers are in the picture itself: pixel (0, 0) says who, (0, 1) how seen."""

from __future__ import annotations

import numpy as np

from jetson_face.core.types import F32, Detections, Embeddings, EmbeddingSpace, ImageU8

SPACE = EmbeddingSpace("fake", "f" * 64, 8)
SEEN, FAINT, HIDDEN = 0, 1, 2
"""How a picture's face can be found: by anybody, by the relaxed detector only, by nobody."""


def picture(who: int, *, how: int = SEEN, noise: int = 0, size: int = 32) -> ImageU8:
    """A picture of person `who`; `noise` turns its vector by about as many degrees."""
    image = np.full((size, size, 3), 90, np.uint8)
    image[0, 0] = (who, noise, 0)
    image[0, 1] = how
    return image


class FakeDetector:
    """Finds one face in the middle, where the picture lets it."""

    name = "fake"

    def __init__(self, *, sees: int = SEEN) -> None:
        self.sees = sees
        self.asked = 0

    def detect(self, image: ImageU8) -> Detections:
        self.asked += 1
        if image[0, 1, 0] > self.sees:
            return Detections.empty()
        side = image.shape[0]
        box = np.array([[side / 4, side / 4, side * 3 / 4, side * 3 / 4]], np.float32)
        return Detections(box, np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))

    def close(self) -> None:
        pass


class FakeAligner:
    """The picture itself is the crop."""

    def crop(self, image: ImageU8, landmarks: F32) -> ImageU8:
        return np.repeat(image[None, :32, :32], len(landmarks), axis=0)


class FakeEmbedder:
    """One axis a person, turned towards the next one by the noise in degrees."""

    space = SPACE
    alignment = "fake"
    similarity_min = 0.5

    def __init__(self) -> None:
        self.batches: list[int] = []

    def embed(self, crops: ImageU8) -> Embeddings:
        self.batches.append(len(crops))
        vectors = np.zeros((len(crops), SPACE.dim), np.float32)
        for row, crop in enumerate(crops):
            who, noise = int(crop[0, 0, 0]), np.deg2rad(float(crop[0, 0, 1]))
            vectors[row, who % SPACE.dim] = np.cos(noise)
            vectors[row, (who + 1) % SPACE.dim] = np.sin(noise)
        return Embeddings(vectors, SPACE)

    def close(self) -> None:
        pass
