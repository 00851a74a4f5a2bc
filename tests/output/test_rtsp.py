"""Annotated pictures as RTSP, with real clients; nothing is asked while nobody watches."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from jetson_face.cli.main import main
from jetson_face.cli.rtsp import newer
from jetson_face.output import rtsp
from jetson_face.service.http import Page
from jetson_face.service.status_server import StatusServer
from jetson_face.util.images import encode_jpeg

gi = pytest.importorskip("gi", reason="no python3-gi here")
try:
    gi.require_version("GstRtspServer", "1.0")
except ValueError:
    reason = "no GStreamer RTSP server (gir1.2-gst-rtsp-server-1.0)"
    pytest.skip(reason, allow_module_level=True)
pytestmark = pytest.mark.timeout(90)


class Frames:
    """The service's page `/frames/CAMERA`: one blue picture after another."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self._jpeg = encode_jpeg(np.full((240, 320, 3), (250, 60, 10), np.uint8))

    def page(self, rest: str, query: dict[str, str]) -> Page:
        self.asked.append((rest, query["width"]))
        seq = str(len(self.asked)).encode()
        return Page(200, b'{"seq": ' + seq + b"}\n" + self._jpeg, "application/octet-stream")


@pytest.fixture
def frames(tmp_path: Path) -> Iterator[Frames]:
    made, stop = Frames(), threading.Event()
    server = StatusServer(
        {}, unix=tmp_path / "status.sock", folders={"/frames/": lambda r, q: made.page(r, dict(q))}
    )
    thread = threading.Thread(target=server.run, args=(stop,), daemon=True)
    thread.start()
    yield made
    stop.set()
    server.wake()
    thread.join(5)


class Serving:
    """`jetson-face rtsp` as a process."""

    def __init__(self, folder: Path, *more: str) -> None:
        command = [
            sys.executable, "-m", "jetson_face", "rtsp", "--port", "0", "--fps", "15",
            "--set", f"state_dir={folder}", "--set", "sources.0.name=door", *more,
        ]  # fmt: skip
        environ = {k: v for k, v in os.environ.items() if k != "RUNTIME_DIRECTORY"}
        self.process = subprocess.Popen(
            [*command], stdout=subprocess.PIPE, text=True, env={**environ, "PYTHONUNBUFFERED": "1"}
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def close(self) -> None:
        self.process.terminate()
        assert self.process.wait(20) == 0


def watch(url: str, count: int = 5) -> np.ndarray | None:
    """The last of some pictures."""
    capture, picture = cv2.VideoCapture(url, cv2.CAP_FFMPEG), None
    for _ in range(count):
        good, picture = capture.read()
        if not good:
            return None
    capture.release()
    return picture


@pytest.mark.slow
def test_pictures_are_asked_for_only_while_somebody_watches(frames: Frames, tmp_path: Path) -> None:
    serving = Serving(tmp_path, "--width", "640")
    try:
        time.sleep(1.0)
        assert frames.asked == []
        picture = watch(serving.url)
        assert picture is not None
        assert picture.shape == (240, 320, 3)
        assert np.abs(picture.mean(axis=(0, 1)) - (250, 60, 10)).max() < 20
        assert set(frames.asked) == {("door", "640")}
        time.sleep(1.5)
        asked = len(frames.asked)
        time.sleep(1.0)
        assert len(frames.asked) == asked
        assert watch(serving.url) is not None  # and again
    finally:
        serving.close()


def test_off_the_box_a_password_is_asked_for(frames: Frames, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("paper clip 7\n")
    serving = Serving(tmp_path, "--password-file", str(secret))
    try:
        assert watch(serving.url) is None
        host = serving.url.removeprefix("rtsp://")
        assert watch(f"rtsp://viewer:wrong@{host}") is None
        assert frames.asked == []
        assert watch(f"rtsp://viewer:paper%20clip%207@{host}") is not None
    finally:
        serving.close()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--address", "0.0.0.0"], "who may watch?"),
        (["--address", "here"], "not an IP address"),
    ],
)
def test_what_cannot_be_served(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rtsp", "--set", f"state_dir={tmp_path}", *words]) == 2
    assert says in capsys.readouterr().err


def test_a_password_that_cannot_be_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "secret").write_bytes(b"caf\xe9 1234\n")
    words = ["rtsp", "--set", f"state_dir={tmp_path}", "--password-file"]
    assert main([*words, str(tmp_path / "secret")]) == 5
    assert capsys.readouterr().err.count("\n") == 1
    assert main([*words, str(tmp_path)]) == 5
    assert "Is a directory" in capsys.readouterr().err


def test_a_jetson_encodes_by_its_own_element() -> None:
    class OnJetson:
        class ElementFactory:
            find = staticmethod(lambda name: name)

    assert " nvv4l2h264enc " in rtsp._pipeline(OnJetson, 10)


def test_a_service_that_has_no_frame_gives_none(frames: Frames, tmp_path: Path) -> None:
    found = newer(tmp_path / "status.sock", "door", -1, 320)
    assert found is not None
    assert found.seq == 1
    assert found.jpeg.startswith(b"\xff\xd8")
