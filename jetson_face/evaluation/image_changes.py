"""Pictures made worse in one known way: size, blur, light, turn, JPEG. Pure functions."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from jetson_face.core.types import F32, ImageU8
from jetson_face.util.images import decode_picture, encode_jpeg


def scaled(image: ImageU8, factor: float) -> ImageU8:
    """Shrunk or enlarged; shrinking averages what falls together. Raises ValueError below 0."""
    if factor <= 0:
        raise ValueError(f"a factor is above 0, got {factor:g}")
    height, width = image.shape[:2]
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)


def blurred(image: ImageU8, sigma: float) -> ImageU8:
    """Gaussian blur, sigma in pixels; 0 changes nothing."""
    if sigma <= 0:
        return image
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def lit(image: ImageU8, gain: float) -> ImageU8:
    """Every value times `gain`, clipped: below 1 darker, above 1 lighter with burnt-out parts."""
    return np.asarray(np.clip(np.rint(image.astype(np.float32) * gain), 0, 255), np.uint8)


def compressed(image: ImageU8, quality: int) -> ImageU8:
    """Through JPEG of `quality` (1 to 100) and back."""
    return decode_picture(encode_jpeg(image, quality=quality), f"JPEG of quality {quality}")


def rotated(image: ImageU8, degrees: float) -> ImageU8:
    """Turned anticlockwise about the middle, on a black canvas that holds all of it."""
    if degrees == 0:
        return image
    matrix, (width, height) = _turn(image, degrees)
    return np.asarray(cv2.warpAffine(image, matrix, (width, height)), np.uint8)


def rotate_points(points: F32, image: ImageU8, degrees: float) -> F32:
    """Where points (N, 2) xy of `image` lie in `rotated(image, degrees)`."""
    if degrees == 0:
        return points
    matrix, _ = _turn(image, degrees)
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)


def _turn(image: ImageU8, degrees: float) -> tuple[NDArray[np.float64], tuple[int, int]]:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    new_width = int(np.ceil(height * sin + width * cos))
    new_height = int(np.ceil(height * cos + width * sin))
    matrix[:, 2] += ((new_width - width) / 2, (new_height - height) / 2)
    return np.asarray(matrix, np.float64), (new_width, new_height)
