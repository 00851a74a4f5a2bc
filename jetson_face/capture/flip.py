"""Turned or mirrored frames, for cameras that hang upside down, on their side, behind a mirror."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from jetson_face.capture.keys import Flip
from jetson_face.capture.source import Source, SourceHealth, SourceInfo
from jetson_face.core.types import Frame, Pixels

_ROTATIONS = {
    "rotate_90": cv2.ROTATE_90_CLOCKWISE,
    "rotate_180": cv2.ROTATE_180,
    "rotate_270": cv2.ROTATE_90_COUNTERCLOCKWISE,
}


class Flipped:
    """A source whose frames are turned or mirrored on the way."""

    def __init__(self, inner: Source, flip: Flip) -> None:
        self._inner, self._flip = inner, flip

    @property
    def info(self) -> SourceInfo:
        """See Source; of the frames as they are when they are turned."""
        info = self._inner.info
        if self._flip not in ("rotate_90", "rotate_270"):
            return info
        return dataclasses.replace(info, width=info.height, height=info.width)

    @property
    def health(self) -> SourceHealth:
        """See Source."""
        return self._inner.health

    def read(self, timeout_s: float) -> Frame:
        """See Source."""
        frame = self._inner.read(timeout_s)
        return dataclasses.replace(frame, pixels=flipped(frame.pixels, self._flip))

    def close(self) -> None:
        """See Source."""
        self._inner.close()


def flipped(image: Pixels, flip: Flip) -> Pixels:
    """A new image, (H, W, C) or (W, H, C)."""
    if flip in _ROTATIONS:
        return np.asarray(cv2.rotate(image, _ROTATIONS[flip]), np.uint8)
    return np.asarray(cv2.flip(image, 1 if flip == "horizontal" else 0), np.uint8)
