"""The annotated video on a disk that fills, and of pictures of several sizes."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from jetson_face.capture.picture_sizes import usual_size
from jetson_face.core.errors import OutputError
from jetson_face.core.types import Frame, Report
from jetson_face.output.video import VideoSink

DISK_KIB = 300


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of DISK_KIB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_KIB}k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> None:
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def record(path: Path, frames: int) -> None:
    """A video of noise, about 14 KiB a frame."""
    noise = np.random.default_rng(0)
    sink = VideoSink(path, fps=25)
    sink.open()
    with closing(sink):
        for n in range(frames):
            image = noise.integers(0, 255, (120, 160, 3), dtype=np.uint8)
            sink.write(report_of(n), Frame(image, n, n * 40_000_000, 0.0, "door"))


def report_of(seq: int) -> Report:
    return Report("door", seq, seq * 40_000_000, 0.0, (160, 120), (), {}, True)


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
@pytest.mark.parametrize("frames", [60, 300])
def test_a_disk_that_fills_up_is_said_and_nothing_is_left(
    small_disk: Path, suffix: str, frames: int
) -> None:
    path = small_disk / f"v{suffix}"
    with pytest.raises(OutputError, match="damaged: No space left on device") as caught:
        record(path, frames if suffix == ".avi" else 4 * frames)
    assert str(path) in str(caught.value)
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_a_full_disk_is_said_before_anything_is_written(small_disk: Path, suffix: str) -> None:
    fill(small_disk)
    path = small_disk / f"v{suffix}"
    with pytest.raises(OutputError) as caught:
        VideoSink(path).open()
    assert str(caught.value) == f"{path}: cannot be written: No space left on device"
    assert [file.name for file in small_disk.iterdir()] == ["filler"]


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_a_disk_that_is_full_at_the_first_frame(small_disk: Path, suffix: str) -> None:
    path = small_disk / f"v{suffix}"
    sink = VideoSink(path)
    sink.open()
    fill(small_disk)
    frame = Frame(np.zeros((120, 160, 3), np.uint8), 0, 0, 0.0, "door")
    with pytest.raises(OutputError, match="No space left on device"), closing(sink):
        sink.write(report_of(0), frame)
    assert [file.name for file in small_disk.iterdir()] == ["filler"]


@pytest.mark.parametrize(("claimed", "held"), [(0, 3), (5, 0)])
def test_frames_are_counted_where_the_index_has_too_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, claimed: int, held: int
) -> None:
    """Without a disk to fill: `claimed` by the index, `held` by the file."""

    class Found:
        left = held

        def __init__(self, path: str) -> None:
            """Any file."""

        def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
            return True

        def get(self, _: int) -> float:
            return claimed

        def grab(self) -> bool:
            self.left -= 1
            return self.left >= 0

        def release(self) -> None:
            """Nothing to release."""

    monkeypatch.setattr(cv2, "VideoCapture", Found)
    path = tmp_path / "v.avi"
    record(path, max(claimed, held))
    path.unlink()
    with pytest.raises(OutputError, match=r"came out damaged: is the disk full\?"):
        record(path, max(claimed, held) + 1)
    assert list(tmp_path.iterdir()) == []


def frames_of(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    out: list[np.ndarray] = []
    while True:
        good, image = capture.read()
        if not good:
            return out
        out.append(image)


def test_pictures_of_other_shapes_keep_theirs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    path = tmp_path / "v.mp4"
    sink = VideoSink(path, fps=1, size=(320, 240))
    sink.open()
    for n, (width, height) in enumerate([(1, 1), (60, 240), (320, 240), (640, 160)]):
        white = np.full((height, width, 3), 255, np.uint8)
        sink.write(report_of(n), Frame(white, n, n * 10**9, 0.0, "door"))
    sink.close()
    shown = [image[:, :, 0] > 128 for image in frames_of(path)]
    assert [image.shape for image in shown] == [(240, 320)] * 4
    # white in the middle row and the middle column
    spans = [(int(image[120].sum()), int(image[:, 160].sum())) for image in shown]
    for span, wanted in zip(spans, [(240, 240), (60, 240), (320, 240), (320, 80)], strict=True):
        assert span == pytest.approx(wanted, abs=8)
    assert [line for line in caplog.messages if line.startswith("video_scaled")] == [
        f"video_scaled file={path} size=320x240: pictures of other sizes are scaled into it"
    ]


def test_a_video_is_asked_to_be_no_larger_than_players_take(tmp_path: Path) -> None:
    path = tmp_path / "v.avi"
    sink = VideoSink(path, fps=1, size=(9000, 1001))
    sink.open()
    sink.write(report_of(0), Frame(np.zeros((1001, 9000, 3), np.uint8), 0, 0, 0.0, "door"))
    sink.close()
    assert [image.shape for image in frames_of(path)] == [(456, 4096, 3)]


def test_the_usual_size_of_pictures(tmp_path: Path) -> None:
    from PIL import Image

    def picture(name: str, width: int, height: int, orientation: int = 1) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.new("RGB", (width, height)).save(tmp_path / name, exif=exif)

    picture("a.png", 1, 1)
    assert usual_size(tmp_path) == usual_size(tmp_path / "a.png") == (1, 1)
    picture("b.jpg", 300, 200)
    assert usual_size(tmp_path) == (300, 200)
    picture("c.jpg", 60, 80)
    picture("d.jpg", 80, 60, orientation=6)
    (tmp_path / "e.jpg").write_text("no picture")
    os.mkfifo(tmp_path / "f.jpg")
    assert usual_size(tmp_path) == (60, 80)
