"""The pictures of a recording from some time on: by PyAV, or by OpenCV where PyAV is missing."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from jetson_face.archive.picture import RecordedPicture
from jetson_face.util.optional import pip_install

log = logging.getLogger(__name__)


def pictures(
    path: Path, start_ms: float, fps: float, *, keys_only: bool = False
) -> Iterator[RecordedPicture]:
    """Those at or after that time, in order. fps: of the recording. keys_only: key frames, which
    PyAV decodes alone where that can be done. Raises InputBrokenError."""
    if (av := pyav()) is not None:
        from jetson_face.archive.pictures_av import AvPictures

        yield from AvPictures(av, path, fps).after(start_ms, keys_only=keys_only)
        return
    from jetson_face.archive.pictures_opencv import opencv_pictures

    yield from opencv_pictures(path, start_ms, fps, keys_only=keys_only)


@functools.cache
def pyav() -> ModuleType | None:
    """PyAV; None where it is not installed, which is said once."""
    try:
        import av
    except ImportError:
        log.warning(
            "av_missing recordings are read by OpenCV: `archive.scan: key_frames` decodes every "
            "frame, and interlaced recordings cannot be read: %s",
            pip_install("archive"),
        )
        return None
    return av
