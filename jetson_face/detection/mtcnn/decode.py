"""MTCNN between its networks: pyramid, proposals, suppression, regression, patches. No network.

Follows Zhang, Zhang, Li, Qiao (2016) in the variant of the pip package `mtcnn`, whose constants
(the +1 in widths, 11 pixels of a 12-pixel cell, suppression in one pass) are kept: with the same
parameters the faces agree.
"""

from __future__ import annotations

import numpy as np

from jetson_face.core.geometry import Overlap, iou_matrix
from jetson_face.core.types import F32, I64, ImageU8

CELL = 12
"""P-Net's window, pixels of its input."""
STRIDE = 2
_SIDE_MIN = 12.0605
"""Shorter side of the last level. The package rounds its count of levels, which ends there with its
own parameters; a level more changed one face in 250."""
_OUTSIDE = np.float32(127.5)


def pyramid_scales(width: int, height: int, min_face_px: float, factor: float) -> list[float]:
    """Scales of the image pyramid, largest first; at the last the shorter side is still a cell."""
    scale = CELL / min_face_px
    scales = []
    while min(width, height) * scale >= _SIDE_MIN:
        scales.append(scale)
        scale *= factor
    return scales


def proposals(
    offsets: F32, scores: F32, scale: float, score_min: float, count_max: int
) -> tuple[F32, F32]:
    """Boxes (n, 4) in pixels of the image and scores (n,), best first, of one pyramid level.

    offsets: (4, h, w), scores: (h, w), as P-Net gives them. count_max: the best so many only.
    """
    found = np.flatnonzero(scores > score_min)
    picked = scores.reshape(-1)[found]
    order = best_first(picked)[:count_max]
    found, picked = found[order], picked[order]
    row, column = np.divmod(found, scores.shape[1])
    corner = np.stack([column, row], axis=1).astype(np.float32) * STRIDE
    boxes = np.concatenate([corner + 1, corner + CELL], axis=1)
    boxes += offsets.reshape(4, -1)[:, found].T * (CELL - 1)
    return boxes / np.float32(scale), picked


def suppress(
    boxes: F32, scores: F32, overlap_max: float, *, over: Overlap = "union", ordered: bool = False
) -> I64:
    """Indices that stay, best first: a box goes if any better one overlaps it by more.

    One pass without a loop: a box that itself goes still suppresses. Greedy suppression
    (`geometry.nms`) would keep a few boxes more. ordered: they are best first already, and ties
    stay as they are.
    """
    order = np.arange(len(scores)) if ordered else best_first(scores)
    above = iou_matrix(boxes[order], over=over) > overlap_max
    stays = ~np.triu(above, k=1).any(axis=0)
    return np.asarray(order[stays], np.int64)


def best_first(scores: F32) -> I64:
    """Indices by falling score; of equal scores the last comes first.

    Scores of clear faces saturate at 1.0 in float32, so that ties are common, and which of them
    survives moves the final box by several pixels. This is the package's order: numpy's default
    sort of float64, whose order of ties differs between processors with and without AVX2; a
    stable sort differs from the package by more than 2 px on one face in 130.
    """
    return np.asarray(np.argsort(scores.astype(np.float64))[::-1], np.int64)


def regress(boxes: F32, offsets: F32) -> F32:
    """Boxes (N, 4) moved by a network's offsets (N, 4), which are shares of width and height."""
    size = boxes[:, 2:] - boxes[:, :2] + 1
    return np.asarray(boxes + offsets * np.concatenate([size, size], axis=1), np.float32)


def place_points(boxes: F32, points: F32) -> F32:
    """O-Net's points (N, 10: five x, five y, shares of the box) as (N, 5, 2) pixels."""
    shares = points.reshape(-1, 2, 5).transpose(0, 2, 1)
    size = (boxes[:, 2:] - boxes[:, :2] + 1)[:, None]
    return np.asarray(shares * size + boxes[:, None, :2] - 1, np.float32)


def cut_patches(image: ImageU8, boxes: F32, side: int) -> F32:
    """Each box (N, 4) of a BGR image, stretched to side x side: (N, 3, side, side), 0 to 255.

    Bilinear samples from corner to corner of the box; grey, the networks' zero, outside the image.
    Interpolated in float: cv2.remap rounds positions to 1/32 pixel and values to whole numbers,
    which is enough to change which of several good proposals survives.
    """
    height, width = image.shape[:2]
    steps = np.linspace(0, 1, side, dtype=np.float32)
    spans = boxes[:, 2:] - boxes[:, :2]
    x = (boxes[:, 0:1] + spans[:, 0:1] * steps) * np.float32((width - 1) / width)
    y = (boxes[:, 1:2] + spans[:, 1:2] * steps) * np.float32((height - 1) / height)
    left, right, across = _neighbours(x, width)
    top, bottom, down = _neighbours(y, height)
    pixels = np.ascontiguousarray(image).reshape(-1, 3)
    upper = _blend(pixels, top * width, left, right, across)
    lower = _blend(pixels, bottom * width, left, right, across)
    lower -= upper
    lower *= down[:, :, None]
    upper += lower
    patches = upper.reshape(len(boxes), side, side, 3)
    above, beside = (y < 0) | (y > height - 1), (x < 0) | (x > width - 1)
    for i in np.flatnonzero(above.any(axis=1) | beside.any(axis=1)):
        patches[i, above[i]] = _OUTSIDE
        patches[i, :, beside[i]] = _OUTSIDE
    return np.ascontiguousarray(patches.transpose(0, 3, 1, 2))


def _neighbours(position: F32, count: int) -> tuple[I64, I64, F32]:
    """The pixels on both sides of each position along one axis, and the share of the second."""
    first = np.clip(np.floor(position), 0, count - 1).astype(np.int64)
    share = np.clip(position - first, 0, 1).astype(np.float32)
    return first, np.minimum(first + 1, count - 1), share


def _blend(pixels: ImageU8, rows: I64, left: I64, right: I64, share: F32) -> F32:
    """Pixels of each row between two columns: (N, side, side * 3) float32, colours innermost."""
    shape = (*rows.shape, left.shape[1] * 3)
    first = pixels.take(rows[:, :, None] + left[:, None, :], axis=0).astype(np.float32)
    second = pixels.take(rows[:, :, None] + right[:, None, :], axis=0).astype(np.float32)
    first, second = first.reshape(shape), second.reshape(shape)
    second -= first
    # One factor a number: spreading it over an axis of 3 took twice as long.
    second *= np.repeat(share, 3, axis=1)[:, None, :]
    first += second
    return first
