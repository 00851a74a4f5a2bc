"""Video files, V4L2 cameras and RTSP streams through OpenCV (FFmpeg and V4L2)."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from jetson_face.capture.source import (
    EndOfSource,
    FrameBroken,
    OpenOptions,
    SourceHealth,
    SourceInfo,
    SourceState,
)
from jetson_face.capture.uri import SourceUri
from jetson_face.core.errors import InputBrokenError, InputMissingError, SourceError
from jetson_face.core.types import Frame

log = logging.getLogger(__name__)
_PTS = getattr(cv2, "CAP_PROP_PTS", None)
"""The time of a frame in the file, in frames; OpenCV 4.11 and later tell."""
_FPS_MAX = 1000.0
"""FFmpeg reports the time base (90,000) for streams that do not say their frame rate."""
_ALIKE = 5
"""So many equal frames at a file's start are doubted."""
_LIVE_THREADS = 2
"""Each thread but the first that decodes a stream makes its frames come a frame later, and one core
decodes 1080p at more than 25 frames a second."""


class VideoFile:
    """A video file, frame by frame; `captured_ns` is media time, so that runs repeat exactly.

    A frame's wall time is when it is read: when it was recorded no file tells reliably.
    """

    def __init__(self, path: Path, name: str, *, capture: Any = None) -> None:
        self._path = path
        self._capture = capture if capture is not None else _open_file(path)
        frames = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        told = frames if 0 < frames < 1 << 40 else None
        self.info = _info(self._capture, name, str(path), is_live=False, frames=told)
        self._period_ns = 1e9 / (self.info.fps or 25.0)
        self._seq = self._began = 0
        self._first: Any = None
        self._last_ns = -1
        self._state: SourceState = "running"
        self._counts: Counter[str] = Counter()
        self._last_error: str | None = None
        self._lock = threading.Lock()

    @property
    def health(self) -> SourceHealth:
        """See Source."""
        return SourceHealth(self._state, dict(self._counts), self._last_error)

    def read(self, timeout_s: float) -> Frame:
        """See Source; a file answers at once, whatever the time-out."""
        with self._lock:
            if self._state == "ended":
                raise EndOfSource
            good, image = self._capture.read()
            if not good or image is None:
                self._end()
            media_ns = self._media_ns()
            if self._seq == 0:
                self._began = self._frames_before_the_first()
            self._doubt(image)
        frame = Frame(image, self._seq, media_ns, time.time(), self.info.name)
        self._seq += 1
        return frame

    def close(self) -> None:
        """See Source."""
        with self._lock:
            self._state = "ended"
            self._capture.release()

    def _media_ns(self) -> int:
        """The frame's time in the file, made from the frame rate where the file does not tell."""
        told: int = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        if told <= self._last_ns:
            told = self._last_ns + max(1, int(self._period_ns)) if self._seq else max(0, told)
        self._last_ns = told
        return told

    def _frames_before_the_first(self) -> int:
        """Some containers count frames from time 0 on, also where the video starts later."""
        if _PTS is None or self.info.frames is None:
            return 0
        began = self._capture.get(_PTS)
        return int(began) if 0 < began < self.info.frames else 0

    def _doubt(self, image: Any) -> None:
        """OpenCV 4.14 cannot convert interlaced frames; it says that it did, and leaves in the
        picture what its memory held before. Raises InputBrokenError."""
        if self._seq == 0:
            self._first = image
        elif self._first is None:
            return
        elif not np.array_equal(image, self._first):
            self._first = None
        elif self._seq + 1 == _ALIKE:
            self._first = None
            if _changes(self._path, image.shape[0] * image.shape[1]):
                self._state = "ended"
                raise InputBrokenError(
                    f"{self._path}: this OpenCV ({cv2.__version__}) cannot show its frames, most "
                    "likely because they are interlaced: convert it, as with "
                    "ffmpeg -i FILE -vf yadif -c:a copy NEW.mp4"
                )

    def _end(self) -> None:
        self._state = "ended"
        if self._seq == 0:
            raise InputBrokenError(
                f"{self._path}: no frame can be decoded: the file is damaged, cut off or not a "
                "video; play it with another program, or convert it again"
            )
        said = self.info.frames
        # Many containers do not count frames: what is said then is their length times the frame
        # rate, which is more than there are where the rate varies.
        reached = max(self._seq, round(self._last_ns / self._period_ns) + 1)
        # Containers count a frame or two more than decoders give.
        if said is not None and self._began + reached < said - max(2, said // 100):
            self._counts["truncated"] += 1
            self._last_error = (
                f"{self._path}: ends after {self._seq} of {said - self._began} frames"
            )
        raise EndOfSource


def _open_file(path: Path) -> Any:
    if not path.exists():
        raise InputMissingError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise InputBrokenError(f"{path}: the file is empty (0 bytes)")
    if not os.access(path, os.R_OK):
        raise InputBrokenError(f"{path}: may not be read: change its permissions")
    capture = _decoded(path)
    if not capture.isOpened():
        raise InputBrokenError(
            f"{path}: not a video that FFmpeg can read: the file is damaged, cut off or another "
            "kind of file"
        )
    return capture


def _decoded(path: Path) -> Any:
    # A name such as 12:30.mp4 would be one of FFmpeg's protocols, were it not for the first /.
    address = str(path.absolute())
    return cv2.VideoCapture(address, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, _half_of_cores()])


