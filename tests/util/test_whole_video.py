"""A video file that appears when it is whole."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest

from jetson_face.core.errors import OutputError
from jetson_face.util.whole_video import WholeVideo


def picture(width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), 200, np.uint8)


def frames_in(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    return int(capture.get(cv2.CAP_PROP_FRAME_COUNT))


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_it_has_its_name_once_it_is_kept_and_what_is_not_kept_is_dropped(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / "new" / f"v{suffix}"
    with closing(WholeVideo(path)) as video:
        assert not video.begun
        video.start(10, (64, 48))
        assert video.begun
        for _ in range(5):
            video.write(picture())
        assert not path.exists()
        video.keep()
    assert frames_in(path) == 5
    assert path.stat().st_mode & 0o777 == 0o644
    with closing(WholeVideo(path)) as video:
        video.start(10, (64, 48))
        video.write(picture())
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert frames_in(path) == 5


def test_frames_of_another_size_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "v.avi"
    with closing(WholeVideo(path)) as video:
        video.start(10, (64, 48))
        for image in (picture(), picture(48, 64), picture(32, 24), picture()):
            video.write(image)
        video.keep()
    assert frames_in(path) == 2


class Unable:
    """A writer that cannot write it."""

    fourcc = cv2.VideoWriter.fourcc

    def __init__(self, *_: object) -> None:
        """Any file."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return False

    def release(self) -> None:
        """Nothing to release."""


def test_what_cannot_be_written_is_said_with_the_name_that_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "v.avi"
    with pytest.raises(OutputError, match=f"^{path}: cannot be written: "):
        WholeVideo(path)
    path = tmp_path / "v.avi"
    with monkeypatch.context() as patch, closing(WholeVideo(path)) as video:
        patch.setattr(cv2, "VideoWriter", Unable)
        with pytest.raises(OutputError, match=f"^{path}: this OpenCV cannot write .avi videos of"):
            video.start(10, (64, 48))
        assert not video.begun
    path.mkdir()
    with closing(WholeVideo(path)) as video:
        video.start(10, (64, 48))
        video.write(picture())
        with pytest.raises(OutputError, match=f"^{path}: cannot be written: Is a directory$"):
            video.keep()
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["file"]
