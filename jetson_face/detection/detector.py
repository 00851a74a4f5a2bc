"""The detector seam: image in, faces out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from jetson_face.core.types import F32, Area, Detections, Frame, ImageU8, Pixels


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
class SecondLook(Protocol):
    """A detector that finds and follows faces in less time where rough landmarks will do, and can
    look again at those whose landmarks are to be as exact as `detect` gives them.

    `search` is as `detect` and `follow` as `Refiner.refine`, both with rough landmarks. `sharpen`
    takes (N, 4) boxes and gives landmarks (N, 5, 2), NaN where it does not find the face again.
    """

    def search(self, image: ImageU8) -> Detections: ...
    def follow(self, image: ImageU8, boxes: F32) -> Detections: ...
    def sharpen(self, image: ImageU8, boxes: F32) -> F32: ...


@runtime_checkable
class SearchMany(Protocol):
    """A detector that searches pictures of one size in one run.

    `search_many` gives what `search` of SecondLook gives for each, or with `large` what
    `search_large` of LargeFirst does. `together` says how many pictures of (width, height) `size`
    it takes at once; 1: none with another.
    """

    def search_many(self, images: Sequence[Pixels], *, large: bool = False) -> list[Detections]: ...
    def together(self, size: tuple[int, int]) -> int: ...


@runtime_checkable
class LargeFirst(Protocol):
    """A detector that finds the larger faces alone in much less time.

    `search_large` is as `detect`, or as `SecondLook.search` where it has that; a face near the
    smallest size may be missing. `saves` says whether that pays on pictures of (width, height)
    `size`.
    """

    def search_large(self, image: ImageU8) -> Detections: ...
    def saves(self, size: tuple[int, int]) -> bool: ...


@runtime_checkable
class AreaSearch(Protocol):
    """A detector that can search a rectangle of a picture alone.

    `search_area` is as `detect`, or as `SecondLook.search` where it has that: it sees the area at
    the scale at which it sees the whole picture; boxes are pixels of the picture, clipped to the
    area. `takes_areas` says whether it can on pictures of (width, height) `size`.
    """

    def search_area(self, image: ImageU8, area: Area) -> Detections: ...
    def takes_areas(self, size: tuple[int, int]) -> bool: ...


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


def moved(found: Detections, area: Area) -> Detections:
    """What was found in an area's own pixels, in those of the picture."""
    corner = np.array(area[:2], np.float32)
    return Detections(found.boxes + np.tile(corner, 2), found.scores, found.landmarks + corner)


def sharpened(detector: SecondLook, image: ImageU8, found: Detections) -> Detections:
    """The faces with the landmarks of a second look, where it finds them again."""
    near = detector.sharpen(image, found.boxes)
    sharp = np.asarray(np.isfinite(near).all(axis=(1, 2)))[:, None, None]
    return Detections(found.boxes, found.scores, np.where(sharp, near, found.landmarks))
