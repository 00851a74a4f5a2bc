"""Figures in messages."""

from __future__ import annotations

import math


def away(value: float, limit: float, digits: int = 0) -> str:
    """`value` as a message sets it against `limit`: rounded away from it.

    Rounded to the nearest, 47.6 pixels where 48 are needed would read "48 pixels, needs 48".
    """
    if not math.isfinite(value):
        return str(value)
    scale = 10**digits
    rounded = math.floor(value * scale) if value < limit else math.ceil(value * scale)
    return f"{rounded / scale:.{digits}f}"
