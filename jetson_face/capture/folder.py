"""A folder of pictures as a source: in the order of their names, one frame each."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path

from jetson_face.capture.source import EndOfSource, SourceHealth, SourceInfo, SourceState
from jetson_face.core.errors import InputBrokenError, InputMissingError
from jetson_face.core.types import Frame, ImageU8
from jetson_face.util.images import SUFFIXES, read_picture

log = logging.getLogger(__name__)


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sorts `frame2` before `frame10`."""
    parts = re.split(r"([0-9]+)", name.lower())
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in parts if part)


def _pictures(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputMissingError(f"{path}: no such file or folder")
    files = [f for f in path.iterdir() if f.suffix.lower() in SUFFIXES and f.is_file()]
    if not files:
        raise InputBrokenError(
            f"{path}: no pictures in this folder; looked for {' '.join(sorted(SUFFIXES))}"
        )
    return sorted(files, key=lambda f: (natural_key(f.name), f.name))


class PictureFolder:
    """One picture, or those of a folder without its subfolders.

    What is not a picture is skipped and counted. fps: the media time between two pictures.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        fps: float = 1.0,
        read: Callable[[Path], ImageU8] = read_picture,
    ) -> None:
        self._files = _pictures(path)
        self._read_picture = read
        self._next = self._seq = self._skipped = 0
        self._period_ns = 1e9 / fps
        self._state: SourceState = "running"
        self._last_error: str | None = None
        self._info = SourceInfo(name, str(path), False, 0, 0, fps, len(self._files))

    @property
    def info(self) -> SourceInfo:
        """See Source; the size is unknown: every picture has its own."""
        return self._info

    @property
    def health(self) -> SourceHealth:
        """See Source."""
        counts = {"skipped": self._skipped} if self._skipped else {}
        return SourceHealth(self._state, counts, self._last_error)

    def read(self, timeout_s: float) -> Frame:
        """See Source. Raises InputBrokenError at the end if no file was a picture."""
        while self._state != "ended" and self._next < len(self._files):
            file = self._files[self._next]
            self._next += 1
            try:
                image = self._read_picture(file)
                wall = file.stat().st_mtime
            except (InputBrokenError, InputMissingError) as exc:
                self._skipped += 1
                self._last_error = str(exc)
                log.warning("picture_skipped source=%s error=%s", self._info.name, exc)
                continue
            frame = Frame(
                image, self._seq, round(self._seq * self._period_ns), wall, self._info.name
            )
            self._seq += 1
            return frame
        ended, self._state = self._state == "ended", "ended"
        if not ended and self._seq == 0:
            raise InputBrokenError(
                f"{self._info.uri}: none of its files is a picture; {self._last_error}"
            )
        raise EndOfSource

    def close(self) -> None:
        """See Source."""
        self._state = "ended"
