"""Boxes and names drawn on a picture."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jetson_face.core.types import ImageU8, Sighting, State
from jetson_face.util.redact import visible

Colour = tuple[int, int, int]
COLOURS: dict[State, Colour] = {
    "known": (80, 175, 76),
    "unknown": (54, 67, 244),
    "pending": (7, 193, 255),
    "review": (176, 39, 156),
}
"""BGR by state: green, red, amber, purple."""
_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "FreeSans.ttf")
_NAME_MAX = 40
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw(image: ImageU8, sightings: Sequence[Sighting]) -> ImageU8:
    """A copy of `image` (H, W, 3) uint8 BGR with every sighting's box, name and similarity."""
    canvas = np.array(image, np.uint8, order="C")
    draw_on(canvas, sightings)
    return canvas


def draw_on(canvas: ImageU8, sightings: Sequence[Sighting]) -> None:
    """The same, onto a writeable image."""
    height, width = canvas.shape[:2]
    line = max(1, round(min(height, width) / 300))
    size = max(12, round(height / 40))
    for sighting in sightings:
        colour = COLOURS[sighting.state]
        x1, y1, x2, y2 = (round(float(edge)) for edge in sighting.box)
        cv2.rectangle(canvas, (x1, y1), (x2, y2), colour, line)
        patch = _patch(label(sighting), size, colour)
        top = y1 - patch.shape[0]
        _paste(canvas, patch, x1, top if top >= 0 else y1)


def label(sighting: Sighting) -> str:
    """What is written at a box: the name, or the state, and the similarity."""
    if sighting.state == "known" and sighting.person is not None:
        name = visible(sighting.person.name)
        who = name if len(name) <= _NAME_MAX else name[: _NAME_MAX - 1] + "…"
        return who if sighting.similarity is None else f"{who} {sighting.similarity:.2f}"
    return {"pending": "…", "review": "?"}.get(sighting.state, sighting.state)


@lru_cache(maxsize=256)
def _patch(text: str, size: int, colour: Colour) -> ImageU8:
    """The text on its coloured plate; OpenCV's own letters are ASCII only."""
    font = _font(size)
    text = "".join(c if _has_glyph(c, size) else "?" for c in text)
    left, _, right, _ = font.getbbox(text)
    pad = max(2, size // 5)
    plate = Image.new("RGB", (round(right - left) + 2 * pad, round(size * 1.35)), colour)
    # The plates are dark or bright: white is unreadable on amber.
    bright = 0.114 * colour[0] + 0.587 * colour[1] + 0.299 * colour[2] > 150
    ink = (0, 0, 0) if bright else (255, 255, 255)
    ImageDraw.Draw(plate).text((pad - left, 0), text, font=font, fill=ink)
    return np.asarray(plate, np.uint8)


@lru_cache(maxsize=16)
def _font(size: int) -> Font:
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


@lru_cache(maxsize=4096)
def _has_glyph(char: str, size: int) -> bool:
    """The font draws `char` as itself, not as the box that stands for missing letters."""
    if char.isspace() or char.isascii():
        return True
    font = _font(size)
    missing = font.getmask("\U0010fffe")
    drawn = font.getmask(char)
    return drawn.size != missing.size or bytes(drawn) != bytes(missing)


def _paste(canvas: ImageU8, patch: ImageU8, left: int, top: int) -> None:
    height, width = canvas.shape[:2]
    left = max(0, min(left, width - patch.shape[1]))
    x2, y1, y2 = min(width, left + patch.shape[1]), max(0, top), min(height, top + patch.shape[0])
    if left < x2 and y1 < y2:
        canvas[y1:y2, left:x2] = patch[y1 - top : y2 - top, : x2 - left]
