"""The detector seam: image in, faces out."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jetson_face.core.types import F32, Detections, ImageU8


class Detector(Protocol):
    """Finds every face of an image.

    `detect` takes (H, W, 3) uint8 BGR of any size and strides and returns faces sorted by score,
    best first, boxes clipped to the image. The same image gives the same faces whatever was asked
    before.
    """

    @property
    def name(self) -> str: ...
    def detect(self, image: ImageU8) -> Detections: ...
    def close(self) -> None: ...


@runtime_checkable
class Refiner(Protocol):
    """Moves known boxes onto their faces, cheaply, on frames that are not searched.

    `refine` takes (N, 4) predicted boxes and returns exactly N rows in the same order; a row whose
    face was lost has score 0, its box as given, and NaN landmarks.
    """

    def refine(self, image: ImageU8, boxes: F32) -> Detections: ...
