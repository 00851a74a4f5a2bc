"""The annotated video."""

from __future__ import annotations

import logging
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

from jetson_face.core.errors import OutputError
from jetson_face.core.types import Frame, ImageU8, Report
from jetson_face.output.overlay import draw
from jetson_face.util.whole_video import CODECS, WholeVideo

log = logging.getLogger(__name__)
_FILL_MAX_S = 5.0
"""A longer gap between frames is shortened to this in the video."""
_SIDE_MAX = 4096
"""A video is asked to be no larger: players and encoders do not take the sizes of photos."""


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
        self._video: WholeVideo | None = None
        self._wanted, self._size = size, (0, 0)
        self._said_of_sizes = False
        self._first_ns = 0
        self._written = 0

    def open(self) -> None:
        """See Sink."""
        if self._path.suffix.lower() not in CODECS:
            raise OutputError(f"{self._path}: videos are written as {' or '.join(CODECS)}")
        self._video = WholeVideo(self._path)

    def write(self, report: Report, frame: Frame | None) -> None:
        """See Sink."""
        video = self._video
        if video is None or frame is None or frame.source != (self._source or frame.source):
            return
        if not video.begun:
            self._start(video, frame)
        image = self._fitted(draw(frame.image, report.sightings))
        due = round((frame.captured_ns - self._first_ns) * self._fps / 1e9) + 1
        for _ in range(max(1, min(due - self._written, round(_FILL_MAX_S * self._fps)))):
            video.write(image)
        # From here on time counts again after a gap that was cut short.
        self._written = max(due, self._written + 1)

    def close(self) -> None:
        """See Sink."""
        video, self._video = self._video, None
        if video is not None:
            with closing(video):
                if video.begun:
                    video.keep()

    def _start(self, video: WholeVideo, frame: Frame) -> None:
        height, width = frame.image.shape[:2]
        if self._wanted is not None:
            scale = min(1.0, _SIDE_MAX / max(self._wanted))
            width, height = (round(side * scale) for side in self._wanted)
        # The codecs want even sides.
        self._size = (max(2, width & ~1), max(2, height & ~1))
        self._source, self._first_ns = frame.source, frame.captured_ns
        video.start(self._fps, self._size)

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
