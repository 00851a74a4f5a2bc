"""Cameras that are files, and the figures of a short run."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from bench_cameras import FileAsCamera, main

from jetson_face.capture.source import EndOfSource


def test_a_file_is_played_in_its_own_time_over_and_over(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 20.0, (160, 120))
    for grey in (40, 120, 200):
        writer.write(np.full((120, 160, 3), grey, np.uint8))
    writer.release()
    camera = FileAsCamera(path, "door", clock_ns=lambda: 0)
    assert camera.info.is_live
    frames = [camera.read(1.0) for _ in range(5)]
    steps = np.diff([frame.captured_ns for frame in frames])
    assert set(steps.tolist()) == {50_000_000}
    greys = [int(frame.image.mean()) for frame in frames]
    np.testing.assert_allclose(greys, [40, 120, 200, 40, 120], atol=6)
    with pytest.raises(TimeoutError):
        camera.read(0.001)
    camera.close()
    with pytest.raises(EndOfSource):
        camera.read(1.0)


@pytest.mark.slow
def test_two_cameras_are_decided_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "cameras.json"
    words = ["--cameras", "2", "--size", "320x240", "--fps", "10", "--faces", "1"]
    assert (
        main([*words, "--seconds", "2", "--json", str(file), "--set", "backend.type=onnxruntime"])
        == 0
    )
    (found,) = json.loads(file.read_text())["rounds"]
    assert 0 < found["decided_fps"] <= found["captured_fps"] < 25
    assert found["oldest_age_p95_ms"] >= found["oldest_age_p50_ms"] > 0
