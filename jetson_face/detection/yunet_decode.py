"""What YuNet's maps say: boxes, scores and landmarks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jetson_face.core.types import F32, I64
from jetson_face.inference.backend import Array

STRIDES = (8, 16, 32)


def decode(maps: Mapping[str, Array], width: int, score_min: float) -> tuple[I64, F32, F32, F32]:
    """What of a batch scores enough: index of its picture (n,), boxes (n, 4), scores (n,) and
    landmarks (n, 5, 2), pixels of the input. width: of each picture, pixels.

    The score is the geometric mean of class and objectness; offsets count cells from the corner of
    their own one, sizes are logarithms in cells. The network's order of points is ours.
    """
    levels = (_decode_level(maps, stride, width // stride, score_min) for stride in STRIDES)
    found = [level for level in levels if len(level[0])]
    if len(found) < 2:  # as a rule
        return found[0] if found else _NO_CELLS
    row, boxes, scores, points = (np.concatenate(part) for part in zip(*found, strict=True))
    return row, boxes, scores, points


_NO_CELLS = (
    np.zeros(0, np.int64),
    np.zeros((0, 4), np.float32),
    np.zeros(0, np.float32),
    np.zeros((0, 5, 2), np.float32),
)


def _decode_level(
    maps: Mapping[str, Array], stride: int, columns: int, score_min: float
) -> tuple[I64, F32, F32, F32]:
    product = maps[f"cls_{stride}"][..., 0] * maps[f"obj_{stride}"][..., 0]
    # Few cells are worth a root: those near the limit are judged by it below.
    row, cell = np.nonzero(product >= np.float32(score_min) ** 2 * np.float32(1 - 1e-5))
    if not len(row):  # most levels
        return _NO_CELLS
    score = np.sqrt(np.clip(product[row, cell], 0, 1))
    good = score >= np.float32(score_min)
    row, cell, score = row[good], cell[good], score[good]
    corner = np.empty((len(row), 2), np.float32)
    corner[:, 1] = cell // columns
    corner[:, 0] = cell % columns
    box = maps[f"bbox_{stride}"][row, cell]
    centre, half = (corner + box[:, :2]) * stride, np.exp(np.minimum(box[:, 2:], 8)) * stride / 2
    points = (corner[:, None] + maps[f"kps_{stride}"][row, cell].reshape(-1, 5, 2)) * stride
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    return (
        np.asarray(row, np.int64),
        np.asarray(boxes, np.float32),
        np.asarray(score, np.float32),
        np.asarray(points, np.float32),
    )
