"""Where another scene begins, and where a face is suddenly another: seen on a few pixels."""

from __future__ import annotations

from itertools import compress

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
        self._before: tuple[NDArray[np.float32], float] | None = None

    def is_cut(self, image: Pixels) -> bool:
        """Whether another scene begins with this frame."""
        now = _block_means(image)
        last, self._before = self._before, (now, float(now.mean()) + 1)
        if last is None:
            return False
        before, light = last
        brighter = light / self._before[1]  # a lamp, or auto exposure
        changed = np.abs(now * brighter - before).max(axis=2) > _BLOCK_MIN
        return bool(np.count_nonzero(changed) >= self._share_min * changed.size)


def _block_means(image: Pixels) -> NDArray[np.float32]:
    """(6, 8, 3) mean colours, of 64 pixels a block."""
    size = _COLUMNS * _EACH, _ROWS * _EACH
    some = cv2.resize(image, size, interpolation=cv2.INTER_NEAREST_EXACT)[..., :3]
    blocks = cv2.resize(some.astype(np.float32), (_COLUMNS, _ROWS), interpolation=cv2.INTER_AREA)
    return np.asarray(blocks, np.float32)


class FaceAppearances:
    """Remembers what each track's face looked like last, on 144 pixels."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[F32, F32]] = {}

    def changed(self, image: Pixels, tracks: I64, boxes: F32) -> BoolArray:
        """Faces (N,) that suddenly look different: perhaps another person's.

        boxes: (N, 4) xyxy pixels of the tracks (N,). Tracks that are
        out of view keep their last appearance until `keep_only`.
        """
        doubted = np.zeros(len(tracks), np.bool_)
        if not len(tracks):
            return doubted
        seen = _face_pixels(image, boxes)
        means = seen.mean(axis=1)
        ids = tracks.tolist()
        known = [row for row, track in enumerate(ids) if track in self._last]
        if known:
            last = [self._last[ids[row]] for row in known]
            other = _other_colour(np.stack([mean for _, mean in last]), means[known])
            for row, (before, _) in compress(zip(known, last, strict=True), other):
                doubted[row] = not _alike(before, seen[row])
        self._last.update(zip(ids, zip(seen, means, strict=True), strict=True))
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


def _other_colour(before: F32, now: F32) -> BoolArray:
    """(N,) of two mean colours (N, 3) of each face."""
    brightness = np.maximum(np.maximum(before.mean(axis=1), now.mean(axis=1)), 20.0)
    return np.asarray(np.abs(now - before).max(axis=1) > _COLOUR_MAX * brightness, np.bool_)


def _alike(before: F32, now: F32) -> bool:
    """Whether two looks (144, 3) at a face have the same bright and dark places."""
    a, b = before.sum(axis=1), now.sum(axis=1)
    a, b = a - a.mean(), b - b.mean()
    return bool((a * b).sum() > _CORRELATION_MIN * np.sqrt((a * a).sum() * (b * b).sum()))
