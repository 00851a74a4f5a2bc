"""Recordings cut into pieces at key frames, by their packets alone: nothing is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2

from jetson_face.core.errors import InputBrokenError

Stretch: TypeAlias = tuple[int, int]
"""Milliseconds of the recording, from a key frame to the one where the next begins."""


@dataclass(frozen=True, slots=True)
class RecordingOutline:
    """What the packets say. seconds: of video. key_ms: times of the key frames, ascending."""

    seconds: float
    fps: float
    frames: int
    key_ms: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RecordingPiece:
    """A stretch of a recording: what one worker does at a time.

    start_ms, stop_ms: of the recording; stop_ms is the next piece's start, or after the end.
    begun: UTC seconds of the recording's start.
    """

    digest: str
    address: str
    camera: str
    begun: float
    fps: float
    start_ms: int
    stop_ms: int

    @property
    def id(self) -> str:
        """The same for the same content and the same cut."""
        return f"{self.digest[:16]}-{self.start_ms:09d}"

    @property
    def seconds(self) -> float:
        """Of video."""
        return (self.stop_ms - self.start_ms) / 1000


def outline(path: Path) -> RecordingOutline:
    """Read every packet's time and whether it holds a key frame. Raises InputBrokenError."""
    packets = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    try:
        fps = float(packets.get(cv2.CAP_PROP_FPS))
        fps = fps if 0 < fps <= 1000 else 25.0
        keys, last, count = [], 0.0, 0
        while packets.grab():
            at = float(packets.get(cv2.CAP_PROP_POS_MSEC))
            last, count = max(last, at), count + 1
            if packets.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME):
                keys.append(max(0, round(at)))
    finally:
        packets.release()
    if not count:
        raise InputBrokenError(
            f"{path}: no frame can be read: the file is damaged, cut off or not a video"
        )
    return RecordingOutline(last / 1000 + 1 / fps, fps, count, tuple(sorted(set(keys))) or (0,))


def cut(seen: RecordingOutline, piece_s: float) -> tuple[Stretch, ...]:
    """Stretches of about `piece_s` seconds that begin at key frames; the first one at 0, the last
    one ends after the recording."""
    end = int(seen.seconds * 1000) + 1
    starts = [0]
    for key in seen.key_ms:
        if key - starts[-1] >= piece_s * 1000 and end - key >= piece_s * 500:
            starts.append(key)
    return tuple(zip(starts, [*starts[1:], end], strict=True))
