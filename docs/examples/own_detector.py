"""A detector of your own, here OpenCV's Haar cascade: python own_detector.py party.jpg"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

import jetson_face

# Where a frontal face has eyes, nose and mouth corners, in shares of the cascade's box.
POINTS = np.array([[0.31, 0.4], [0.69, 0.4], [0.5, 0.6], [0.35, 0.78], [0.65, 0.78]], np.float32)


class CascadeDetector:
    """Upright frontal faces; the landmarks are guessed."""

    name = "cascade"

    def __init__(self) -> None:
        folder = Path(str(cv2.__file__)).parent / "data"
        self._cascade = cv2.CascadeClassifier(str(folder / "haarcascade_frontalface_default.xml"))

    def detect(self, image: np.ndarray) -> jetson_face.Detections:
        """(H, W, 3) uint8 BGR to boxes, scores and landmarks in its pixels."""
        grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        found = np.array(self._cascade.detectMultiScale(grey, 1.1, 5), np.float32).reshape(-1, 4)
        corners, sizes = found[:, :2], found[:, 2:]
        return jetson_face.Detections(
            boxes=np.concatenate([corners, corners + sizes], axis=1),
            scores=np.ones(len(found), np.float32),
            landmarks=corners[:, None] + POINTS * sizes[:, None],
        )

    def close(self) -> None:
        """Nothing to let go."""


with jetson_face.Recognizer(detector=CascadeDetector()) as recognizer:
    for face in recognizer.identify(sys.argv[1]):
        print(f"{face.name or face.state} at {[round(x) for x in face.box]}")
