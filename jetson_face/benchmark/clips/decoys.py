"""What is no face and may be taken for one: backs of heads, textures, pieces of backgrounds."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.random import Generator

from jetson_face.benchmark.clips.cutout import Cutout, Pose, place, soft_oval
from jetson_face.core.types import F32, Box, ImageU8

_SIDE = 128


def back_of_head(random: Generator) -> Cutout:
    """Hair in streaks, two ears, a neck: a head that looks away."""
    skin = random.uniform((70, 100, 140), (150, 180, 225))
    image = np.full((_SIDE, _SIDE, 3), random.uniform(60, 170, 3), np.float32)
    cv2.rectangle(image, (46, 92), (82, _SIDE), skin.tolist(), -1)
    for x in (27, 101):
        cv2.ellipse(image, (x, 68), (7, 12), 0, 0, 360, skin.tolist(), -1)
    hair = random.uniform((10, 15, 25), (70, 110, 160))
    streaks = cv2.GaussianBlur(random.normal(0, 60, (_SIDE, _SIDE)).astype(np.float32), (0, 0), 3)
    streaks = cv2.resize(streaks[:12], (_SIDE, _SIDE)) + streaks
    painted = np.clip(hair + streaks[..., None], 0, 255)
    image += (painted - image) * soft_oval(_SIDE, (64, 60), (38, 46), 1.5)[..., None]
    return _decoy(image)


def texture(random: Generator) -> Cutout:
    """Blobs of several sizes, in two colours: leaves, cloth, stone."""
    field = np.zeros((_SIDE, _SIDE), np.float32)
    for sigma in (1.5, 4, 9, 18):
        noise = random.normal(0, 1, field.shape).astype(np.float32)
        soft = cv2.GaussianBlur(noise, (0, 0), sigma)
        field += soft / max(float(soft.std()), 1e-6) * float(random.uniform(0.2, 1))
    share = 1 / (1 + np.exp(-2 * field[..., None]))
    dark, bright = random.uniform(20, 110, 3), random.uniform(110, 230, 3)
    return _decoy(np.asarray(dark + (bright - dark) * share, np.float32))


def beside_face(picture: ImageU8, face: Box, random: Generator) -> Cutout:
    """A piece of a real picture, (H, W, 3) BGR, that has none of the face."""
    height, width = picture.shape[:2]
    left, right = max(int(face[0] * 0.8), 8), min(int(face[2] + (width - face[2]) * 0.2), width - 8)
    side = picture[:, :left] if left >= width - right else picture[:, right:]
    side = side[:, ::-1] if random.random() < 0.5 else side
    rows = min(height, side.shape[1] * 2)
    top = int(random.integers(0, height - rows + 1))
    piece = cv2.resize(np.ascontiguousarray(side[top : top + rows]), (_SIDE, _SIDE))
    return _decoy(piece.astype(np.float32))


def put(backdrop: ImageU8, decoys: Sequence[Cutout], random: Generator) -> None:
    """Paste decoys beside each other into a backdrop, in place."""
    height, width = backdrop.shape[:2]
    owners = np.zeros((height, width), np.int32)
    step = width / len(decoys)
    for index, decoy in enumerate(decoys):
        centre = (step * (index + 0.5), float(random.uniform(0.4, 0.6)) * height)
        pose = Pose(centre, float(random.uniform(0.5, 0.8)) * step, float(random.uniform(-8, 8)))
        place(backdrop, owners, decoy, pose, 0)


def _decoy(image: F32) -> Cutout:
    mask = soft_oval(_SIDE, (64, 64), (50, 60), 2)
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    quarter = _SIDE / 4
    return Cutout(pixels, mask, (quarter, quarter, 3 * quarter, 3 * quarter))
