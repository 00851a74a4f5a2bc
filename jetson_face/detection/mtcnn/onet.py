"""O-Net alone: moves known boxes onto their faces, whatever found them first."""

from __future__ import annotations

import numpy as np

from jetson_face.core.geometry import clip_boxes, square_boxes
from jetson_face.core.types import F32, Detections, ImageU8
from jetson_face.detection.mtcnn.decode import cut_patches, place_points, regress
from jetson_face.inference.backend import Backend


class OnetRefiner:
    """Refiner over a back end with O-Net, MTCNN's third network.

    score_min: at or below it a face is lost, [0, 1].
    """

    def __init__(self, onet: Backend, *, score_min: float = 0.7) -> None:
        self._onet = onet
        self.score_min = score_min

    def refine(self, image: ImageU8, boxes: F32) -> Detections:
        """Known boxes (N, 4) moved onto their faces; a lost face has score 0. See Refiner."""
        boxes = np.asarray(boxes, np.float32)
        moved, scores, points = self.look(image, square_boxes(boxes))
        height, width = image.shape[:2]
        moved = clip_boxes(moved, width, height)
        lost = scores <= self.score_min
        lost |= (moved[:, 2:] - moved[:, :2]).min(axis=1, initial=np.inf) < 1
        return Detections(
            np.where(lost[:, None], boxes, moved),
            np.where(lost, np.float32(0), scores),
            np.where(lost[:, None, None], np.float32(np.nan), points),
        )

    def look(self, image: ImageU8, squares: F32) -> tuple[F32, F32, F32]:
        """O-Net on squares (N, 4): boxes (N, 4), scores (N,), landmarks (N, 5, 2)."""
        result = self._onet.run({"image": cut_patches(image, squares, 48)})
        points = place_points(squares, result["points"])
        return regress(squares, result["offsets"]), result["scores"][:, 0].copy(), points

    def close(self) -> None:
        """Close the back end."""
        self._onet.close()
