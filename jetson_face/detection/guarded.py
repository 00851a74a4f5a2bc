"""Detectors and refiners of others: held to the contract, and named when they break it."""

from __future__ import annotations

import cv2
import numpy as np

from jetson_face.core.errors import PluginError
from jetson_face.core.geometry import clip_boxes
from jetson_face.core.types import F32, Detections, ImageU8
from jetson_face.detection.detector import Detector, Refiner
from jetson_face.util.plugins import blamed, require


class GuardedDetector:
    """A detector from outside, as the program wants one.

    Its faces are sorted by score and clipped to the image. who: what errors call it. min_face_px:
    a face whose longer side is shorter is dropped. max_faces: the best so many are kept.
    max_side_px: it gets the picture shrunk to this longer side. The three are left alone by None.
    Raises PluginError where the object is no detector; `detect` where it fails.
    """

    def __init__(
        self,
        inner: Detector,
        who: str,
        *,
        min_face_px: float | None = None,
        max_faces: int | None = None,
        max_side_px: int | None = None,
    ) -> None:
        require(inner, who, "name", "detect", "close")
        self.inner, self._who = inner, who
        self.name = str(inner.name)
        self._min_face_px = min_face_px or 0.0
        self._max_faces, self._max_side_px = max_faces, max_side_px

    def detect(self, image: ImageU8) -> Detections:
        """See Detector."""
        small, scale = _shrunk(image, self._max_side_px)
        with blamed(self._who):
            found = self.inner.detect(small)
        found = checked(found, self._who)
        height, width = image.shape[:2]
        boxes = clip_boxes(np.asarray(found.boxes / scale, np.float32), width, height)
        sides = boxes[:, 2:] - boxes[:, :2]
        good = np.flatnonzero(
            (sides.max(axis=1, initial=0) >= self._min_face_px) & (sides.min(axis=1, initial=1) > 0)
        )
        best = good[np.argsort(-found.scores[good], kind="stable")][: self._max_faces]
        points = np.asarray(found.landmarks[best] / scale, np.float32)
        return Detections(boxes[best], found.scores[best], points)

    def refiner(self) -> GuardedRefiner | None:
        """The same object as a refiner, where it can follow faces too."""
        return GuardedRefiner(self.inner, self._who) if isinstance(self.inner, Refiner) else None

    def close(self) -> None:
        """Close it."""
        with blamed(self._who):
            self.inner.close()


class GuardedRefiner:
    """A refiner from outside. Raises PluginError where the object is none, or fails."""

    def __init__(self, inner: Refiner, who: str) -> None:
        require(inner, who, "refine")
        self._inner, self._who = inner, who

    def refine(self, image: ImageU8, boxes: F32) -> Detections:
        """See Refiner."""
        with blamed(self._who):
            found = self._inner.refine(image, boxes)
        found = checked(found, self._who)
        if len(found) != len(boxes):
            raise PluginError(
                f"{self._who}: refine got {len(boxes)} boxes and gave {len(found)}: one row each"
            )
        return found

    def is_part_of(self, detector: Detector) -> bool:
        """Whether the detector is the same object, which closes it."""
        return isinstance(detector, GuardedDetector) and id(detector.inner) == id(self._inner)

    def close(self) -> None:
        """Close it, where it can be closed."""
        close = getattr(self._inner, "close", None)
        if close is not None:
            with blamed(self._who):
                close()


def checked(found: Detections, who: str) -> Detections:
    """`found` as float32. Raises PluginError where it is no Detections or holds no numbers."""
    if not isinstance(found, Detections):
        raise PluginError(f"{who}: gave a {type(found).__name__}, not jetson_face.Detections")
    boxes, scores = np.asarray(found.boxes, np.float32), np.asarray(found.scores, np.float32)
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise PluginError(f"{who}: gave boxes or scores that are not finite numbers")
    if ((scores < 0) | (scores > 1)).any():
        raise PluginError(f"{who}: gave scores outside 0 to 1")
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise PluginError(f"{who}: gave boxes that are not x1, y1, x2, y2")
    return Detections(boxes, scores, np.asarray(found.landmarks, np.float32))


def _shrunk(image: ImageU8, side_max: int | None) -> tuple[ImageU8, np.float32]:
    height, width = image.shape[:2]
    if side_max is None or max(height, width) <= side_max:
        return image, np.float32(1)
    scale = side_max / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), np.float32(scale)
