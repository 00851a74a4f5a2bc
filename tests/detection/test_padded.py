"""The border is seen and taken off again."""

from __future__ import annotations

import numpy as np
import pytest

from jetson_face.core.types import Detections, ImageU8
from jetson_face.detection.padded import Padded


class Edge:
    """Finds the whole picture, and something in the border."""

    name = "edge"

    def __init__(self) -> None:
        self.seen: tuple[int, ...] = ()
        self.closed = False

    def detect(self, image: ImageU8) -> Detections:
        self.seen = image.shape
        height, width = image.shape[:2]
        boxes = np.array([[0, 0, width, height], [0, 0, 5, 5]], np.float32)
        points = np.full((2, 5, 2), 40, np.float32)
        return Detections(boxes, np.array([0.9, 0.8], np.float32), points)

    def close(self) -> None:
        self.closed = True


def test_boxes_are_cut_to_the_picture_and_landmarks_moved_back() -> None:
    inner = Edge()
    image = np.zeros((60, 100, 3), np.uint8)
    found = Padded(inner, share=0.3).detect(image)
    assert inner.seen == (120, 160, 3)
    assert found.boxes.tolist() == [[0, 0, 100, 60]]
    assert found.landmarks[0, 0].tolist() == [10, 10]


def test_it_closes_what_is_inside_and_refuses_a_border_of_nothing() -> None:
    inner = Edge()
    Padded(inner).close()
    assert inner.closed
    with pytest.raises(ValueError, match="share"):
        Padded(inner, share=0)
