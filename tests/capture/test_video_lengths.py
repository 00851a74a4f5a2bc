"""Whether a video broke off, where its container only says how long it is."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from jetson_face.capture.opencv import VideoFile
from jetson_face.capture.opening import open_source
from jetson_face.capture.source import EndOfSource, Source
from jetson_face.capture.synthetic_scene import SyntheticScene


class Timed:
    """A capture of 10 frames a second on average that tells when each frame is due."""

    def __init__(self, times_ms: list[float], says: int) -> None:
        self.times_ms, self.says, self.at = times_ms, says, -1

    def get(self, prop: int) -> float:
        values = {
            cv2.CAP_PROP_FRAME_COUNT: self.says,
            cv2.CAP_PROP_FPS: 10.0,
            cv2.CAP_PROP_POS_MSEC: self.times_ms[max(0, min(self.at, len(self.times_ms) - 1))],
        }
        return float(values.get(prop, 0))

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.at += 1
        image = np.full((4, 4, 3), self.at, np.uint8)
        return (True, image) if self.at < len(self.times_ms) else (False, None)

    def release(self) -> None: ...


def all_of(source: Source) -> int:
    count = 0
    while True:
        try:
            source.read(1.0)
        except EndOfSource:
            return count
        count += 1


@pytest.mark.parametrize(
    ("times_ms", "counts"),
    [
        ([0.0, 1000.0, 2000.0, 9900.0], {}),  # a pause, and it goes on to its end
        ([*(100.0 * n for n in range(50)), 9900.0], {}),
        ([0.0, 1000.0, 2000.0, 3000.0], {"truncated": 1}),
        ([100.0 * n for n in range(50)], {"truncated": 1}),
    ],
)
def test_fewer_frames_at_a_varying_rate_are_not_a_video_that_breaks_off(
    times_ms: list[float], counts: dict[str, int], tmp_path: Path
) -> None:
    source = VideoFile(tmp_path / "x.mkv", "film", capture=Timed(times_ms, says=100))
    assert all_of(source) == len(times_ms)
    assert source.health.counts == counts
    if counts:
        said = f"ends after {len(times_ms)} of 100 frames"
        assert said in str(source.health.last_error)


def test_a_recording_with_pauses_is_whole_and_one_that_breaks_off_is_not(tmp_path: Path) -> None:
    av = pytest.importorskip("av", reason="pip install av")
    path = tmp_path / "motion.mkv"
    times_ms = [40 * n for n in range(20)] + [60_000 + 40 * n for n in range(20)]
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuvj420p"
        for number, due in enumerate(times_ms):
            image = SyntheticScene().draw(number, 160, 120)
            frame = av.VideoFrame.from_ndarray(image, "bgr24")
            frame.pts, frame.time_base = due, Fraction(1, 1000)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    source = open_source(str(path))
    assert source.info.frames is not None
    assert source.info.frames > 1000  # made from its length and rate
    assert all_of(source) == 40
    assert source.health.counts == {}
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 5])
    source = open_source(str(path))
    assert 0 < all_of(source) < 20
    assert source.health.counts == {"truncated": 1}
