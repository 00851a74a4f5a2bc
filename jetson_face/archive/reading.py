"""The frames of a piece of a recording, decoded in order; only wanted ones are fetched."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from jetson_face.archive.pieces import RecordingPiece
from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import Frame, ImageU8

_BACK_MS = (0, 5_000, 60_000)
"""How much further back to start where a file's frame numbers do not lead where they should."""


class Gate(Protocol):
    """Which frames are looked at (`jetson_face.archive.scanning`)."""

    def wants(self, number: int, at_ms: float) -> bool:
        """Whether frame `number` of the piece is to be fetched, which costs more than to decode."""

    def passes(self, image: ImageU8, at_ms: float) -> bool:
        """Whether the picture that was fetched is to be looked at."""


@dataclass(slots=True)
class Counts:
    """frames: decoded. looked: given to the recogniser."""

    frames: int = 0
    looked: int = 0


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A recording for reading. Raises InputBrokenError."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise InputBrokenError(f"{path}: not a video that FFmpeg can read")
        yield capture
    finally:
        capture.release()


def frames_of(piece: RecordingPiece, path: Path, gate: Gate, counts: Counts) -> Iterator[Frame]:
    """The frames of a piece that the gate wants and passes. `captured_ns` is media time, `wall` the
    time at which the frame was recorded. Raises InputBrokenError."""
    period = 1000 / piece.fps
    with opened(path) as capture:
        at = seek(capture, piece.start_ms, piece.fps, path)
        number = 0
        while at is not None and at < piece.stop_ms - period / 2:
            counts.frames += 1
            if gate.wants(number, at):
                good, image = capture.retrieve()
                if good and gate.passes(image, at):
                    counts.looked += 1
                    yield Frame(
                        np.asarray(image, np.uint8),
                        number,
                        round(at * 1e6),
                        piece.begun + at / 1000,
                        piece.camera,
                    )
            number += 1
            at = _next(capture, at, period)


def seek(capture: Any, start_ms: float, fps: float, path: Path) -> float | None:
    """Grab the first frame at or after that time; its time, None where there is none.

    Where a file's frame rate varies a frame's number is not its time: it starts further back then.
    Raises InputBrokenError.
    """
    period = 1000 / fps
    for back in _BACK_MS:
        target = max(0, round((start_ms - back) * fps / 1000))
        capture.set(cv2.CAP_PROP_POS_FRAMES, target)
        at = _next(capture, -1.0, period)
        if at is None and target == 0:
            raise InputBrokenError(f"{path}: no frame can be decoded: the file is damaged")
        if at is not None and (at <= start_ms + period / 2 or target == 0):
            break
    else:
        capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
        at = _next(capture, -1.0, period)
    while at is not None and at < start_ms - period / 2:
        at = _next(capture, at, period)
    return at


def _next(capture: Any, before: float, period: float) -> float | None:
    """Grab a frame; its time in milliseconds, made from the frame rate where the file tells none;
    None at the end."""
    if not capture.grab():
        return None
    told = float(capture.get(cv2.CAP_PROP_POS_MSEC))
    return told if told > before else before + period


def near_key(key_ms: tuple[int, ...], at_ms: float, period: float) -> bool:
    """A frame at that time is a key frame."""
    row = bisect_left(key_ms, at_ms - period / 2)
    return row < len(key_ms) and key_ms[row] <= at_ms + period / 2
