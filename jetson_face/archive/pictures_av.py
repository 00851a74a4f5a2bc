"""The pictures of a recording by PyAV, which decodes key frames without the frames between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import ImageU8

_BACK_MS = (0, 5_000, 60_000)
"""How much further back to start where a file's index does not lead where it should."""
_Timed = Iterator[tuple[float, Any]]
"""Milliseconds of the recording, and what is there."""


class AvPictures:
    """Of one recording. av: PyAV. fps: of the recording."""

    def __init__(self, av: Any, path: Path, fps: float) -> None:
        self._av, self._path, self._period = av, path, 1000 / fps

    def after(self, start_ms: float, *, keys_only: bool) -> _Timed:
        """The frames that `jetson_face.archive.pictures.pictures` gives, with their times."""
        if keys_only:
            for at, frame in self._starting(start_ms, self._alone):
                if frame is None:  # it needs others, or is damaged: on as the recording plays
                    start_ms = at
                    break
                yield at, frame
            else:
                return
        yield from self._starting(start_ms, self._keys if keys_only else self._every)

    def _starting(self, start_ms: float, read: Callable[[Any], _Timed]) -> _Timed:
        """What is read, from that time on. Raises InputBrokenError where nothing is to be had even
        from the beginning."""
        for back in (*_BACK_MS, start_ms):
            with self._opened() as container:
                begins = start_ms - back <= 0
                if not begins:
                    self._seek(container, start_ms - back)
                found = read(container)
                first = next(found, None)
                if begins and first is None:
                    raise InputBrokenError(
                        f"{self._path}: no frame can be decoded: the file is damaged"
                    )
                if begins or (first is not None and first[0] <= start_ms + self._period / 2):
                    for at, what in chain([first] if first else [], found):
                        if at >= start_ms - self._period / 2:
                            yield at, what
                    return

    def _alone(self, container: Any) -> _Timed:
        """Key frames, each decoded alone; None, and nothing after it, where one cannot be.

        `skip_frame` would mix them up where groups of pictures are open, and is unknown to VP9.
        """
        stream = container.streams.video[0]
        decoder = stream.codec_context
        decoder.thread_count = 1
        for packet in self._packets(container):
            if not packet.is_keyframe or packet.is_discard:
                continue
            frames = []
            with suppress(self._av.FFmpegError):
                frames = [*decoder.decode(packet), *decoder.decode(None)]
            decoder.flush_buffers()
            good = len(frames) == 1 and frames[0].key_frame and not frames[0].is_corrupt
            yield _time(stream, packet, 0.0), frames[0] if good else None
            if not good:
                return

    def _keys(self, container: Any) -> _Timed:
        """Key frames, while every frame is decoded."""
        keys: set[int] = set()
        for at, frame in self._every(container, keys):
            if frame.pts in keys:
                yield at, frame

    def _every(self, container: Any, keys: set[int] | None = None) -> _Timed:
        """All frames. keys: takes the times of key frames, before they come."""
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        at = -self._period
        for packet in self._packets(container):
            if keys is not None and packet.is_keyframe and packet.pts is not None:
                keys.add(packet.pts)
            frames = []
            with suppress(self._av.FFmpegError):  # what is damaged is passed over
                frames = packet.decode()
            for frame in frames:
                told = _time(stream, frame, at + self._period)
                at = told if told > at else at + self._period
                yield at, frame

    def _packets(self, container: Any) -> Iterator[Any]:
        """Those of the video, to the end or as far as the file can be read; then an empty one."""
        with suppress(self._av.FFmpegError):
            yield from container.demux(container.streams.video[0])

    def _seek(self, container: Any, at_ms: float) -> None:
        stream = container.streams.video[0]
        target = (stream.start_time or 0) + int(at_ms / 1000 / stream.time_base)
        with suppress(self._av.FFmpegError):  # then it is read from the beginning
            container.seek(target, stream=stream)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """Raises InputBrokenError."""
        try:
            container = self._av.open(str(self._path), metadata_errors="ignore")
        except self._av.FFmpegError:
            container = None
        if container is None or not container.streams.video:
            raise InputBrokenError(f"{self._path}: not a video that FFmpeg can read")
        with container:
            yield container


def _time(stream: Any, what: Any, otherwise: float) -> float:
    """Milliseconds of a packet or frame in the recording."""
    ticks = what.dts if what.pts is None else what.pts
    if ticks is None:
        return otherwise
    return 1000 * float((ticks - (stream.start_time or 0)) * stream.time_base)


def upright(frame: Any) -> ImageU8:
    """(H, W, 3) BGR of a frame."""
    image = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    quarters, rest = divmod(frame.rotation, 90)  # counter-clockwise
    if rest or not quarters % 4:
        return image
    return np.ascontiguousarray(np.rot90(image, quarters))
