"""Shape ranges of the networks: what a plan must take, and what it should be fastest at."""

from __future__ import annotations

import math
from typing import Literal

from jetson_face.inference.tensorrt.builder import ShapeRange

PNET_SIDE = 12
"""P-Net sees 12x12 windows: a pyramid level is the picture times 12 / smallest face."""
RNET_BATCH = (64, 256)
ONET_BATCH = (16, 64)
TILE_BATCH = (8, 32)
"""Usual and largest; the back end cuts larger batches into pieces."""


def mtcnn_ranges(
    usual: tuple[int, int], *, min_face_px: float, side_max: int = 2560
) -> dict[Literal["pnet", "rnet", "onet"], ShapeRange]:
    """Ranges of MTCNN's three inputs (N, 3, H, W).

    usual: width and height of the frames that it should be fastest at. side_max: longest side of
    any picture, upright or not. One range for all pyramid levels: a profile for each would multiply
    the building time for levels that together cost less than the largest.
    """
    scale = PNET_SIDE / min_face_px
    side = max(PNET_SIDE, math.ceil(side_max * scale))
    width, height = (min(side, max(PNET_SIDE, round(length * scale))) for length in usual)
    return {
        "pnet": ShapeRange((1, 3, PNET_SIDE, PNET_SIDE), (1, 3, height, width), (1, 3, side, side)),
        "rnet": ShapeRange.batch((3, 24, 24), RNET_BATCH[1], RNET_BATCH[0]),
        "onet": ShapeRange.batch((3, 48, 48), ONET_BATCH[1], ONET_BATCH[0]),
    }


def yunet_range(usual: tuple[int, int], *, step: int, side_max: int) -> ShapeRange:
    """Range of YuNet's input (1, 3, H, W) for pictures of any size, all sides multiples of `step`.

    usual: height and width that it should be fastest at. side_max: the longest side.
    """
    height, width = (min(side, side_max) for side in usual)
    return ShapeRange((1, 3, step, step), (1, 3, height, width), (1, 3, side_max, side_max))


def tile_range(usual: tuple[int, int], largest: int) -> ShapeRange:
    """Range of YuNet's input for tiles around known faces, from `usual` (height, width) to squares
    of `largest` pixels."""
    return ShapeRange(
        (1, 3, *usual),
        (TILE_BATCH[0], 3, *usual),
        (TILE_BATCH[1], 3, largest, largest),
    )


def embedding_range(size: tuple[int, int], *, max_batch: int = 16, nchw: bool = True) -> ShapeRange:
    """Range of an embedding network's input: 1 to `max_batch` faces of (height, width) `size`.

    Fastest at 4, what a busy frame has; with max_batch 1 the shape is fixed.
    """
    each = (3, *size) if nchw else (*size, 3)
    return ShapeRange.batch(each, max_batch, min(4, max_batch))
