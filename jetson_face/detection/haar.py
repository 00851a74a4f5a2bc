"""OpenCV's Haar cascade on the picture turned step by step, so that tilted heads are found too.

Viola and Jones, "Rapid object detection using a boosted cascade of simple features", 2001.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from jetson_face.core.geometry import clip_boxes, iou_matrix, nms
from jetson_face.core.types import F32, Detections, ImageU8
from jetson_face.detection.landmarks import PointFinder, open_cascade
from jetson_face.detection.shrink import shrink

CASCADE = "haarcascade_frontalface_default.xml"
_OVERLAP_MAX = 0.5
_SAME_MIN = 0.4
_SURE = 20.0


def turns(most: float, step: float) -> tuple[float, ...]:
    """Angles from -most to most, degrees, 0 among them: (0,) for a `most` of 0.

    Raises ValueError on a step that is not above 0.
    """
    if step <= 0 or most < 0:
        raise ValueError(f"angles need most >= 0 and step > 0, got {most} and {step}")
    count = int(most / step + 1e-9)
    return tuple(step * i for i in range(-count, count + 1))


class Haar:
    """Detector: the cascade at each of `angles` (degrees), results merged, then landmarks.

    points: finds the landmarks, in the turned picture in which the face is upright; faces of which
    it finds none are not returned. min_face_px: smallest face looked for, pixels of the image as
    given. scale_factor: ratio of neighbouring pyramid levels. min_neighbours: hits that a face
    needs at one angle. max_faces, max_side_px: see Mtcnn.
    Raises ModelError where this OpenCV has no cascades, ValueError on a parameter out of range.
    """

    name = "haar"

    def __init__(
        self,
        points: PointFinder,
        *,
        angles: Sequence[float] = (0.0,),
        min_face_px: float = 40,
        scale_factor: float = 1.1,
        min_neighbours: int = 4,
        max_faces: int = 32,
        max_side_px: int | None = None,
        cascade: str = CASCADE,
    ) -> None:
        if not angles or scale_factor <= 1 or min_neighbours < 0 or max_faces < 1:
            raise ValueError("Haar needs an angle, scale_factor > 1, min_neighbours >= 0")
        self._points = points
        self._angles = tuple(angles)
        self._min_face_px = min_face_px
        self._scale_factor = scale_factor
        self._min_neighbours = min_neighbours
        self._max_faces = max_faces
        self._max_side_px = max_side_px
        self._cascade = open_cascade(cascade)

    def detect(self, image: ImageU8) -> Detections:
        """The faces of a (H, W, 3) BGR image, best first."""
        small, scale = shrink(image, self._max_side_px)
        small = np.ascontiguousarray(small)
        found = [self._search(small, angle, scale) for angle in self._angles]
        boxes, weights, landmarks = (np.concatenate(part) for part in zip(*found, strict=True))
        # Before merging: a wrong box that scores high must not hide the face it lies in.
        seen = np.isfinite(landmarks).all(axis=(1, 2))
        boxes, weights, landmarks = boxes[seen], weights[seen], landmarks[seen]
        # A face is found at several angles, a chance pattern at one.
        sure = weights * (iou_matrix(boxes) >= _SAME_MIN).sum(axis=1)
        keep = nms(boxes, np.asarray(sure, np.float32), _OVERLAP_MAX, over="min")
        keep = keep[: self._max_faces]
        height, width = image.shape[:2]
        clipped = clip_boxes(boxes[keep] / np.float32(scale), width, height)
        scores = np.asarray(1 - np.exp(-sure[keep] / _SURE), np.float32)
        return Detections(clipped, scores, landmarks[keep] / np.float32(scale))

    def close(self) -> None:
        """Nothing to free."""

    def _search(self, image: ImageU8, angle: float, scale: float) -> tuple[F32, F32, F32]:
        """Boxes (n, 4), hits (n,) behind each and landmarks (n, 5, 2) at one angle."""
        height, width = image.shape[:2]
        matrix, size = turning(width, height, angle)
        turned = image if angle == 0 else np.asarray(cv2.warpAffine(image, matrix, size), np.uint8)
        least = max(20, round(self._min_face_px * scale))
        boxes, weights = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        if min(turned.shape[:2]) >= least:
            # detectMultiScale3 would give the last stage's weight, but takes 20 times as long:
            # the black corners of a turned picture pass its many near misses on to grouping.
            rectangles, found = self._cascade.detectMultiScale2(
                cv2.equalizeHist(cv2.cvtColor(turned, cv2.COLOR_BGR2GRAY)),
                self._scale_factor,
                self._min_neighbours,
                0,
                (least, least),
            )
            boxes = np.array(rectangles, np.float32).reshape(-1, 4)
            boxes[:, 2:] += boxes[:, :2]
            weights = np.maximum(np.array(found, np.float32).reshape(-1), 1)
        points = self._points.points(turned, boxes)
        back = cv2.invertAffineTransform(matrix).astype(np.float32)
        landmarks = points @ back[:, :2].T + back[:, 2]
        return _turn_back(boxes, back), weights, _left_first(landmarks)


def turning(width: int, height: int, angle: float) -> tuple[F32, tuple[int, int]]:
    """The matrix (2, 3) that turns a picture about its middle, and the size that holds all of it.

    angle: degrees, positive counter-clockwise as seen.
    """
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, 1.0)
    cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
    wide, high = round(width * cos + height * sin), round(width * sin + height * cos)
    matrix[:, 2] += (wide - width) / 2, (high - height) / 2
    return np.asarray(matrix, np.float32), (wide, high)


def _turn_back(boxes: F32, back: F32) -> F32:
    """Boxes of the turned picture in the upright one: same size, about the same centre."""
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 @ back[:, :2].T + back[:, 2]
    half = (boxes[:, 2:] - boxes[:, :2]) / 2
    return np.asarray(np.concatenate([centre - half, centre + half], axis=1), np.float32)


def _left_first(landmarks: F32) -> F32:
    """The points in our order even where turning back put the right eye left of the other."""
    swap = landmarks[:, 0, 0] > landmarks[:, 1, 0]
    landmarks[swap] = landmarks[swap][:, [1, 0, 2, 4, 3]]
    return landmarks
