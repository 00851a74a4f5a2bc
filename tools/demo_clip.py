"""Makes the demo's clip from two public-domain portraits that pip packages carry.

Eileen Collins (NASA; scikit-image's `astronaut`) and Grace Hopper (US Navy; matplotlib's
`grace_hopper`) move, grow and shrink in front of a plain wall; some frames are blurred, some dark.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from jetson_face.core.types import F32, ImageU8

WIDTH, HEIGHT, FPS = 640, 480, 25
FRAMES = 400
BLURRED = range(120, 150)
DARK = range(270, 310)


def portrait_path(who: str) -> Path:
    """Where a pip package keeps a portrait: "collins" or "hopper".

    Found without importing the package, which would take a second. Raises FileNotFoundError.
    """
    package, file = {
        "collins": ("skimage", "data/astronaut.png"),
        "hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    }[who]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"{package} is not installed: pip install 'jetson-face[demo]'")
    return Path(spec.origin).parent / file


def head(who: str) -> ImageU8:
    """The head and shoulders of a portrait, square, BGR."""
    image = cv2.imread(str(portrait_path(who)), cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"cannot read {portrait_path(who)}")
    y, x, side = {"collins": (0, 85, 290), "hopper": (20, 60, 400)}[who]
    return np.ascontiguousarray(image[y : y + side, x : x + side], dtype=np.uint8)


def feather(side: int) -> F32:
    """(side, side, 1) weights: 1 inside an upright ellipse, falling softly to 0 outside."""
    mask = np.zeros((side, side), np.float32)
    half = side // 2
    cv2.ellipse(mask, (half, half), (int(side * 0.40), int(side * 0.47)), 0, 0, 360, 1.0, -1)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), side * 0.02)[..., None], np.float32)


def paste(scene: ImageU8, picture: ImageU8, centre: tuple[float, float], side: int) -> None:
    """Blend a square picture into the scene, in place; parts outside are cut off."""
    interpolation = cv2.INTER_AREA if side < len(picture) else cv2.INTER_LINEAR
    small = cv2.resize(picture, (side, side), interpolation=interpolation).astype(np.float32)
    weights = feather(side)
    left, top = round(centre[0] - side / 2), round(centre[1] - side / 2)
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + side, WIDTH), min(top + side, HEIGHT)
    if x0 >= x1 or y0 >= y1:
        return
    part = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
    under = scene[y0:y1, x0:x1].astype(np.float32)
    blended = under + (small[part] - under) * weights[part]
    scene[y0:y1, x0:x1] = blended.round().astype(np.uint8)


def wall() -> ImageU8:
    """A plain wall, lighter at the top, with a little grain. (HEIGHT, WIDTH, 3)."""
    rows = np.linspace(150, 95, HEIGHT)[:, None, None]
    grain = np.random.default_rng(7).normal(0, 3, (HEIGHT, WIDTH, 1))
    tint = np.array([1.0, 0.97, 0.92])
    return np.asarray(np.clip((rows + grain) * tint, 0, 255), np.uint8)


def frames() -> Iterator[ImageU8]:
    """FRAMES pictures, (HEIGHT, WIDTH, 3) BGR; the same ones every time."""
    collins, hopper, background = head("collins"), head("hopper"), wall()
    for i in range(FRAMES):
        t = i / FPS
        scene = background.copy()
        if i < 330:
            where = 190 + 60 * math.sin(0.7 * t), 220 + 25 * math.sin(1.3 * t)
            paste(scene, collins, where, 220 + round(50 * math.sin(0.5 * t)))
        if i >= 40:
            where = 460 + 50 * math.sin(0.6 * t + 2), 250 + 30 * math.sin(0.9 * t)
            paste(scene, hopper, where, 240 + round(40 * math.sin(0.8 * t + 1)))
        if i in BLURRED:
            scene = cv2.GaussianBlur(scene, (0, 0), 2.5).astype(np.uint8)
        if i in DARK:
            scene = (scene * 0.3).astype(np.uint8)
        yield scene


def make(path: Path) -> Path:
    """Write the clip as MP4 and return its path. Raises OSError where it cannot be written."""
    part = path.with_suffix(".part.mp4")
    writer = cv2.VideoWriter(str(part), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    if not writer.isOpened():
        raise OSError(f"{path}: cannot be written")
    try:
        for frame in frames():
            writer.write(frame)
    finally:
        writer.release()
    part.replace(path)
    return path
