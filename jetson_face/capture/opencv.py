"""Video files, V4L2 cameras and RTSP streams through OpenCV (FFmpeg and V4L2)."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

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

_FPS_MAX = 1000.0
"""FFmpeg reports the time base (90,000) for streams that do not say their frame rate."""


class VideoFile:
    """A video file, frame by frame; `captured_ns` is media time, so that runs repeat exactly.

    wall: the file's time of change is taken as the end of the recording.
    """

    def __init__(self, path: Path, name: str, *, capture: Any = None) -> None:
        self._path = path
        self._capture = capture if capture is not None else _open_file(path)
        fps = _fps(self._capture)
        frames = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self._info = SourceInfo(
            name=name,
            uri=str(path),
            is_live=False,
            width=int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            height=int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            fps=fps,
            frames=frames if 0 < frames < 1 << 40 else None,
        )
        self._period_ns = 1e9 / (fps or 25.0)
        length_s = (self._info.frames or 0) * self._period_ns / 1e9
        self._wall = path.stat().st_mtime - length_s
        self._seq = 0
        self._last_ns = -1
        self._state: SourceState = "running"
        self._counts: Counter[str] = Counter()
        self._last_error: str | None = None
        self._lock = threading.Lock()

    @property
    def info(self) -> SourceInfo:
        """See Source."""
        return self._info

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
        frame = Frame(image, self._seq, media_ns, self._wall + media_ns / 1e9, self._info.name)
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

    def _end(self) -> None:
        self._state = "ended"
        if self._seq == 0:
            raise InputBrokenError(
                f"{self._path}: no frame can be decoded: the file is damaged, cut off or not a "
                "video; play it with another program, or convert it anew"
            )
        said = self._info.frames
        # Containers count a frame or two more than decoders give.
        if said is not None and self._seq < said - max(2, said // 100):
            self._counts["truncated"] += 1
            self._last_error = f"{self._path}: ends after {self._seq} of {said} frames"
        raise EndOfSource


def _open_file(path: Path) -> Any:
    if not path.exists():
        raise InputMissingError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise InputBrokenError(f"{path}: the file is empty (0 bytes)")
    if not os.access(path, os.R_OK):
        raise InputBrokenError(f"{path}: may not be read: change its permissions")
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise InputBrokenError(
            f"{path}: not a video that FFmpeg can read: the file is damaged, cut off or another "
            "kind of file"
        )
    return capture


class OpenCvCamera:
    """A V4L2 camera or a network stream; blocks in `read` as long as the driver does."""

    def __init__(
        self,
        capture: Any,
        uri: SourceUri,
        name: str,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._capture = capture
        self._clock_ns, self._wall = clock_ns, wall
        self._seq = 0
        self._state: SourceState = "running"
        self._lock = threading.Lock()
        self._info = SourceInfo(
            name=name,
            uri=uri.shown,
            is_live=True,
            width=int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
            height=int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
            fps=_fps(capture),
        )

    @property
    def info(self) -> SourceInfo:
        """See Source."""
        return self._info

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
            captured_ns, wall = self._clock_ns(), self._wall()
            good, image = self._capture.retrieve() if grabbed else (False, None)
        if not grabbed:
            raise SourceError(f"{self._info.uri}: the camera or stream stopped answering")
        if not good or image is None:
            raise FrameBroken(f"{self._info.uri}: frame {self._seq} cannot be decoded")
        frame = Frame(image, self._seq, captured_ns, wall, self._info.name)
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
    for prop, value in (
        (cv2.CAP_PROP_FRAME_WIDTH, options.width),
        (cv2.CAP_PROP_FRAME_HEIGHT, options.height),
        (cv2.CAP_PROP_FPS, options.fps),
    ):
        if value is not None:
            capture.set(prop, value)
    return OpenCvCamera(capture, uri, name)


def open_network(uri: SourceUri, name: str, options: OpenOptions) -> OpenCvCamera:
    """An RTSP or HTTP stream. Raises SourceError within the open time-out."""
    # OpenCV's FFmpeg asks for RTSP over TCP by itself: over UDP lost packets smear the faces.
    capture = cv2.VideoCapture(
        uri.raw,
        cv2.CAP_FFMPEG,
        [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            int(options.open_timeout_s * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            int(options.read_timeout_s * 1000),
        ],
    )
    if not capture.isOpened():
        raise SourceError(
            f"{uri.shown}: the stream is refused, or gave no answer in {options.open_timeout_s:g} "
            "s: check address, user and password, and that the camera is on"
        )
    return OpenCvCamera(capture, uri, name)


def _fps(capture: Any) -> float | None:
    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if 0 < fps <= _FPS_MAX else None
