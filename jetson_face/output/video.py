"""The annotated video."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from jetson_face.core.errors import OutputError
from jetson_face.core.types import Frame, ImageU8, Report
from jetson_face.output.overlay import draw

log = logging.getLogger(__name__)
_CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
_FILL_MAX_S = 5.0
"""A longer gap between frames is shortened to this in the video."""
_SIDE_MAX = 4096
"""A video is asked to be no larger: players and encoders do not take the sizes of photos."""
_HEAD_BYTES = 1 << 16
"""What the disk must have room for before a video is begun."""


class VideoSink:
    """Writes the frames of one source with boxes and names; the file appears when it is whole.

    fps: of the file; frames that a live source dropped are filled by the one before, so that time
    runs as it did. source: None takes the first that comes. size: of the file, as width and height;
    None takes the first frame's. Frames of another shape get bars.
    """

    wants_frame = True

    def __init__(
        self,
        path: Path,
        *,
        fps: float | None = None,
        source: str | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        self.name = "video"
        self._path, self._source = path, source
        self._fps = min(max(fps or 25.0, 1.0), 240.0)
        self._writer: Any = None
        self._temporary: Path | None = None
        self._wanted, self._size = size, (0, 0)
        self._said_of_sizes = False
        self._first_ns = 0
        self._written = self._frames = 0

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
        if (why := _refusal(self._temporary)) is not None:
            self.close()
            raise OutputError(f"{self._path}: cannot be written: {why}")

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
            self._frames += 1
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
        # OpenCV does not say when the disk is full: the file then has no index, or no end.
        if _frames_in(temporary, self._frames) < self._frames:
            why = _refusal(temporary) or "is the disk full?"
            raise OutputError(f"{self._path}: the video came out damaged: {why}")
        temporary.chmod(0o644)
        temporary.replace(self._path)

    def _start(self, frame: Frame) -> None:
        height, width = frame.image.shape[:2]
        if self._wanted is not None:
            scale = min(1.0, _SIDE_MAX / max(self._wanted))
            width, height = (round(side * scale) for side in self._wanted)
        # The codecs want even sides.
        self._size = (max(2, width & ~1), max(2, height & ~1))
        self._source, self._first_ns = frame.source, frame.captured_ns
        code = cv2.VideoWriter.fourcc(*_CODECS[self._path.suffix.lower()])
        self._writer = cv2.VideoWriter(str(self._temporary), code, self._fps, self._size)
        if not self._writer.isOpened():
            self._writer = None
            why = None if self._temporary is None else _refusal(self._temporary)
            kind = f"{self._path.suffix} videos of {self._size[0]}x{self._size[1]}"
            unable = f"this OpenCV cannot write {kind}"
            raise OutputError(f"{self._path}: {f'cannot be written: {why}' if why else unable}")

    def _fitted(self, image: ImageU8) -> ImageU8:
        width, height = self._size
        if image.shape[1] - width in (0, 1) and image.shape[0] - height in (0, 1):
            return np.ascontiguousarray(image[:height, :width])
        if not self._said_of_sizes:
            self._said_of_sizes = True
            log.warning(
                "video_scaled file=%s size=%dx%d: pictures of other sizes are scaled into it",
                self._path, width, height,
            )  # fmt: skip
        return _letterboxed(image, width, height)


def _letterboxed(image: ImageU8, width: int, height: int) -> ImageU8:
    """The whole picture in its own shape, in the middle of a black one of that size."""
    scale = min(width / image.shape[1], height / image.shape[0])
    fitted = (
        max(1, min(width, round(image.shape[1] * scale))),
        max(1, min(height, round(image.shape[0] * scale))),
    )
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    left, top = (width - fitted[0]) // 2, (height - fitted[1]) // 2
    out = np.zeros((height, width, 3), np.uint8)
    out[top : top + fitted[1], left : left + fitted[0]] = cv2.resize(
        image, fitted, interpolation=how
    )
    return out


def _refusal(file: Path) -> str | None:
    """Why the disk takes no more of a file; None where it does."""
    try:
        with file.open("ab") as end:
            size = end.tell()
            end.write(bytes(_HEAD_BYTES))
            end.flush()
            os.fsync(end.fileno())
            end.truncate(size)
    except OSError as exc:
        return exc.strerror or str(exc)
    return None


def _frames_in(video: Path, wanted: int) -> int:
    """How many can be read; they are counted one by one only where its index has fewer."""
    found = cv2.VideoCapture(str(video))
    try:
        if not found.isOpened():
            return -1
        count = round(found.get(cv2.CAP_PROP_FRAME_COUNT))
        if count < wanted:
            count = 0
            while found.grab():
                count += 1
        return count
    finally:
        found.release()
