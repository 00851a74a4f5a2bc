"""What an archive keeps of a track."""

from __future__ import annotations

from dataclasses import dataclass

from jetson_face.core.types import F32


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
