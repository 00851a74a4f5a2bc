"""What cameras, light and detectors do to an aligned face, on uint8 pictures.

Deterministic per face.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import cv2
import numpy as np

from jetson_face.core.types import ImageU8
from jetson_face.training.turning import turn

if TYPE_CHECKING:
    from jetson_face.training.settings import AugmentSettings


def augment_batch(
    faces: ImageU8,
    how: AugmentSettings,
    seed: tuple[int, ...],
    pool: ThreadPoolExecutor | None = None,
) -> ImageU8:
    """Changed copies of faces (N, H, W, 3) uint8 RGB; the same ``seed`` gives the same pictures.

    With ``pool`` the faces are shared out over its threads (OpenCV releases the interpreter lock).
    """
    out = np.empty_like(faces)

    def work(span: range) -> None:
        for i in span:
            out[i] = augment_one(faces[i], how, np.random.default_rng((*seed, i)))

    if pool is None:
        work(range(len(faces)))
    else:
        parts = getattr(pool, "_max_workers", 2)
        list(pool.map(work, [range(k, len(faces), parts) for k in range(parts)]))
    return out


def augment_one(face: ImageU8, how: AugmentSettings, rng: np.random.Generator) -> ImageU8:
    """One changed copy of a face (H, W, 3) uint8 RGB."""
    if how.turn and rng.random() < how.turn:
        low, high = how.turn_deg
        face = turn(face, int(rng.integers(low, high + 1) * rng.choice((-1, 1))))
    out = _warp(face, how, rng)
    chance = rng.random(5)
    if chance[0] < how.lowres:
        out = _coarsen(out, rng)
    if chance[1] < how.colour:
        out = _relight(out, rng)
    if chance[2] < how.grey:
        grey = cv2.cvtColor(out, cv2.COLOR_RGB2GRAY)
        out = np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), np.uint8)
    if chance[3] < how.occlude:
        _occlude(out, rng)
    if chance[4] < how.jpeg:
        out = _recompress(out, rng)
    if rng.random() < how.border:
        _cut_off(out, rng)
    return out


def _warp(face: ImageU8, how: AugmentSettings, rng: np.random.Generator) -> ImageU8:
    """Landmark jitter as one similarity warp, and the mirror image half of the time."""
    height, width = face.shape[:2]
    angle = np.deg2rad(rng.normal() * how.rotate_deg)
    scale = np.exp(rng.normal() * how.scale)
    shift = rng.normal(size=2) * how.shift_px
    mirror = -1.0 if rng.random() < how.flip else 1.0
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.array([[cos * mirror, -sin], [sin * mirror, cos]])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.column_stack([linear, centre - linear @ centre + shift])
    warped = cv2.warpAffine(face, matrix, (width, height), flags=cv2.INTER_LINEAR)
    return np.asarray(warped, np.uint8)


def _coarsen(face: ImageU8, rng: np.random.Generator) -> ImageU8:
    """A small or blurred face: down and up again, Gaussian blur, or a motion streak."""
    height, width = face.shape[:2]
    kind = rng.random()
    if kind < 0.6:
        side = int(rng.integers(24, 80))
        small = cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA)
        out = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    elif kind < 0.85:
        out = cv2.GaussianBlur(face, (0, 0), float(rng.uniform(0.6, 2.2)))
    else:
        length = int(rng.integers(3, 9))
        line = (1, length) if rng.random() < 0.5 else (length, 1)
        out = cv2.blur(face, line)
    return np.asarray(out, np.uint8)


def _relight(face: ImageU8, rng: np.random.Generator) -> ImageU8:
    """Gain, offset and gamma for all channels, a little of each for every channel, as one table."""
    ramp = np.arange(256, dtype=np.float32)[:, None] / 255
    gamma = np.exp(rng.normal() * 0.2)
    gain = np.exp(rng.normal() * 0.2 + rng.normal(size=3) * 0.06)
    offset = rng.normal() * 0.06 + rng.normal(size=3) * 0.02
    table = (((ramp**gamma - 0.5) * gain + 0.5 + offset) * 255).clip(0, 255)
    return np.asarray(cv2.LUT(face, table.astype(np.uint8)[None]), np.uint8)


def _occlude(face: ImageU8, rng: np.random.Generator) -> None:
    """A hand, a mask or glasses, drawn as a filled box in place."""
    height, width = face.shape[:2]
    box_h, box_w = (rng.uniform(0.12, 0.42, 2) * (height, width)).astype(int)
    top, left = int(rng.integers(0, height - box_h)), int(rng.integers(0, width - box_w))
    face[top : top + box_h, left : left + box_w] = rng.integers(0, 256, 3)


def _cut_off(face: ImageU8, rng: np.random.Generator) -> None:
    """Black beyond a slanting edge, in place: the end of the picture, as in crops of profiles."""
    height, width = face.shape[:2]
    side = rng.choice([0.0, 90.0, 180.0, 270.0], p=[0.35, 0.1, 0.35, 0.2])
    angle = np.deg2rad(side + rng.normal() * 15)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    away = (columns - width / 2) * np.cos(angle) + (rows - height / 2) * np.sin(angle)
    face[away > rng.uniform(0.12, 0.5) * width] = 0


def _recompress(face: ImageU8, rng: np.random.Generator) -> ImageU8:
    quality = int(rng.integers(15, 70))
    coded = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
