"""A network camera from Python: a real RTSP server on loopback."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.conftest import Make
from tests.api.threads import working_threads

SERVER = Path(__file__).resolve().parents[1] / "service" / "rtsp_camera.py"
HAS_IT = """
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
assert Gst.ElementFactory.find("x264enc") or Gst.ElementFactory.find("openh264enc")
"""


@pytest.fixture
def rtsp() -> Iterator[str]:
    """The URI of a camera that shows a moving ball, ten frames a second."""
    python = shutil.which("python3", path="/usr/bin")
    if python is None or subprocess.run([python, "-c", HAS_IT], capture_output=True).returncode:
        pytest.skip(
            "no RTSP server: apt-get install gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-ugly"
        )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen([python, str(SERVER), str(port)]) as server:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"rtsp://127.0.0.1:{port}/cam"
        server.kill()


def test_frames_of_an_rtsp_camera(make: Make, rtsp: str) -> None:
    seqs = []
    for frame, faces in make().watch(rtsp, name="gate"):
        assert (frame.source, frame.image.shape, faces) == ("gate", (240, 320, 3), ())
        seqs.append(frame.seq)
        if len(seqs) == 3:
            break
    assert seqs == sorted(set(seqs))
    assert working_threads() == set()
