"""dlib's face detectors: HOG with a linear classifier, or the max-margin network where it is fast.

Dalal and Triggs, "Histograms of oriented gradients", 2005; King, "Max-margin object detection",
2015.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from jetson_face.core.geometry import clip_boxes
from jetson_face.core.types import Detections, ImageU8
from jetson_face.detection.landmarks import DlibPoints, import_dlib, open_dlib
from jetson_face.detection.shrink import shrink
from jetson_face.models.cards import ModelCard

_HOG_FACE_PX = 80
_UPSAMPLE_MAX = 2


class DlibDetector:
    """Detector: boxes by `method`, landmarks by dlib's shape predictor.

    card: where dlib's files come from. method: `hog`, which finds upright faces near frontal, or
    `cnn`, which finds more and takes seconds a picture without a GPU that dlib was built for.
    points: `dlib68` or `dlib5`. min_face_px: HOG's window is 80 pixels; the picture is doubled
    until smaller faces fill it, twice at most. threshold: added to HOG's own; below 0 finds more.
    max_faces, max_side_px: see Mtcnn. Raises ModelError, MissingDependencyError.
    """

    def __init__(
        self,
        card: ModelCard,
        *,
        method: Literal["hog", "cnn"] = "hog",
        points: Literal["dlib68", "dlib5"] = "dlib68",
        min_face_px: float = 80,
        threshold: float = 0.0,
        max_faces: int = 32,
        max_side_px: int | None = None,
    ) -> None:
        dlib = import_dlib()
        self.name = f"dlib_{method}"
        self._method = method
        if method == "cnn":
            self._find = open_dlib(dlib.cnn_face_detection_model_v1, card, "mmod")
        else:
            self._find = dlib.get_frontal_face_detector()
        self._points = DlibPoints(card, points)
        self._min_face_px = min_face_px
        self._threshold = threshold
        self._max_faces = max_faces
        self._max_side_px = max_side_px

    def detect(self, image: ImageU8) -> Detections:
        """The faces of a (H, W, 3) BGR image, best first."""
        small, scale = shrink(image, self._max_side_px)
        rgb = np.ascontiguousarray(small[:, :, ::-1])
        found = self._search(rgb, upsampling(self._min_face_px * scale))
        if not found:
            return Detections.empty()
        found = sorted(found, key=lambda each: -each[1])[: self._max_faces]
        boxes = np.array([box for box, _ in found], np.float32)
        # the raw scores have no bounds: 0 is the detector's own threshold
        scores = 1 / (1 + np.exp(-2 * np.array([score for _, score in found], np.float64)))
        landmarks = self._points.points_rgb(rgb, boxes) / np.float32(scale)
        clipped = clip_boxes(boxes / np.float32(scale), image.shape[1], image.shape[0])
        faces = Detections(clipped, np.asarray(scores, np.float32), landmarks)
        return faces[(clipped[:, 2:] - clipped[:, :2]).min(axis=1) >= 1]

    def close(self) -> None:
        """Nothing to free."""

    def _search(
        self, rgb: ImageU8, times: int
    ) -> list[tuple[tuple[float, float, float, float], float]]:
        if self._method == "cnn":
            hits = [(hit.rect, float(hit.confidence)) for hit in self._find(rgb, times)]
        else:
            rectangles, scores, _ = self._find.run(rgb, times, self._threshold)
            hits = list(zip(rectangles, scores, strict=True))
        return [
            ((r.left(), r.top(), r.right() + 1, r.bottom() + 1), float(score)) for r, score in hits
        ]


def upsampling(min_face_px: float) -> int:
    """How often the picture is doubled so that a face of this size fills HOG's window."""
    times = 0
    while times < _UPSAMPLE_MAX and min_face_px * 2**times < _HOG_FACE_PX * 0.9:
        times += 1
    return times
