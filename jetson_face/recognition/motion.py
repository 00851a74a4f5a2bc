"""What of a frame changed since it was last searched: seen on a small grey picture."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from jetson_face.core.types import F32, Area, BoolArray, Pixels

_BLOCKS, _CELLS = 16, 8
"""Blocks along the longer side of a frame, of which areas are made, and cells along a block's: at
1080p a block has 120 pixels and a cell 15."""
_CHANGE_MIN, _CHANGE_MAX = 4.5, 12.0
"""Grey levels by which three by three cells change on average. What the noise asks for is cut to
these: where half of the frame moves, that is no noise."""
_NOISE = 6.0
"""Times the deviation of the cells that did not change."""
_MARGIN = 1
"""Blocks around what changed, in which its face may be."""
_AROUND = 1.5
"""Sides of its box around a face that was lost."""
_AREAS_MAX = 3
_SHARE_MAX = 0.5
"""Of the frame: above it, all of it is searched, which every other time looks for large faces only
and need not follow the known ones."""
_DARK = 8.0
"""Added to grey levels before they are compared as a ratio: black is noise."""


class MovedAreas:
    """Compares each cell of a frame with itself when it was last searched.

    So what moves slowly is noticed once it has moved far enough, and what stopped since is not
    forgotten. A frame that is brighter or darker all over has not changed. Every `full_search_ns`
    the whole frame is to be searched whatever moved. Times are `Frame.captured_ns`.
    """

    def __init__(self, full_search_ns: int) -> None:
        self._full_search_ns = full_search_ns
        self._whole_ns = 0
        self._searched: F32 | None = None
        self._now = np.zeros((0, 0), np.float32)
        self._changed = np.zeros((0, 0), np.bool_)
        self._size = 0, 0

    def reset(self) -> None:
        """Another scene: the next frame is searched whole."""
        self._searched = None

    def look(self, image: Pixels, captured_ns: int) -> bool:
        """See what changed in a frame; False: the whole frame is to be searched."""
        self._size = image.shape[1], image.shape[0]
        before, self._now = self._searched, _small(image)
        passed = captured_ns - self._whole_ns
        if before is None or not 0 <= passed < self._full_search_ns:
            return False
        self._changed = _changed(before, self._now)
        return True

    def areas(self, lost: F32) -> list[Area] | None:
        """What is to be searched of the frame last looked at, pixels; None: most of it, so all.

        lost: boxes (N, 4) of known faces that are to be looked for where they should be.
        """
        wanted = self._changed.copy()
        scale = self._scale(wanted)
        sides = (lost[:, 2:] - lost[:, :2]).max(axis=1)[:, None]
        around = lost + np.array([-1, -1, 1, 1], np.float32) * _AROUND * sides
        for left, top, right, bottom in around * scale:
            wanted[_span(top, bottom), _span(left, right)] = True
        found = np.array(_rectangles(wanted), np.int64).reshape(-1, 4)
        if len(found) > _AREAS_MAX:
            found = np.concatenate([found[:, :2].min(axis=0), found[:, 2:].max(axis=0)])[None]
        if (found[:, 2:] - found[:, :2]).prod(axis=1).sum() > _SHARE_MAX * wanted.size:
            return None
        edges = np.rint(found / scale).astype(int).tolist()
        return [(left, top, right, bottom) for left, top, right, bottom in edges]

    def searched(self, areas: Sequence[Area] | None, captured_ns: int) -> None:
        """These of the frame last looked at were searched for faces of all sizes; None: all."""
        if areas is None:
            self._searched, self._whole_ns = self._now, captured_ns
        elif self._searched is not None:
            for area in areas:
                left, top, right, bottom = np.rint(area * self._scale(self._now)).astype(int)
                here = slice(top, bottom), slice(left, right)
                self._searched[here] = self._now[here]

    def _scale(self, grid: F32 | BoolArray) -> F32:
        """(4,) from pixels of the frame to blocks or cells."""
        return np.tile(np.divide(grid.shape[::-1], self._size), 2).astype(np.float32)


def _changed(before: F32, now: F32) -> BoolArray:
    """Blocks (rows, columns) that look different, and those around them; `before` gets the light
    of `now`."""
    light = np.median((now[::4, ::4] + _DARK) / (before[::4, ::4] + _DARK))
    before += (before + _DARK) * (light - 1)
    change = np.asarray(cv2.absdiff(cv2.blur(now - before, (3, 3)), 0), np.float32)
    noise = 1.48 * float(np.median(change[::4, ::4]))
    moved = change > min(max(_NOISE * noise, _CHANGE_MIN), _CHANGE_MAX)
    rows, columns = (side // _CELLS for side in moved.shape)
    blocks = moved.reshape(rows, _CELLS, columns, _CELLS).any(axis=(1, 3)).astype(np.uint8)
    side = 1 + 2 * _MARGIN
    return np.asarray(cv2.dilate(blocks, np.ones((side, side), np.uint8)), np.bool_)


def _small(image: Pixels) -> F32:
    """Grey cells (rows, columns), each of four of the image's pixels."""
    height, width = image.shape[:2]
    block = max(height, width) / _BLOCKS
    columns, rows = (_CELLS * max(1, round(side / block)) for side in (width, height))
    some = cv2.resize(image, (2 * columns, 2 * rows), interpolation=cv2.INTER_NEAREST_EXACT)
    code = cv2.COLOR_BGR2GRAY if image.shape[2] == 3 else cv2.COLOR_BGRA2GRAY
    cells = cv2.resize(cv2.cvtColor(some, code), (columns, rows), interpolation=cv2.INTER_AREA)
    return np.asarray(cells, np.float32)


def _span(first: float, last: float) -> slice:
    """Of blocks, all that a stretch touches."""
    return slice(max(0, int(np.floor(first))), max(0, int(np.ceil(last))))


def _rectangles(blocks: BoolArray) -> list[Area]:
    """Rectangles, none of which touches another, that hold all these blocks."""
    while True:
        count, _, stats, _ = cv2.connectedComponentsWithStats(blocks.astype(np.uint8))
        found = [(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:count].tolist()]
        filled = blocks.copy()
        for left, top, right, bottom in found:
            filled[top:bottom, left:right] = True
        if (filled == blocks).all():
            return found
        blocks = filled
