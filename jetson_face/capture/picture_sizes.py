"""How large the pictures of a folder are, without decoding them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from jetson_face.capture.folder import pictures_of
from jetson_face.util.images import picture_size

_LOOKED_AT = 1000
"""Of larger folders so many are looked at, spread over all of it."""


def usual_size(path: Path) -> tuple[int, int] | None:
    """Width and height of a picture, or that most of a folder have, the largest where as many have
    another; None where none can be read. Raises InputMissingError, InputBrokenError."""
    files = pictures_of(path)
    found = map(picture_size, files[:: -(-len(files) // _LOOKED_AT)])
    counts = Counter(size for size in found if size is not None)
    return max(counts, key=lambda size: (counts[size], size[0] * size[1], size), default=None)
