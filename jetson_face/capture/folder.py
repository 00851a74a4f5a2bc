"""A folder of pictures as a source: in the order of their names, one frame each."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable
from pathlib import Path

from jetson_face.capture.source import EndOfSource, SourceHealth, SourceInfo, SourceState
from jetson_face.core.errors import InputBrokenError, InputMissingError
from jetson_face.core.types import Frame
from jetson_face.util.images import SUFFIXES, read_picture
from jetson_face.util.strays import is_named_as_picture, listed, passed_over

log = logging.getLogger(__name__)


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Sorts `frame2` before `frame10`."""
    parts = re.split(r"([0-9]+)", name.lower())
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in parts if part)


def pictures_of(path: Path) -> list[Path]:
    """The picture itself, or those of a folder in the order of their names, links to nothing among
    them, hidden files not. Raises InputMissingError, InputBrokenError where there is none."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputMissingError(f"{path}: no such file or folder")
    files = [f for f in listed(path) if is_named_as_picture(f) and not f.is_dir()]
    if not files:
        unread = "".join(f"; {f.name}: {why}" for f, why in unread_in(path)[:1])
        raise InputBrokenError(
            f"{path}: no pictures in this folder; looked for {' '.join(sorted(SUFFIXES))}{unread}"
        )
    return _in_order(files)


def unread_in(path: Path) -> list[tuple[Path, str]]:
    """What `pictures_of` leaves out of a folder and somebody may miss, each with the reason and the
    fix. Raises InputBrokenError."""
    found = dict(passed_over(path)) if path.is_dir() else {}
    return [(entry, found[entry]) for entry in _in_order(found)]


def _in_order(files: Iterable[Path]) -> list[Path]:
    return sorted(files, key=lambda f: (natural_key(f.name), f.name))


class PictureFolder:
    """One picture, or those of a folder without its subfolders.

    What is not a picture is skipped and counted. sequence_fps: the pictures follow one another,
    that many a second; None: each stands alone, and is given a second of its own. info: the size is
    unknown, every picture has its own.
    """

    def __init__(self, path: Path, name: str, *, sequence_fps: float | None = None) -> None:
        self._files = pictures_of(path)
        self._next = self._seq = self._skipped = 0
        self._period_ns = 1e9 / (sequence_fps or 1.0)
        self._state: SourceState = "running"
        self._last_error: str | None = None
        self.info = SourceInfo(
            name,
            str(path),
            is_live=False,
            width=0,
            height=0,
            fps=sequence_fps,
            frames=len(self._files),
            stills=sequence_fps is None,
        )
        if unread := unread_in(path):
            first, why = unread[0]
            log.warning(
                "pictures_unread source=%s count=%d first=%s why=%s",
                name, len(unread), first.name, why,
            )  # fmt: skip

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
                image = read_picture(file)
            except (InputBrokenError, InputMissingError) as exc:
                self._skipped += 1
                self._last_error = str(exc)
                log.warning("picture_skipped source=%s error=%s", self.info.name, exc)
                continue
            media_ns = round(self._seq * self._period_ns)
            frame = Frame(image, self._seq, media_ns, time.time(), self.info.name)
            self._seq += 1
            return frame
        ended, self._state = self._state == "ended", "ended"
        if not ended and self._seq == 0:
            raise InputBrokenError(
                f"{self.info.uri}: none of its files is a picture; {self._last_error}"
            )
        raise EndOfSource

    def close(self) -> None:
        """See Source."""
        self._state = "ended"
