"""A head cut out of a photo, and how it is put into a scene."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from jetson_face.core.types import F32, Box, ImageU8

Owners: TypeAlias = NDArray[np.int32]
"""(H, W): which actor is seen at a pixel, 0 for none."""
AROUND = 1.9
"""Side of the cut-out in sides of the face's box: hair and chin come along."""
_CORE = 0.5
"""Where the mask is at least this, the head hides what is behind it."""


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """image: (S, S, 3) uint8 BGR. mask: (S, S) float32, 1 on the head, falling softly to 0.

    face: the face's box inside the image, pixels.
    """

    image: ImageU8
    mask: F32
    face: Box


@dataclass(frozen=True, slots=True)
class Pose:
    """How a cut-out appears in one frame.

    centre: of the face's box, pixels of the frame. face_px: longer side of the face's box.
    angle_deg: turn in the picture plane, positive is counter-clockwise. gain: brightness, 1 is
    unchanged. blur_px: sigma of the blur. bar: covered horizontal band of the face (from, to) as
    shares of the box's height, None for none.
    """

    centre: tuple[float, float]
    face_px: float
    angle_deg: float = 0.0
    gain: float = 1.0
    blur_px: float = 0.0
    bar: tuple[float, float] | None = None


def cut_out(image: ImageU8, face: Box, *, side_max: int = 480) -> Cutout:
    """The head around a face's box; beyond the photo its edge is repeated, shrunk to `side_max`."""
    left, top, right, bottom = face
    half = AROUND * max(right - left, bottom - top) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    scale = min(1.0, side_max / (2 * half))
    side = max(8, round(2 * half * scale))
    matrix = np.array([[scale, 0, side / 2 - x * scale], [0, scale, side / 2 - y * scale]])
    cut = cv2.warpAffine(
        image, matrix, (side, side), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
    )
    width, height = (right - left) * scale / 2, (bottom - top) * scale / 2
    box = (side / 2 - width, side / 2 - height, side / 2 + width, side / 2 + height)
    middle, half_axes = (side // 2, side // 2), (int(side * 0.38), int(side * 0.46))
    mask = soft_oval(side, middle, half_axes, max(side * 0.02, 0.5))
    return Cutout(np.asarray(cut, np.uint8), mask, box)


def soft_oval(
    side: int, centre: tuple[int, int], half_axes: tuple[int, int], blur_px: float
) -> F32:
    """A mask (side, side): 1 inside an upright ellipse, falling softly to 0."""
    mask = np.zeros((side, side), np.float32)
    cv2.ellipse(mask, centre, half_axes, 0, 0, 360, 1.0, -1)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), blur_px), np.float32)


def placed_box(cutout: Cutout, pose: Pose) -> Box:
    """The face's box in the frame; a turn in the plane leaves it upright and of the same size."""
    left, top, right, bottom = cutout.face
    width, height = right - left, bottom - top
    scale = pose.face_px / max(width, height)
    x, y = pose.centre
    return (
        x - width * scale / 2,
        y - height * scale / 2,
        x + width * scale / 2,
        y + height * scale / 2,
    )


def place(scene: ImageU8, owners: Owners, cutout: Cutout, pose: Pose, owner: int) -> None:
    """Blend the head into the scene, in place; what lies outside is cut off.

    owners: set to `owner` where this head hides what is behind it, and to 0 on what
    covers the head.
    """
    box = placed_box(cutout, pose)
    scale = pose.face_px / max(cutout.face[2] - cutout.face[0], cutout.face[3] - cutout.face[1])
    reach = math.ceil(len(cutout.image) * scale * 0.53) + 1  # the oval fits at any angle
    x0, y0 = math.floor(pose.centre[0]) - reach, math.floor(pose.centre[1]) - reach
    part = _visible_part(scene, x0, y0, 2 * reach)
    if part is None:
        return
    rows, columns = part
    size = columns.stop - columns.start, rows.stop - rows.start
    image, mask = _warped(cutout, pose, scale, (columns.start, rows.start), size)
    if pose.blur_px > 0:
        image = cv2.GaussianBlur(image, (0, 0), pose.blur_px)
    lit = np.minimum(image.astype(np.float32) * pose.gain, 255)
    under = scene[rows, columns].astype(np.float32)
    scene[rows, columns] = np.rint(under + (lit - under) * mask[..., None]).astype(np.uint8)
    owners[rows, columns][mask >= _CORE] = owner
    if pose.bar is not None:
        _cover(scene, owners, box, pose.bar)


def _visible_part(scene: ImageU8, left: int, top: int, side: int) -> tuple[slice, slice] | None:
    height, width = scene.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, width), min(top + side, height)
    return None if x0 >= x1 or y0 >= y1 else (slice(y0, y1), slice(x0, x1))


def _warped(
    cutout: Cutout, pose: Pose, scale: float, origin: tuple[int, int], size: tuple[int, int]
) -> tuple[ImageU8, F32]:
    """Image and mask, turned and scaled, on the part of the frame that starts at `origin`."""
    source, mask = cutout.image, cutout.mask
    shrink = 1.0
    if scale < 0.7:
        # warpAffine takes 4 neighbours: much smaller faces would flicker instead of shrinking.
        side = max(8, math.ceil(len(source) * scale * 1.2))
        shrink = side / len(source)
        source = cv2.resize(source, (side, side), interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, (side, side), interpolation=cv2.INTER_AREA)
    middle = len(cutout.image) * shrink / 2
    matrix = cv2.getRotationMatrix2D((middle, middle), pose.angle_deg, scale / shrink)
    matrix[0, 2] += pose.centre[0] - middle - origin[0]
    matrix[1, 2] += pose.centre[1] - middle - origin[1]
    turned = cv2.warpAffine(source, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    where = cv2.warpAffine(mask, matrix, size)
    return np.asarray(turned, np.uint8), np.asarray(where, np.float32)


def _cover(scene: ImageU8, owners: Owners, box: Box, bar: tuple[float, float]) -> None:
    """A grey scarf or board over part of the face; it hides the head, so nobody owns it."""
    height = box[3] - box[1]
    margin = 0.15 * (box[2] - box[0])
    x0, x1 = max(round(box[0] - margin), 0), max(round(box[2] + margin), 0)
    y0, y1 = max(round(box[1] + bar[0] * height), 0), max(round(box[1] + bar[1] * height), 0)
    scene[y0:y1, x0:x1] = (70, 66, 60)
    owners[y0:y1, x0:x1] = 0


def visible_share(owners: Owners, box: Box, owner: int) -> float:
    """Share of the face's inscribed oval that is inside the frame and belongs to `owner`."""
    height, width = owners.shape
    left, top, right, bottom = box
    xs = np.arange(math.floor(left), math.ceil(right)) + 0.5
    ys = np.arange(math.floor(top), math.ceil(bottom)) + 0.5
    if not len(xs) or not len(ys):
        return 0.0
    x = (xs - (left + right) / 2) / max((right - left) / 2, 1e-6)
    y = (ys - (top + bottom) / 2) / max((bottom - top) / 2, 1e-6)
    oval = (y[:, None] ** 2 + x[None, :] ** 2) <= 1
    row_in = (ys >= 0) & (ys < height)
    column_in = (xs >= 0) & (xs < width)
    mine = np.zeros(oval.shape, np.bool_)
    seen = owners[np.ix_(ys[row_in].astype(int), xs[column_in].astype(int))] == owner
    mine[np.ix_(row_in, column_in)] = seen
    whole = int(oval.sum())
    return float((mine & oval).sum() / whole) if whole else 0.0
