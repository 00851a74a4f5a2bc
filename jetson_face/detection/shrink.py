"""Pictures made smaller for the search: one way for every detector."""

from __future__ import annotations

import cv2
import numpy as np

from jetson_face.core.types import ImageU8


def shrink(image: ImageU8, max_side_px: int | None) -> tuple[ImageU8, float]:
    """The image with its longer side at most `max_side_px`, and the scale that did it (<= 1)."""
    size, scale = small_size((image.shape[1], image.shape[0]), max_side_px)
    if scale == 1:
        return image, 1.0
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), scale


def shrink_fast(image: ImageU8, max_side_px: int | None) -> tuple[ImageU8, float]:
    """As `shrink`, in a fifth of the time: halved while it is twice as large, the rest bilinear.

    Of a 1080p frame to 1152 pixels: 2.3 ms instead of 13.4. For networks that bear a little noise:
    MTCNN's P-Net does not.
    """
    size, scale = small_size((image.shape[1], image.shape[0]), max_side_px)
    if scale == 1:
        return image, 1.0
    halved = image
    while halved.shape[1] >= 2 * size[0] and halved.shape[0] >= 2 * size[1]:
        half = (halved.shape[1] // 2, halved.shape[0] // 2)
        halved = np.asarray(cv2.resize(halved, half, interpolation=cv2.INTER_AREA), np.uint8)
    if halved.shape[1::-1] == size:
        return halved, scale
    return np.asarray(cv2.resize(halved, size, interpolation=cv2.INTER_LINEAR), np.uint8), scale


def small_size(size: tuple[int, int], max_side_px: int | None) -> tuple[tuple[int, int], float]:
    """Width and height with the longer side at most `max_side_px`, and the scale (<= 1)."""
    if max_side_px is None or max(size) <= max_side_px:
        return size, 1.0
    scale = max_side_px / max(size)
    return (max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)), scale
