"""The source seam: frames one after another, from wherever."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from jetson_face.capture.keys import KEYS, Flip
from jetson_face.core.types import Frame

SourceState: TypeAlias = Literal["starting", "running", "away", "ended"]
"""away: the camera is lost and being tried again. `jetson_face.service.notify` uses these too."""


class EndOfSource(Exception):  # noqa: N818 - an end, not an error
    """Raised by `read` when a file or folder has no more frames: the normal end."""


class FrameBroken(Exception):  # noqa: N818 - counted and passed over, not an error of the run
    """Raised by `read` for one frame that could not be decoded; the next one may be well."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of a source once it is open.

    uri: for people, without credentials. is_live: frames come whether they are read or not.
    width, height: pixels, 0 while unknown. fps: nominal, None where unknown. frames: how many the
    container says there are, None where unknown. stills: each frame stands alone and has nothing
    to do with the one before.
    """

    name: str
    uri: str
    is_live: bool
    width: int
    height: int
    fps: float | None = None
    frames: int | None = None
    stills: bool = False


@dataclass(frozen=True, slots=True)
class SourceHealth:
    """How a source does. counts: faults survived, by name (see `FAULTS`). last_error: one line
    without credentials, None if nothing ever went wrong."""

    state: SourceState
    counts: Mapping[str, int]
    last_error: str | None = None


FAULTS = {
    "lost": "the connection ended or failed",
    "reconnected": "frames came again after a loss",
    "stalled": "no frame in the read time-out",
    "frozen": "the same picture again and again",
    "size_changed": "the frames' size changed",
    "broken": "a frame could not be decoded",
    "truncated": "the file has fewer frames than it says",
    "skipped": "a file in the folder is not a picture",
}
"""Every fault that `SourceHealth.counts` can name, and what it means."""


class Source(Protocol):
    """Frames of one camera, file or folder; used by one thread, closed from any.

    read: the next frame. Raises EndOfSource at the end, TimeoutError when none came in
    `timeout_s` (ask again), FrameBroken for a frame to pass over, SourceError when the camera is
    gone, InputBrokenError when a file cannot be decoded at all.
    close: returns at once, harmless when repeated.
    """

    @property
    def info(self) -> SourceInfo: ...
    @property
    def health(self) -> SourceHealth: ...
    def read(self, timeout_s: float) -> Frame: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """How to open a source; what its kind cannot honour is refused (see `capture.keys`).

    width, height, fps: asked of a camera; OpenCV's may give others, which is logged. flip: done to
    each frame. latency_ms: RTSP jitter buffer, 100 unless told (GStreamer).
    sensor_mode: a CSI camera's, by number; None lets the driver choose by size and rate.
    backend: what decodes rtsp and v4l2; auto takes GStreamer where PyGObject is installed.
    reconnect_max_s: longest wait between two tries to reach a camera that is away.
    zero_copy: auto: a Jetson's GPU reads frames where the camera left them, and where it cannot,
    they are copied by the CPU as with off, which the log says once.
    """

    width: int | None = None
    height: int | None = None
    fps: float | None = None
    flip: Flip = "none"
    latency_ms: int | None = None
    sensor_mode: int | None = None
    backend: Literal["auto", "gstreamer", "opencv"] = "auto"
    open_timeout_s: float = 10.0
    read_timeout_s: float = 5.0
    reconnect_max_s: float = 5.0
    zero_copy: Literal["auto", "off"] = "off"

    @property
    def given(self) -> frozenset[str]:
        """Which of `capture.keys.KEYS` were set."""
        return frozenset(key for key in KEYS if getattr(self, key) not in (None, "none"))
