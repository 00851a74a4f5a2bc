"""GStreamer: pipelines by use, frames, errors; a real RTSP server that dies and comes back."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from jetson_face.capture import gstreamer
from jetson_face.capture.gstreamer import csi_pipeline, rtsp_pipeline, user_pipeline
from jetson_face.capture.opening import open_source
from jetson_face.capture.reconnect import ReconnectPolicy
from jetson_face.capture.source import OpenOptions, Source
from jetson_face.core.errors import MissingDependencyError, SourceError, UsageError
from jetson_face.core.types import Frame, Report
from jetson_face.live import LivePipeline

needs_gst = pytest.mark.skipif(
    not gstreamer.has_gstreamer("videotestsrc", "videoconvert"),
    reason="GStreamer for Python (python3-gi, gstreamer1.0-plugins-base) is not installed",
)
PATIENT = OpenOptions(open_timeout_s=20.0)

SERVER = """
import sys, gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1"); server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch("( videotestsrc is-live=true pattern=ball ! jpegenc ! rtpjpegpay name=pay0 )")
factory.set_shared(True)
server.get_mount_points().add_factory("/cam", factory)
assert server.attach(None) != 0
print("ready", flush=True)
GLib.MainLoop().run()
"""


@needs_gst
def test_a_library_that_throws_after_gstreamer_was_loaded_does_not_abort() -> None:
    code = (
        "from jetson_face.capture.gstreamer import load_gst; load_gst()\n"
        "from jetson_face.inference.onnxruntime import OnnxBackend\n"
        "from jetson_face.core.errors import ModelError\n"
        "try: OnnxBackend(b'not a model')\n"
        "except ModelError: print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.stdout.strip() == "refused", done.stderr[-500:]


def test_a_jetson_camera_stays_in_nvmm_memory_until_it_is_converted() -> None:
    assert csi_pipeline(1, OpenOptions(width=1920, height=1080, fps=30.0)) == (
        "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1920,height=1080,"
        "framerate=30/1,format=NV12 ! nvvidconv ! video/x-raw,format=BGRx ! "
        "appsink name=jetson_face max-buffers=1 drop=true sync=false"
    )
    turned = csi_pipeline(0, OpenOptions(sensor_mode=2, flip="rotate_180"))
    assert turned.startswith("nvarguscamerasrc sensor-id=0 sensor-mode=2 ! ")
    assert "! nvvidconv flip-method=2 ! video/x-raw,format=BGRx ! appsink" in turned


def test_rtsp_uses_the_jetsons_converter_where_there_is_one() -> None:
    assert "nvvidconv" in rtsp_pipeline(OpenOptions(), True)
    assert "nvvidconv" not in rtsp_pipeline(OpenOptions(), False)
    assert "media=video" in rtsp_pipeline(OpenOptions(), False)


@pytest.mark.parametrize(("text", "says"), [("", "needs a pipeline"), ("x ! appsink", "leave the")])
def test_a_user_pipeline_that_cannot_work_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        user_pipeline(text, OpenOptions())


def test_without_pygobject_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gi", None)
    assert not gstreamer.has_gstreamer()
    with pytest.raises(MissingDependencyError, match="apt-get install python3-gi"):
        open_source("gst:videotestsrc")


@needs_gst
def test_frames_of_a_user_pipeline_have_padded_rows_removed() -> None:
    # 322 x 3 bytes are not a multiple of four: GStreamer pads each row.
    source = open_source(
        "gst:videotestsrc pattern=red is-live=true ! video/x-raw,width=322,height=240",
        options=PATIENT,
    )
    frame = source.read(10)
    assert frame.image.shape == (240, 322, 3)
    assert (np.abs(frame.image.astype(int) - (0, 0, 255)) < 8).all()
    assert (source.info.width, source.info.height, source.info.is_live) == (322, 240, True)
    source.close()


@needs_gst
@pytest.mark.parametrize(
    ("uri", "says"),
    [("gst:nosuchelement", "nosuchelement"), ("csi://0", "nvarguscamerasrc")],
)
def test_an_element_that_is_missing_is_named(uri: str, says: str) -> None:
    if uri == "csi://0" and gstreamer.has_gstreamer("nvarguscamerasrc"):
        pytest.skip("this is a Jetson")
    with pytest.raises(SourceError, match=says):
        open_source(uri)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("backend", ["gstreamer", "opencv"])
def test_an_address_that_nobody_serves_is_an_error_without_the_password(
    backend: Literal["gstreamer", "opencv"], port: int, capfd: pytest.CaptureFixture[str]
) -> None:
    if backend == "gstreamer" and not gstreamer.has_gstreamer("rtspsrc"):
        pytest.skip("no GStreamer with rtspsrc")
    options = OpenOptions(backend=backend, open_timeout_s=20.0)
    with pytest.raises(SourceError) as caught:
        open_source(f"rtsp://admin:s3cret@127.0.0.1:{port}/cam", options=options)
    text = str(caught.value) + "".join(capfd.readouterr())
    assert "s3cret" not in text
    assert f"rtsp://***@127.0.0.1:{port}/cam" in text


class Server:
    """A real RTSP server in a process of its own."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(self.port)], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            self._process.wait()
            pytest.skip("no GStreamer RTSP server (gir1.2-gst-rtsp-server-1.0)")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