def _half_of_cores() -> int:
    """Threads that decode: one on each core, as FFmpeg has it, would keep the networks waiting."""
    return max(1, len(os.sched_getaffinity(0)) // 2)


def _changes(path: Path, pixels: int) -> bool:
    """Whether the coded frames after the first say that something moves: those of a scene that
    stands still are a few bytes each, or all the same."""
    capture = _decoded(path)
    try:
        capture.set(cv2.CAP_PROP_FORMAT, -1)  # packets as they are
        packets = [capture.read()[1] for _ in range(_ALIKE)][1:]
    finally:
        capture.release()
    coded = {packet.tobytes() for packet in packets if packet is not None}
    return len(coded) > 1 and max(map(len, coded)) > max(256, pixels // 1024)


class OpenCvCamera:
    """A V4L2 camera or a network stream; blocks in `read` as long as the driver does."""

    def __init__(self, capture: Any, uri: SourceUri, name: str) -> None:
        self._capture = capture
        self._seq = 0
        self._state: SourceState = "running"
        self._lock = threading.Lock()
        self.info = _info(capture, name, uri.shown, is_live=True)

    @property
    def health(self) -> SourceHealth:
        """See Source."""
        return SourceHealth(self._state, {})

    def read(self, timeout_s: float) -> Frame:
        """See Source; the time-out is the one that the capture was opened with."""
        with self._lock:
            if self._state == "ended":
                raise EndOfSource
            grabbed = self._capture.grab()
            captured_ns, wall = time.monotonic_ns(), time.time()
            good, image = self._capture.retrieve() if grabbed else (False, None)
        if not grabbed:
            raise SourceError(f"{self.info.uri}: the camera or stream stopped answering")
        if not good or image is None:
            raise FrameBroken(f"{self.info.uri}: frame {self._seq} cannot be decoded")
        frame = Frame(image, self._seq, captured_ns, wall, self.info.name)
        self._seq += 1
        return frame

    def close(self) -> None:
        """See Source; waits for a read under way, which is why a Courier calls it."""
        with self._lock:
            self._state = "ended"
            self._capture.release()


def open_v4l2(uri: SourceUri, name: str, options: OpenOptions) -> OpenCvCamera:
    """A camera by its device or number. Raises SourceError."""
    device = uri.target if not uri.target.isdecimal() else f"/dev/video{uri.target}"
    if not Path(device).exists():
        raise SourceError(
            f"{uri.shown}: there is no {device}: plug the camera in, or look for it with "
            "`v4l2-ctl --list-devices`"
        )
    if not os.access(device, os.R_OK | os.W_OK):
        raise SourceError(
            f"{uri.shown}: {device} may not be used: add this user to the group `video`"
        )
    capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
    if not capture.isOpened():
        raise SourceError(f"{uri.shown}: {device} is not a camera, or another program is using it")
    # Fewer buffers, newer frames: the driver's queue would add their age.
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    _ask(capture, options, uri, name)
    return OpenCvCamera(capture, uri, name)


def _ask(capture: Any, options: OpenOptions, uri: SourceUri, name: str) -> None:
    """Ask the camera for size and rate; one that gives others is used as it is, and named."""
    asked = {
        cv2.CAP_PROP_FRAME_WIDTH: options.width,
        cv2.CAP_PROP_FRAME_HEIGHT: options.height,
        cv2.CAP_PROP_FPS: options.fps,
    }
    wanted = {prop: float(value) for prop, value in asked.items() if value is not None}

    def give() -> bool:
        for prop, value in wanted.items():
            capture.set(prop, value)
        return all(abs(capture.get(prop) - value) <= 0.5 for prop, value in wanted.items())

    if give():
        return
    # Over USB 2 large pictures come fast enough only when they are packed.
    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    if not give():
        log.warning(
            "camera_gives_others source=%s asked=%s gives=%s; see `v4l2-ctl --list-formats-ext`",
            name,
            _mode(*(asked[prop] for prop in asked)),
            _mode(*(capture.get(prop) for prop in asked)),
        )


def _mode(width: float | None, height: float | None, fps: float | None) -> str:
    size = "any" if width is None or height is None else f"{width:g}x{height:g}"
    return f"{size}@{'any' if fps is None else f'{fps:g}'}"


def open_network(uri: SourceUri, name: str, options: OpenOptions) -> OpenCvCamera:
    """An RTSP or HTTP stream. Raises SourceError within the open time-out."""
    began = time.monotonic()
    # OpenCV's FFmpeg asks for RTSP over TCP by itself: over UDP lost packets smear the faces.
    capture = cv2.VideoCapture(
        uri.address,
        cv2.CAP_FFMPEG,
        [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            int(options.open_timeout_s * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            int(options.read_timeout_s * 1000),
            cv2.CAP_PROP_N_THREADS,
            min(_LIVE_THREADS, _half_of_cores()),
        ],
    )
    if not capture.isOpened():
        left_s = options.open_timeout_s - (time.monotonic() - began)
        why = None
        if uri.scheme in ("http", "https") and left_s > 0:
            from jetson_face.capture.refused import why_refused

            why = why_refused(uri.address, left_s)
        raise SourceError(
            f"{uri.shown}: the stream is refused, or gave no answer in {options.open_timeout_s:g} "
            "s: check address, user and password, and that the camera is on"
            if why is None
            else f"{uri.shown}: {why}"
        )
    return OpenCvCamera(capture, uri, name)


def _info(
    capture: Any, name: str, uri: str, *, is_live: bool, frames: int | None = None
) -> SourceInfo:
    width, height, fps = (
        capture.get(prop)
        for prop in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
    )
    fps = fps if 0 < fps <= _FPS_MAX else None
    return SourceInfo(name, uri, is_live, int(width), int(height), fps, frames)
