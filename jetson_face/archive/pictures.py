"""The pictures of a recording from some time on: by PyAV, or by OpenCV where PyAV is missing."""

from __future__ import annotations

import functools
import logging
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np

from jetson_face.archive.pieces import outline
from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import ImageU8
from jetson_face.util.optional import pip_install

log = logging.getLogger(__name__)
_BACK_MS = (0, 5_000, 60_000)
"""How much further back to start where a file's frame numbers do not lead where they should."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordedPicture:
    """A decoded frame of a recording. at_ms: its time. fetch: makes (H, W, 3) BGR of it, upright,
    which costs more than to pass over it; None where that fails; before the next picture only."""

    at_ms: float
    fetch: Callable[[], ImageU8 | None]


def pictures(
    path: Path, start_ms: float, fps: float, *, keys_only: bool = False
) -> Iterator[RecordedPicture]:
    """Those at or after that time, in order. fps: of the recording. keys_only: key frames, which
    PyAV decodes alone where that can be done. Raises InputBrokenError."""
    if (av := pyav()) is None:
        yield from _by_opencv(path, start_ms, fps, keys_only=keys_only)
        return
    from jetson_face.archive.pictures_av import AvPictures, upright

    for at, frame in AvPictures(av, path, fps).after(start_ms, keys_only=keys_only):
        yield RecordedPicture(at, functools.partial(upright, frame))


@functools.cache
def pyav() -> ModuleType | None:
    """PyAV; None where it is not installed, which is said once."""
    try:
        import av
    except ImportError:
        log.warning(
            "av_missing recordings are read by OpenCV: `archive.scan: key_frames` decodes every "
            "frame, and interlaced recordings cannot be read: %s",
            pip_install("archive"),
        )
        return None
    return av


def _by_opencv(
    path: Path, start_ms: float, fps: float, *, keys_only: bool
) -> Iterator[RecordedPicture]:
    period = 1000 / fps
    keys = outline(path).key_ms if keys_only else ()
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise InputBrokenError(f"{path}: not a video that FFmpeg can read")
        at = _seek(capture, start_ms, fps, path)
        while at is not None:
            if not keys_only or _near(keys, at, period):
                yield RecordedPicture(at, lambda: _fetch(capture))
            at = _next(capture, at, period)
    finally:
        capture.release()


def _fetch(capture: Any) -> ImageU8 | None:
    good, image = capture.retrieve()
    return np.asarray(image, np.uint8) if good else None


def _seek(capture: Any, start_ms: float, fps: float, path: Path) -> float | None:
    """Grab the first frame at or after that time; its time, None where there is none.

    Where a file's frame rate varies a frame's number is not its time: it starts further back then.
    Raises InputBrokenError.
    """
    period = 1000 / fps
    at: float | None = None
    for back in _BACK_MS:
        target = round((start_ms - back) * fps / 1000)
        if target > 0:
            capture.set(cv2.CAP_PROP_POS_FRAMES, target)
            at = _next(capture, -1.0, period)
        if target <= 0 or (at is not None and at <= start_ms + period / 2):
            break
    if at is None or at > start_ms + period / 2:
        # opened again: frame 0 of a transport stream, asked for, is the second key frame
        capture.open(str(path), cv2.CAP_FFMPEG)
        at = _next(capture, -1.0, period)
        if at is None:
            raise InputBrokenError(f"{path}: no frame can be decoded: the file is damaged")
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


def _near(key_ms: tuple[int, ...], at_ms: float, period: float) -> bool:
    """A frame at that time is a key frame."""
    row = bisect_left(key_ms, at_ms - period / 2)
    return row < len(key_ms) and key_ms[row] <= at_ms + period / 2
