"""YuNet: one small network for boxes and five landmarks, on any back end.

Wu, Peng, Yu, "YuNet: a tiny millisecond-level face detector", 2023. OpenCV's own reader
(`FaceDetectorYN`, 4.14) refuses the graph with dynamic shapes; a back end takes it, and the same
decoding then runs with TensorRT.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from jetson_face.core.errors import ModelError
from jetson_face.core.geometry import clip_boxes, nms
from jetson_face.core.types import F32, Detections, ImageU8
from jetson_face.detection.mtcnn.detector import shrink
from jetson_face.inference.backend import Array, Backend

STRIDES = (8, 16, 32)
_OVERLAP_MAX = 0.3
_TOP_K = 1000


class YuNet:
    """Detector over a back end with YuNet's graph.

    score_min: [0, 1]. min_face_px: smaller faces are not returned. max_faces, max_side_px: see
    Mtcnn. Raises ModelError on another graph.
    """

    name = "yunet"

    def __init__(
        self,
        backend: Backend,
        *,
        score_min: float = 0.7,
        min_face_px: float = 20,
        max_faces: int = 32,
        max_side_px: int | None = None,
    ) -> None:
        wanted = {f"{part}_{s}" for part in ("cls", "obj", "bbox", "kps") for s in STRIDES}
        if not wanted <= backend.outputs.keys() or len(backend.inputs) != 1:
            raise ModelError(f"not YuNet's graph: it has the outputs {sorted(backend.outputs)}")
        self._backend = backend
        self._input = next(iter(backend.inputs))
        self._score_min = score_min
        self._min_face_px = min_face_px
        self._max_faces = max_faces
        self._max_side_px = max_side_px

    def detect(self, image: ImageU8) -> Detections:
        """The faces of a (H, W, 3) BGR image, best first."""
        small, scale = shrink(image, self._max_side_px)
        bottom, right = -small.shape[0] % STRIDES[-1], -small.shape[1] % STRIDES[-1]
        padded = cv2.copyMakeBorder(small, 0, bottom, 0, right, cv2.BORDER_CONSTANT)
        maps = self._backend.run({self._input: cv2.dnn.blobFromImage(padded)})
        columns = padded.shape[1]
        found = [decode(maps, stride, columns // stride) for stride in STRIDES]
        boxes, scores, points = (np.concatenate(part) for part in zip(*found, strict=True))
        height, width = image.shape[:2]
        boxes = clip_boxes(boxes / np.float32(scale), width, height)
        size = boxes[:, 2:] - boxes[:, :2]
        good = (scores >= self._score_min) & (size.max(axis=1) >= self._min_face_px)
        good &= size.min(axis=1) >= 1
        best = np.flatnonzero(good)
        best = best[np.argsort(-scores[best], kind="stable")][:_TOP_K]
        keep = best[nms(boxes[best], scores[best], _OVERLAP_MAX)][: self._max_faces]
        return Detections(boxes[keep], scores[keep], points[keep] / np.float32(scale))

    def close(self) -> None:
        """Close the back end."""
        self._backend.close()


def decode(maps: Mapping[str, Array], stride: int, columns: int) -> tuple[F32, F32, F32]:
    """Boxes (n, 4), scores (n,) and landmarks (n, 5, 2) of one level, pixels of the input.

    The score is the geometric mean of class and objectness; offsets count cells from the corner of
    their own one, sizes are logarithms in cells. The network's order of points is ours.
    """
    score = np.sqrt(np.clip(maps[f"cls_{stride}"][0, :, 0] * maps[f"obj_{stride}"][0, :, 0], 0, 1))
    row, column = np.divmod(np.arange(len(score)), columns)
    corner = np.stack([column, row], axis=1).astype(np.float32)
    box = maps[f"bbox_{stride}"][0]
    centre, half = (corner + box[:, :2]) * stride, np.exp(np.minimum(box[:, 2:], 8)) * stride / 2
    points = (corner[:, None] + maps[f"kps_{stride}"][0].reshape(-1, 5, 2)) * stride
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    return (
        np.asarray(boxes, np.float32),
        np.asarray(score, np.float32),
        np.asarray(points, np.float32),
    )
