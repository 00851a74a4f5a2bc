"""Frames to measure speed with: one face that walks across a textured picture."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from jetson_face.core.types import Frame, ImageU8


def moving_face(picture: ImageU8, width: int, frame_ns: int) -> Iterator[Frame]:
    """Endless frames, `width` wide and 16 : 9, in which `picture` wanders about the middle.

    The picture is scaled to a half of the height, so that its face takes a quarter or more; around
    it is smoothed noise, which gives a detector something to reject. frame_ns: between frames.
    """
    height = width * 9 // 16
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (height // 8, width // 8, 3), np.uint8)
    ground = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    side = height // 2
    scale = side / max(picture.shape[:2])
    size = (max(round(picture.shape[1] * scale), 8), max(round(picture.shape[0] * scale), 8))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    number = 0
    while True:
        image = ground.copy()
        left = round((width - size[0]) / 2 + width / 8 * np.sin(number / 15))
        top = round((height - size[1]) / 2 + height / 16 * np.cos(number / 11))
        image[top : top + size[1], left : left + size[0]] = small
        yield Frame(np.asarray(image, np.uint8), number, number * frame_ns, 0.0, "bakeoff")
        number += 1
