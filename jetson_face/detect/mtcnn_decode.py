"""MTCNN between its networks: pyramid, proposals, suppression, regression, patches. No network.

Follows Zhang, Zhang, Li, Qiao (2016) in the variant of the pip package `mtcnn`, whose constants
(the +1 in widths, 11 pixels of a 12-pixel cell, suppression in one pass) are kept: with the same
parameters the faces agree.
"""

from __future__ import annotations

import cv2
import numpy as np

from jetson_face.geometry import Overlap, iou_matrix
from jetson_face.types import F32, I64, ImageU8

CELL = 12
"""P-Net's window, pixels of its input."""
STRIDE = 2
_ROWS_MAX = 32_000
"""cv2.remap takes fewer than 32768 rows."""
_OUTSIDE = (128, 128, 128)
"""What lies outside the image: the networks' zero, (x - 127.5) / 128."""


def pyramid_scales(width: int, height: int, min_face_px: float, factor: float) -> list[float]:
    """Scales of the image pyramid, largest first; at the last the shorter side is still a cell."""
    scale = CELL / min_face_px
    scales = []
    while min(width, height) * scale >= CELL:
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
    order = np.argsort(-picked, kind="stable")[:count_max]
    found, picked = found[order], picked[order]
    row, column = np.divmod(found, scores.shape[1])
    corner = np.stack([column, row], axis=1).astype(np.float32) * STRIDE
    boxes = np.concatenate([corner + 1, corner + CELL], axis=1)
    boxes += offsets.reshape(4, -1)[:, found].T * (CELL - 1)
    return boxes / np.float32(scale), picked


def suppress(boxes: F32, scores: F32, overlap_max: float, *, over: Overlap = "union") -> I64:
    """Indices that stay, best first: a box goes if any better one overlaps it by more.

    One pass without a loop: a box that itself goes still suppresses. Greedy suppression
    (`geometry.nms`) would keep a few boxes more.
    """
    order = np.argsort(-scores, kind="stable")
    above = iou_matrix(boxes[order], over=over) > overlap_max
    stays = ~np.triu(above, k=1).any(axis=0)
    return np.asarray(order[stays], np.int64)


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

    Bilinear samples from corner to corner of the box; grey outside the image. All boxes go through
    one `cv2.remap` as a column of patches: a call for each costs more than its pixels.
    """
    height, width = image.shape[:2]
    out = np.empty((len(boxes), 3, side, side), np.float32)
    steps = np.linspace(0, 1, side, dtype=np.float32)
    most = _ROWS_MAX // side
    for first in range(0, len(boxes), most):
        part = boxes[first : first + most]
        spans = part[:, 2:] - part[:, :2]
        x = (part[:, 0:1] + spans[:, 0:1] * steps) * ((width - 1) / width)
        y = (part[:, 1:2] + spans[:, 1:2] * steps) * ((height - 1) / height)
        shape = (len(part), side, side)
        map_x = np.broadcast_to(x[:, None, :], shape).reshape(-1, side)
        map_y = np.broadcast_to(y[:, :, None], shape).reshape(-1, side)
        patches = cv2.remap(
            image,
            map_x.astype(np.float32),
            map_y.astype(np.float32),
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=_OUTSIDE,
        )
        out[first : first + most] = patches.reshape(*shape, 3).transpose(0, 3, 1, 2)
    return out
