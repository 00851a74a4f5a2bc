"""Which frames of a recording are worth a look: all, key frames, or where something moves."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from jetson_face.core.types import ImageU8

_SMALL = (160, 120)
_CELLS = (16, 12)
CHANGE_MIN = 6.0
"""Grey values by which one of 16 x 12 cells must change on average: noise of a sensor averages to
less than 1 over the 100 pixels of a cell."""
AWAKE_S = 1.0
"""So long after the last movement frames are still looked at."""
_MEASURE_S, _APART_S = 0.15, 0.4
"""How often movement is measured, and how far apart the pictures are at least: who walks slowly
hardly moves from one frame to the next."""
LOOK_S = 10.0
"""So often a still picture is looked at all the same: somebody may sit there."""


class EveryFrame:
    """All frames, as in the live loop; other gates let fewer through. keys_only: only key frames
    are asked for. fresh: the picture that passed last is the first after a pause."""

    keys_only = False
    fresh = False

    def wants(self, number: int, at_ms: float) -> bool:
        """Whether frame `number` of the piece is to be fetched, which costs more than to decode."""
        return True

    def passes(self, image: ImageU8, at_ms: float) -> bool:
        """Whether the picture that was fetched is to be looked at."""
        return True

    def tell(self, tracks: int) -> None:
        """So many tracks are in view in the picture that passed last."""


class KeyFrames(EveryFrame):
    """Key frames only."""

    keys_only = True


class MotionGate(EveryFrame):
    """Stretches where something moves, and those with a face.

    While nothing moves one frame in `interval` is compared with an earlier one, and a frame is
    looked at all the same every LOOK_S. Once something moves or a face is there, every frame is
    looked at, until neither was for AWAKE_S.
    """

    def __init__(self, interval: int) -> None:
        self._interval = interval
        self._before: NDArray[np.float32] | None = None
        self._before_ms = self._measured_ms = -1e9
        self._awake_until = self._look_at = self._now = -1.0
        self._asleep = True

    def wants(self, number: int, at_ms: float) -> bool:
        """See EveryFrame."""
        return not self._asleep or number % self._interval == 0

    def passes(self, image: ImageU8, at_ms: float) -> bool:
        """See EveryFrame."""
        self._now = at_ms
        if self._moved(image, at_ms):
            self._awake_until = at_ms + 1000 * AWAKE_S
        slept, self._asleep = self._asleep, at_ms >= self._awake_until
        if self._asleep and at_ms < self._look_at:
            return False
        self.fresh = slept
        self._look_at = at_ms + 1000 * LOOK_S
        return True

    def tell(self, tracks: int) -> None:
        """See EveryFrame; with a face in view nothing needs to move."""
        if tracks:
            self._asleep = False
            self._awake_until = max(self._awake_until, self._now + 1000 * AWAKE_S)

    def _moved(self, image: ImageU8, at_ms: float) -> bool:
        if at_ms - self._measured_ms < 1000 * _MEASURE_S:
            return False
        self._measured_ms = at_ms
        small = cv2.resize(image, _SMALL, interpolation=cv2.INTER_AREA)
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.float32)
        before = self._before
        if before is None or at_ms - self._before_ms >= 1000 * _APART_S:
            self._before, self._before_ms = grey, at_ms
        if before is None:
            return False
        cells = cv2.resize(np.abs(grey - before), _CELLS, interpolation=cv2.INTER_AREA)
        return bool(cells.max() >= CHANGE_MIN)
