"""The annotated video."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from jetson_face.core.errors import OutputError
from jetson_face.core.types import Frame, ImageU8, Report
from jetson_face.output.overlay import draw

_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
_FILL_MAX_S = 5.0
"""A longer gap between frames is shortened to this in the video."""


class VideoSink:
    """Writes the frames of one source with boxes and names; the file appears when it is whole.

    fps: of the file; frames that a live source dropped are filled by the one before, so that time
    runs as it did. source: None takes the first that comes.
    """

    wants_frame = True

    def __init__(self, path: Path, *, fps: float | None = None, source: str | None = None) -> None:
        self.name = "video"
        self._path, self._source = path, source
        self._fps = min(max(fps or 25.0, 1.0), 240.0)
        self._writer: Any = None
        self._temporary: Path | None = None
        self._size = (0, 0)
        self._first_ns = 0
        self._written = 0

    def open(self) -> None:
        """See Sink."""
        if self._path.suffix.lower() not in _CODECS:
            raise OutputError(f"{self._path}: videos are written as {' or '.join(_CODECS)}")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(
                dir=self._path.parent, prefix=f".{self._path.stem[:60]}.", suffix=self._path.suffix
            )
            os.close(handle)
        except OSError as exc:
            raise OutputError(f"{self._path}: cannot be written: {exc.strerror or exc}") from exc
        self._temporary = Path(name)

    def write(self, report: Report, frame: Frame | None) -> None:
        """See Sink."""
        if frame is None or frame.source != (self._source or frame.source):
            return
        if self._writer is None:
            self._start(frame)
        image = self._fitted(draw(frame.image, report.sightings))
        due = round((frame.captured_ns - self._first_ns) * self._fps / 1e9) + 1
        for _ in range(max(1, min(due - self._written, round(_FILL_MAX_S * self._fps)))):
            self._writer.write(image)
        # From here on time counts again after a gap that was cut short.
        self._written = max(due, self._written + 1)

    def close(self) -> None:
        """See Sink."""
        writer, self._writer = self._writer, None
        temporary, self._temporary = self._temporary, None
        if temporary is None:
            return
        try:
            if writer is None:
                return
            writer.release()
            self._publish(temporary)
        except OutputError:
            raise
        except OSError as exc:
            raise OutputError(f"{self._path}: cannot be written: {exc.strerror or exc}") from exc
        finally:
            temporary.unlink(missing_ok=True)

    def _publish(self, temporary: Path) -> None:
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        # OpenCV does not say when the disk is full: the file then has no index and cannot be read.
        check = cv2.VideoCapture(str(temporary))
        whole = check.isOpened()
        check.release()
        if not whole:
            raise OutputError(f"{self._path}: the video came out damaged: is the disk full?")
        temporary.chmod(0o644)
        temporary.replace(self._path)

    def _start(self, frame: Frame) -> None:
        height, width = frame.image.shape[:2]
        # The codecs want even sides.
        self._size = (max(2, width & ~1), max(2, height & ~1))
        self._source, self._first_ns = frame.source, frame.captured_ns
        code = cv2.VideoWriter.fourcc(*_CODECS[self._path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(self._temporary), code, self._fps, self._size)
        if not self._writer.isOpened():
            raise OutputError(f"{self._path}: this OpenCV cannot write {self._path.suffix} videos")

    def _fitted(self, image: ImageU8) -> ImageU8:
        width, height = self._size
        if image.shape[1] - width in (0, 1) and image.shape[0] - height in (0, 1):
            return np.ascontiguousarray(image[:height, :width])
        return np.asarray(cv2.resize(image, self._size), np.uint8)
