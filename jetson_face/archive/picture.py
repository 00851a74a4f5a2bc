"""One picture of a recording."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jetson_face.core.types import ImageU8


@dataclass(frozen=True, slots=True, eq=False)
class RecordedPicture:
    """A decoded frame of a recording. at_ms: its time. fetch: makes (H, W, 3) BGR of it, upright,
    which costs more than to pass over it; None where that fails; before the next picture only."""

    at_ms: float
    fetch: Callable[[], ImageU8 | None]