class Null:
    def process(self, frame: Frame) -> Report:
        size = (frame.image.shape[1], frame.image.shape[0])
        return Report(frame.source, frame.seq, frame.captured_ns, frame.wall, size, (), {}, True)


def steps(
    source: Source, server: Server, stop: Callable[[], None], decided: Callable[[], int]
) -> Callable[[], None]:
    """Frames come; the server dies; it comes back; frames come again; stop."""

    def nothing() -> None: ...

    def back() -> bool:
        return source.health.counts.get("reconnected", 0) == 1

    plan: Iterator[tuple[Callable[[], bool], Callable[[], None]]] = iter(
        [
            (lambda: decided() >= 5, server.kill),
            (lambda: source.health.state == "away", server.start),
            (back, nothing),
            (lambda: source.health.state == "running", stop),
        ]
    )
    current = [next(plan)]

    def tick() -> None:
        done, act = current[0]
        if done():
            act()
            current[0] = next(plan, (lambda: False, nothing))

    return tick


@needs_gst
@pytest.mark.parametrize("backend", ["gstreamer", "opencv"])
def test_a_camera_that_dies_and_comes_back_is_resumed(
    backend: Literal["gstreamer", "opencv"], port: int, tmp_path: Path
) -> None:
    server = Server(port)
    server.start()
    try:
        options = OpenOptions(backend=backend, open_timeout_s=20.0, read_timeout_s=3.0)
        policy = ReconnectPolicy(first_s=0.2, most_s=1.0, stall_s=4.0, open_s=22.0)
        uri = f"rtsp://admin:s3cret@127.0.0.1:{port}/cam"
        source = open_source(uri, "door", options=options, policy=policy)
        pipeline = LivePipeline([source], lambda info: Null())
        tick = steps(source, server, pipeline.stop, lambda: pipeline.progress["door"][2])
        report = pipeline.run(tick)
    finally:
        server.kill()
    (door,) = report.sources
    assert door.faults["lost"] == 1
    assert door.faults["reconnected"] == 1
    assert door.captured == door.processed + sum(door.dropped.values()) > 5
    assert (door.width, door.height) == (320, 240)
    assert "s3cret" not in str(report.to_json())


@needs_gst
@pytest.mark.parametrize("backend", ["gstreamer", "opencv"])
def test_stop_is_prompt_when_the_server_accepts_and_says_nothing(
    backend: Literal["gstreamer", "opencv"],
) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen(5)
        options = OpenOptions(backend=backend, open_timeout_s=4.0, read_timeout_s=3.0)
        uri = f"rtsp://127.0.0.1:{mute.getsockname()[1]}/cam"
        source = open_source(uri, "dead", options=options, must_open=False)
        pipeline = LivePipeline([source], lambda info: Null())
        started, stopped = time.monotonic(), [0.0]

        def tick() -> None:
            if not stopped[0] and time.monotonic() - started > 0.5:
                stopped[0] = time.monotonic()
                pipeline.stop()

        pipeline.run(tick)
        assert time.monotonic() - stopped[0] < 2
