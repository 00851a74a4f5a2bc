"""Writes videos as cameras and recorders do: H.264 with a key frame every two seconds.

By PyAV, which brings x264; OpenCV's wheel brings no encoder for it.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from jetson_face.core.types import ImageU8


class AvWriter:
    """A video with `fps` frames a second. The same pictures give the same file. bit_rate: bits a
    second; options: of the encoder. Used as cv2.VideoWriter is."""

    def __init__(
        self,
        path: Path,
        fps: int = 25,
        *,
        codec: str = "libx264",
        bit_rate: int = 2_000_000,
        **options: str,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        settings = {"g": str(2 * fps), **options}
        if codec == "libx264":
            settings = {"preset": "veryfast", **settings}
        self._file: Any = av.open(str(path), "w")
        stream: Any = self._file.add_stream(codec, rate=fps, options=settings)
        self._stream = stream
        self._stream.bit_rate, self._stream.thread_count = bit_rate, 1
        self._fps, self._count = fps, 0

    def write(self, image: ImageU8) -> None:
        """One more frame: (height, width, 3) BGR, even numbers of pixels."""
        if not self._count:
            self._stream.height, self._stream.width = image.shape[:2]
            self._stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(image, format="bgr24")
        frame.pts, frame.time_base = self._count, Fraction(1, self._fps)
        self._count += 1
        self._file.mux(self._stream.encode(frame))

    def release(self) -> None:
        """Write the end."""
        self._file.mux(self._stream.encode(None))
        self._file.close()
