"""A video file that appears when it is whole: OpenCV does not say when the disk is full."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2

from jetson_face.core.errors import OutputError
from jetson_face.core.types import ImageU8

CODECS = {".mp4": "mp4v", ".avi": "MJPG"}
_HEAD_BYTES = 1 << 16
"""What the disk must have room for before a video is begun."""


class WholeVideo:
    """Frames of one size in a temporary file beside `path`, which `keep` gives that name.

    It is closed explicitly, which drops what was not kept. Raises OutputError, here already where
    the folder cannot be written or the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None
        self._size = (0, 0)
        self._frames = 0
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(
                dir=path.parent, prefix=f".{path.stem[:60]}.", suffix=path.suffix
            )
            os.close(handle)
        except OSError as exc:
            raise OutputError(f"{path}: cannot be written: {exc.strerror or exc}") from exc
        self._temporary = Path(name)
        if (why := _refusal(self._temporary)) is not None:
            self.close()
            raise OutputError(f"{path}: cannot be written: {why}")

    @property
    def begun(self) -> bool:
        """Whether `start` was called."""
        return self._writer is not None

    def start(self, fps: float, size: tuple[int, int]) -> None:
        """size: width and height of the frames. Raises OutputError, also for what OpenCV cannot
        write."""
        code = cv2.VideoWriter.fourcc(*CODECS[self._path.suffix.lower()])
        writer = cv2.VideoWriter(str(self._temporary), code, fps, size)
        if not writer.isOpened():
            writer.release()
            why = _refusal(self._temporary)
            kind = f"{self._path.suffix} videos of {size[0]}x{size[1]}"
            unable = f"this OpenCV cannot write {kind}"
            raise OutputError(f"{self._path}: {f'cannot be written: {why}' if why else unable}")
        self._writer, self._size = writer, size

    def write(self, image: ImageU8) -> None:
        """Add (H, W, 3) BGR; one of another size is left out, as OpenCV does."""
        self._writer.write(image)
        self._frames += image.shape[1::-1] == self._size

    def keep(self) -> None:
        """Give the file its name. Raises OutputError where not every frame is in it."""
        self._writer.release()
        try:
            with self._temporary.open("rb+") as file:
                os.fsync(file.fileno())
            if _frames_in(self._temporary, self._frames) < self._frames:
                # The file then has no index, or no end.
                why = _refusal(self._temporary) or "is the disk full?"
                raise OutputError(f"{self._path}: the video came out damaged: {why}")
            self._temporary.chmod(0o644)
            self._temporary.replace(self._path)
        except OutputError:
            raise
        except OSError as exc:
            raise OutputError(f"{self._path}: cannot be written: {exc.strerror or exc}") from exc

    def close(self) -> None:
        """Leave nothing but what was kept."""
        if self._writer is not None:
            self._writer.release()
        with suppress(OSError):  # the error that led here is the one to tell
            self._temporary.unlink(missing_ok=True)


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
