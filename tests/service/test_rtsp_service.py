"""The RTSP stream beside a real service: pictures come, and the recogniser is not slower for it.

`pytest -m slow tests/service/test_rtsp_service.py` runs it, in half a minute.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from tests.service.running import Running

pytest.importorskip("gi", reason="no python3-gi here")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
SMALL = """
state_dir: {state}
sources: [{uri: "test://?live=1&frames=1000000&fps=10&width=320&height=240", name: door}]
detector: {type: mtcnn, min_face_px: 60, max_side_px: 160}
"""


def rate(service: Running, seconds: float, capture: cv2.VideoCapture | None = None) -> float:
    """Frames decided a second, while somebody watches or nobody does."""
    began, before = time.monotonic(), service.status()["cameras"]["door"]["processed"]
    while time.monotonic() - began < seconds:
        if capture is None:
            time.sleep(0.1)
        else:
            assert capture.read()[0]
    took = time.monotonic() - began
    return float(service.status()["cameras"]["door"]["processed"] - before) / took


def test_a_viewer_gets_pictures_and_costs_the_recogniser_nothing(tmp_path: Path) -> None:
    with contextlib.closing(Running(tmp_path, SMALL)) as service:
        process = subprocess.Popen(
            [sys.executable, "-u", "-m", "jetson_face", "rtsp", "--port", "0",
             "-c", str(service.config)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            before = rate(service, 5)
            capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
            watched = rate(service, 5, capture)
            capture.release()
        finally:
            process.terminate()
            process.wait(20)
    sys.stdout.write(f"MEASURED {before:.2f} frames/s alone, {watched:.2f} watched\n")
    assert watched > 0.95 * before
