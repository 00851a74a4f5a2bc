"""What the synthetic camera sees: a moving background, and faces that wander over it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from jetson_face.core.types import ImageU8


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticScene:
    """Draws frame n of a scene, the same for the same n and size, in any order.

    faces: pictures (H, W, 3) uint8 BGR that move over the background, each about half as high as
    the frame.
    """

    faces: Sequence[ImageU8] = ()

    def draw(self, n: int, width: int, height: int) -> ImageU8:
        """Frame n as a new (height, width, 3) uint8 BGR image."""
        image = _background(n, width, height)
        for index, face in enumerate(self.faces):
            side = max(8, height // 2 if len(self.faces) == 1 else height * 2 // 5)
            _paste(image, _fit(face, side), _path(n, index, len(self.faces), width, height, side))
        # The number makes every frame different from the one before, as a sensor's noise does.
        _stamp(image, n)
        return image


def _background(n: int, width: int, height: int) -> ImageU8:
    across = (np.arange(width, dtype=np.int32) + 2 * n) % 256
    down = np.arange(height, dtype=np.int32)[:, None] * 64 // max(height, 1)
    ramp = (np.abs(across - 128) // 2 + down).astype(np.uint8)
    return np.stack([ramp + 60, ramp + 50, ramp + 40], axis=-1)


def _fit(face: ImageU8, side: int) -> ImageU8:
    height, width = face.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = cv2.resize(np.asarray(face), size, interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


def _path(n: int, index: int, count: int, width: int, height: int, side: int) -> tuple[int, int]:
    """Left and top of a face: each wanders in its own column, so that faces never overlap much."""
    column = width / count
    sway = max(0.0, column - side) / 2
    left = column * index + sway * (1 + np.sin(n / 23 + index))
    top = (height - side) / 2 * (1 + 0.8 * np.sin(n / 31 + 2 * index))
    return round(float(left)), round(float(top))


def _paste(image: ImageU8, face: ImageU8, at: tuple[int, int]) -> None:
    left, top = at
    height, width = image.shape[:2]
    x1, y1 = max(0, left), max(0, top)
    x2, y2 = min(width, left + face.shape[1]), min(height, top + face.shape[0])
    if x1 < x2 and y1 < y2:
        image[y1:y2, x1:x2] = face[y1 - top : y2 - top, x1 - left : x2 - left]


def _stamp(image: ImageU8, n: int) -> None:
    scale = max(0.3, image.shape[0] / 640)
    place = (4, image.shape[0] - 6)
    cv2.putText(image, f"{n:06d}", place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1)
