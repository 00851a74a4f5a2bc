"""MTCNN's image pyramid: which levels a picture has, and how each is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from jetson_face.core.types import F32, ImageU8

_MARGIN = 2.2
_HALVED_FROM_PX = 1200


@dataclass(frozen=True, slots=True)
class Level:
    """One level: the picture halved so often, then shrunk to width x height pixels."""

    scale: float
    halvings: int
    width: int
    height: int


def pyramid_levels(width: int, height: int, scales: Sequence[float]) -> list[Level]:
    """The levels of a picture for falling scales.

    A large picture is halved first, and halved again, for the levels that stay _MARGIN times
    smaller than the half: reading a 1080p frame again for each level was a quarter of the search.
    At that margin a 1080p frame has the faces of the reference, within a pixel, but for one of
    score 0.802 where 0.8 was asked for; at 6 it had that, too, and the pyramid took half as long
    again. On 141 frames of three clips 544 faces are found, and 545 without halves. Pictures below
    _HALVED_FROM_PX are not halved: there it changed one face in 50 by more than 2 px.
    """
    levels: list[Level] = []
    side_w, side_h, halvings = width, height, 0
    for scale in scales:
        while scale * _MARGIN * 2 <= 0.5**halvings and max(side_w, side_h) >= _HALVED_FROM_PX:
            if side_w % 2 or side_h % 2:
                break  # half of an odd side would shift what follows
            side_w, side_h, halvings = side_w // 2, side_h // 2, halvings + 1
        levels.append(Level(scale, halvings, int(width * scale), int(height * scale)))
    return levels


def build_pyramid(image: ImageU8, levels: Sequence[Level]) -> Iterator[F32]:
    """The image at each level, (height, width, 3) float32.

    Each averages areas. In float: levels rounded to whole grey values changed one face in eight by
    more than 2 px.
    """
    base, halved = image.astype(np.float32), 0
    for level in levels:
        while halved < level.halvings:
            base = _shrink(base, base.shape[1] // 2, base.shape[0] // 2)
            halved += 1
        yield _shrink(base, level.width, level.height)


def _shrink(image: F32, width: int, height: int) -> F32:
    """Rows first, each a product of a few of the image's: OpenCV alone goes through every pixel one
    by one, but for halves, where it is three times as fast. The same but for float's rounding."""
    if image.shape[0] > height and image.shape[:2] != (2 * height, 2 * width):
        flat = image.reshape(image.shape[0], -1)
        rows = np.empty((height, flat.shape[1]), np.float32)
        for row, (first, last, shares) in zip(rows, _rows(image.shape[0], height), strict=True):
            np.dot(shares, flat[first:last], out=row)
        image = rows.reshape(height, *image.shape[1:])
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.float32)


@lru_cache(maxsize=64)
def _rows(source: int, target: int) -> list[tuple[int, int, F32]]:
    """Of each of `target` rows: the first and last of `source` rows in it, and their shares."""
    found = []
    for shares in area_weights(source, target):
        first, last = (int(i) for i in np.flatnonzero(shares)[[0, -1]])
        found.append((first, last + 1, np.ascontiguousarray(shares[first : last + 1])))
    return found


def area_weights(source: int, target: int) -> F32:
    """How much of each of `source` pixels goes into each of `target`: (target, source).

    As OpenCV's INTER_AREA weighs them: by the share of the target that the pixel covers; slivers
    below a thousandth of a pixel count for nothing. Raises ValueError unless source >= target >= 1.
    """
    if not source >= target >= 1:
        raise ValueError(f"areas are averaged from more pixels to fewer, not {source} to {target}")
    step = source / target
    out = np.zeros((target, source), np.float64)
    for i in range(target):
        start = i * step
        end = min(start + step, source)
        first, last = min(int(np.ceil(start)), source - 1), min(int(np.floor(end)), source - 1)
        first = min(first, last)
        if first - start > 1e-3:
            out[i, first - 1] = first - start
        out[i, first:last] = 1
        if end - last > 1e-3:
            out[i, last] = min(end - last, 1)
        out[i] /= end - start
    return np.asarray(out, np.float32)
