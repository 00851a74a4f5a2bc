"""Aligned frontal faces as they look from the side: a generic head turned about its vertical axis.

Pictures of people in profile are rare in public sets of faces. A head of average shape, an
ellipsoid with a nose, gives every pixel of a frontal crop its depth; turned and aligned again by
its five points, as the detector would, the crop shows the person from the side, roughly. After
Masi et al., "Do we really need to collect millions of faces for effective face recognition?",
2016, section 3; the shape is our own.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import cv2
import numpy as np

from jetson_face.core.geometry import similarity_transforms
from jetson_face.core.types import F32, ImageU8
from jetson_face.embedding.align import TEMPLATES

SIDE = 112
_CENTRE = (56.0, 62.0)
_HALF = (47.0, 66.0, 56.0)  # half axes of the head, pixels of the crop: across, down, forward
_NOSE = (56.0, 71.0, 11.0)  # its tip: x, y, and how far it stands out
_MARGIN = 60  # pixels beside the crop that turning can bring in
_FINE = 8  # samples a pixel along a row


def depth(x: F32, y: F32) -> F32:
    """How far a point of a frontal crop stands out, pixels; 0 at the widest line of the head."""
    across, down = (x - _CENTRE[0]) / _HALF[0], (y - _CENTRE[1]) / _HALF[1]
    inside = 1 - across**2 - down**2
    head = _HALF[2] * np.sqrt(np.maximum(inside, 0))
    behind = 25 * np.minimum(-inside, 1)  # hair, ears and what is behind fall back slowly
    along = np.clip((y - 46) / (_NOSE[1] - 46), 0, 1)
    under = np.where(y > _NOSE[1], np.exp(-(((y - _NOSE[1]) / 3.5) ** 2)), along)
    nose = _NOSE[2] * under * np.exp(-(((x - _NOSE[0]) / (3.5 + 3.5 * along)) ** 2))
    out = np.where(inside > 0, head + nose, -behind)
    return np.asarray(out, np.float32)


@cache
def turned_map(yaw_deg: int) -> tuple[F32, F32]:
    """Where in a frontal crop each pixel of the turned crop comes from: x and y, (112, 112) each.

    To half a pixel, which is less than landmarks vary.

    yaw_deg: -80 to 80; above 0 the face looks to the right of the picture.
    """
    angle = np.deg2rad(yaw_deg)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    wide = SIDE + 2 * _MARGIN
    x = np.arange(-_MARGIN, SIDE + _MARGIN, 1 / _FINE, dtype=np.float32)
    source = np.empty((SIDE, wide), np.float32)
    for row in range(SIDE):
        z = depth(x, np.full_like(x, row))
        seen = np.asarray(cos * (x - _CENTRE[0]) + sin * z, np.float32) + (_CENTRE[0] + _MARGIN)
        towards = np.asarray(cos * z - sin * (x - _CENTRE[0]), np.float32)
        source[row] = _nearest(x, seen, towards, wide)
    points = TEMPLATES["arcface112"].array
    z = depth(points[:, 0], points[:, 1])
    moved = points.copy()
    moved[:, 0] = cos * (points[:, 0] - _CENTRE[0]) + sin * z + _CENTRE[0]
    back = cv2.invertAffineTransform(similarity_transforms(moved[None], points)[0])
    columns, rows = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    at = np.stack([columns, rows, np.ones_like(rows)], axis=-1).astype(np.float32) @ back.T
    at_x, at_y = at[..., 0].astype(np.float32), at[..., 1].astype(np.float32)
    map_x = cv2.remap(
        source, at_x + _MARGIN, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(map_x, np.float32), at_y


def _nearest(x: F32, seen: F32, height: F32, wide: int) -> F32:
    """For each pixel of a row, the sample that is seen there and stands out most."""
    column = np.rint(seen).astype(int)
    kept = (column >= 0) & (column < wide)
    order = np.argsort(height[kept], kind="stable")  # the last one written is the nearest
    out, level = np.full(wide, np.nan, np.float32), np.full(wide, np.nan, np.float32)
    out[column[kept][order]] = x[kept][order]
    level[column[kept][order]] = height[kept][order]
    known = np.flatnonzero(~np.isnan(out))
    for left, right in pairwise(known):
        if right - left <= 3:
            out[left:right] = np.interp(np.arange(left, right), (left, right), out[[left, right]])
        else:  # past an edge: what is behind goes on
            out[left + 1 : right] = out[left if level[left] < level[right] else right]
    out[: known[0]], out[known[-1] + 1 :] = x[0], x[-1]  # the edge of the picture goes on
    return out


def turn(face: ImageU8, yaw_deg: int) -> ImageU8:
    """A frontal crop (112, 112, 3) as from the side."""
    map_x, map_y = turned_map(yaw_deg)
    turned = cv2.remap(face, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(turned, np.uint8)
