"""The detector seam: image in, faces out."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jetson_face.core.types import F32, Detections, Frame, ImageU8, Pixels


class Detector(Protocol):
    """Finds every face of an image.

    `detect` takes (H, W, 3) uint8 BGR of any size and strides and returns faces sorted by score,
    best first, boxes clipped to the image. The same image gives the same faces whatever was asked
    before. One with an attribute `takes_bgrx` that is true takes (H, W, 4) BGRx as well.
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


def picture_for(part: Detector | Refiner, frame: Frame) -> Pixels:
    """What of a frame a detector or refiner is given: BGR, or the pixels as they came where it says
    `takes_bgrx`."""
    return frame.pixels if getattr(part, "takes_bgrx", False) else frame.image
