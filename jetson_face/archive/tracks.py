"""What an archive keeps of a track, and the template's compact form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jetson_face.core.types import F32

I8 = NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class ArchivedTrack:
    """One face from entering to leaving, within one piece of a recording.

    id: the same whoever indexes the same piece. piece: see `RecordingPiece.id`. start, end: UTC
    seconds; media_s: seconds in the recording when it starts. frames: embeddings averaged. quality:
    [0, 1], of the best one. template: (dim,) unit float32. crops: portraits as JPEG, best first.
    boxes: (T, 5) float32, seconds after the start and xyxy pixels.
    """

    id: str
    piece: str
    camera: str
    start: float
    end: float
    media_s: float
    frames: int
    quality: float
    template: F32
    crops: tuple[bytes, ...]
    boxes: F32


@dataclass(frozen=True, slots=True, eq=False)
class CompactTemplates:
    """Templates with a byte a number. codes: (N, dim) int8. scale: (N,), codes times scale is the
    template. error: (N,) an upper bound of the length of what that leaves out."""

    codes: I8
    scale: F32
    error: F32


def compact(templates: F32) -> CompactTemplates:
    """(N, dim) float32 templates by their largest number."""
    wide = templates.astype(np.float64)
    scale = np.maximum(np.abs(wide).max(axis=1, initial=0.0), 1e-12) / 127
    scale = scale.astype(np.float32)
    codes = np.clip(np.rint(wide / scale[:, None]), -127, 127).astype(np.int8)
    left = np.linalg.norm(wide - codes * scale[:, None].astype(np.float64), axis=1)
    # rounded up: whoever relies on it must never leave out a template that belongs in
    error = np.nextafter((left * (1 + 1e-6)).astype(np.float32), np.float32(np.inf))
    return CompactTemplates(codes, scale, error)
