"""The frames of a piece of a recording that are worth a look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from jetson_face.archive.pictures import pictures
from jetson_face.archive.pieces import RecordingPiece
from jetson_face.core.types import Frame, ImageU8


class Gate(Protocol):
    """Which frames are looked at (`jetson_face.archive.scanning`). keys_only: only key frames are
    asked for."""

    @property
    def keys_only(self) -> bool: ...

    def wants(self, number: int, at_ms: float) -> bool:
        """Whether frame `number` of the piece is to be fetched, which costs more than to decode."""

    def passes(self, image: ImageU8, at_ms: float) -> bool:
        """Whether the picture that was fetched is to be looked at."""


@dataclass(slots=True)
class Counts:
    """frames: decoded; of key frames only those. looked: given to the recogniser."""

    frames: int = 0
    looked: int = 0


def frames_of(piece: RecordingPiece, path: Path, gate: Gate, counts: Counts) -> Iterator[Frame]:
    """The frames of a piece that the gate wants and passes. `captured_ns` is media time, `wall` the
    time at which the frame was recorded. Raises InputBrokenError."""
    period = 1000 / piece.fps
    found = pictures(path, piece.start_ms, piece.fps, keys_only=gate.keys_only)
    for number, picture in enumerate(found):
        at = picture.at_ms
        if at >= piece.stop_ms - period / 2:
            return
        counts.frames += 1
        if not gate.wants(number, at):
            continue
        image = picture.fetch()
        if image is not None and gate.passes(image, at):
            counts.looked += 1
            wall = piece.begun + at / 1000
            yield Frame(image, number, round(at * 1e6), wall, piece.camera)
