"""Where another scene begins, and where a face is suddenly another: seen on a few pixels."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from jetson_face.core.types import F32, I64, BoolArray, Pixels

_ROWS, _COLUMNS, _EACH = 6, 8, 8
"""Blocks of a frame, and the pixels along a side of each that are looked at."""
_BLOCK_MIN = 12.0
"""Grey levels by which a block's mean colour changes at a cut: noise and shade stay below."""
_FACE = 12
"""Pixels along a side of a face that are looked at."""
# 2,621 pairs of neighbouring frames of one person in `eval tracks`, 42 of two people in one track:
# the colour of a face changed by 8.3 levels at the 95th percentile, by 6.3 at least where it was
# another's; the correlation was 0.65 at the 5th percentile, and 0.66 at most for another's.
# Both together doubt all 42 and a fortieth of the others. A doubt costs one embedding.
_COLOUR_MAX = 0.04
"""Of the brightness."""
_CORRELATION_MIN = 0.7


class SceneCuts:
    """Compares each frame with the one before.

    share_min: of the frame's blocks, in [0, 1], that must change in colour for a cut. A frame
    that is brighter or darker all over is none; light that falls from elsewhere may be one, which
    ends tracks and costs a few frames without names.
    """

    def __init__(self, share_min: float = 0.4) -> None:
        self._share_min = share_min
        self._before: NDArray[np.float32] | None = None

    def is_cut(self, image: Pixels) -> bool:
        """Whether another scene begins with this frame."""
        now = _block_means(image)
        before, self._before = self._before, now
        if before is None:
            return False
        brighter = float(before.mean() + 1) / float(now.mean() + 1)  # a lamp, or auto exposure
        changed = np.abs(now * brighter - before).max(axis=2) > _BLOCK_MIN
        return bool(changed.mean() >= self._share_min)


def _block_means(image: Pixels) -> NDArray[np.float32]:
    """(6, 8, 3) mean colours, of 64 pixels a block."""
    size = _COLUMNS * _EACH, _ROWS * _EACH
    some = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST_EXACT)[..., :3]
    blocks = cv2.resize(some.astype(np.float32), (_COLUMNS, _ROWS), interpolation=cv2.INTER_AREA)
    return np.asarray(blocks, np.float32)


class FaceAppearances:
    """Remembers what each track's face looked like last, on 144 pixels."""

    def __init__(self) -> None:
        self._last: dict[int, F32] = {}

    def changed(self, image: Pixels, tracks: I64, boxes: F32) -> BoolArray:
        """Faces (N,) that suddenly look different: perhaps another person's.

        boxes: (N, 4) xyxy pixels of the tracks (N,). Tracks that are
        out of view keep their last appearance until `keep_only`.
        """
        doubted = np.zeros(len(tracks), np.bool_)
        seen = _face_pixels(image, boxes)
        last = [self._last.get(track) for track in tracks.tolist()]
        self._last.update(zip(tracks.tolist(), seen, strict=True))
        known = np.array([before is not None for before in last], np.bool_)
        if known.any():
            before = np.stack([pixels for pixels in last if pixels is not None])
            doubted[known] = _differ(before, seen[known])
        return doubted

    def keep_only(self, tracks: set[int]) -> None:
        """Forget all but these."""
        if not self._last.keys() <= tracks:
            self._last = {track: face for track, face in self._last.items() if track in tracks}


def _face_pixels(image: Pixels, boxes: F32) -> F32:
    """(N, 144, 3) float32: a grid over each box."""
    height, width = image.shape[:2]
    steps, (left, top, right, bottom) = (np.arange(_FACE) + 0.5) / _FACE, boxes.T[..., None]
    rows = np.clip(top + steps * (bottom - top), 0, height - 1).astype(np.intp)
    columns = np.clip(left + steps * (right - left), 0, width - 1).astype(np.intp)
    some = image[rows[:, :, None], columns[:, None], :3]
    return some.reshape(len(boxes), _FACE * _FACE, 3).astype(np.float32)


def _differ(before: F32, now: F32) -> BoolArray:
    """(N,) of two looks (N, 144, 3) at each face."""
    mean_before, mean_now = before.mean(axis=1), now.mean(axis=1)
    brightness = np.maximum(np.maximum(mean_before.mean(axis=1), mean_now.mean(axis=1)), 20.0)
    other = np.abs(mean_now - mean_before).max(axis=1) > _COLOUR_MAX * brightness
    if not other.any():  # as a rule
        return np.asarray(other, np.bool_)
    a, b = before.sum(axis=2), now.sum(axis=2)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    alike = (a * b).sum(axis=1) > _CORRELATION_MIN * np.sqrt((a * a).sum(1) * (b * b).sum(1))
    return np.asarray(other & ~alike, np.bool_)
