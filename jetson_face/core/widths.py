"""How wide annotated pictures are made: few widths, so that many who watch share them."""

from __future__ import annotations

WIDTHS = (320, 640, 960, 1280, 1920)
"""Pixels."""


def width_for(wanted: int) -> int:
    """The smallest width that has `wanted` pixels, else the largest one."""
    return next((one for one in WIDTHS if one >= wanted), WIDTHS[-1])
