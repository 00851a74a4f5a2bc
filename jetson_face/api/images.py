"""Images as a program hands them over: files, arrays, Pillow images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from jetson_face.core.errors import UsageError
from jetson_face.core.types import ImageU8
from jetson_face.gallery.enroll import Picture, photos_in
from jetson_face.util.images import from_pillow, read_picture

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Image: TypeAlias = "str | os.PathLike[str] | NDArray[np.uint8] | PillowImage"
"""A picture: the path of a file, an array (H, W, 3) uint8 **BGR** as OpenCV has it, or a Pillow
image (whose colours Pillow knows)."""


def several(images: Image | Iterable[Image]) -> Iterable[Image]:
    """One image or several as several. Raises UsageError for a file's bytes."""
    if isinstance(images, bytes | bytearray):  # which are many numbers to a loop
        raise _no_image(images)
    if isinstance(images, str | os.PathLike | np.ndarray) or not isinstance(images, Iterable):
        return [images]  # a Pillow image cannot be iterated
    return images


def photos_of(image: Image, number: int) -> Sequence[Path | Picture]:
    """Photos to enrol from one image, or from a folder. Raises UsageError."""
    if isinstance(image, str | os.PathLike):
        if image == "":  # as a path it would be the current folder, and all its photos
            raise UsageError("an image's path is empty")
        return photos_in(Path(image))
    return [Picture(Path(f"image {number}"), picture_of(image))]


def picture_of(image: Image) -> ImageU8:
    """(H, W, 3) uint8 BGR. Raises UsageError where it is none of what `Image` says."""
    if isinstance(image, str | os.PathLike):
        return read_picture(Path(image))
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise UsageError(
                f"an image is an array (H, W, 3) uint8 BGR, got {image.shape} {image.dtype}"
            )
        return np.ascontiguousarray(image)
    from PIL.Image import Image as PillowImage

    if isinstance(image, PillowImage):
        return from_pillow(image)
    raise _no_image(image)


def _no_image(given: object) -> UsageError:
    encoded = isinstance(given, bytes | bytearray)
    return UsageError(
        f"an image is a path, an array (H, W, 3) uint8 BGR or a Pillow image, got a "
        f"{type(given).__name__}" + (": open it with PIL.Image.open(io.BytesIO(…))" * encoded)
    )
