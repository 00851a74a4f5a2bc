"""Size, rate, flip and latency of a camera: from the configuration to what is opened."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from jetson_face.capture import gstreamer
from jetson_face.capture.keys import KEYS, check_keys
from jetson_face.capture.opening import open_source
from jetson_face.capture.source import EndOfSource, OpenOptions, Source
from jetson_face.capture.uri import SCHEMES, parse_uri
from jetson_face.config import load_config
from jetson_face.config.source import SourceConfig
from jetson_face.core.errors import ConfigError, MissingDependencyError, SourceError, UsageError
from jetson_face.factory.parts import open_options, open_sources
from jetson_face.util.images import write_picture

needs_gst = pytest.mark.skipif(
    not gstreamer.has_gstreamer("videotestsrc", "videoflip"), reason="no GStreamer for Python"
)
GIVEN: dict[str, Any] = {"width": 1920, "height": 1080, "fps": 15, "flip": "rotate_180"}
Pixels = list[list[int]]


def options_of(uri: str, **keys: object) -> OpenOptions:
    """The options that the configuration makes of these keys."""
    settings = [f"sources.0.{key}={value}" for key, value in {"uri": uri, **keys}.items()]
    return open_options(load_config(None, settings).sources[0])


class Pipeline:
    """Stands for GstSource: keeps the pipeline's text and the settings of its source."""

    opened: list[tuple[str, Mapping[str, object]]] = []  # noqa: RUF012 - emptied by each test

    def __init__(
        self, text: str, uri: object, name: str, options: object,
        settings: Mapping[str, object] | None = None, *, hint: str = "",
    ) -> None:  # fmt: skip
        self.opened.append((text, settings or {}))
        raise SourceError("a fake opens nothing")


@pytest.fixture
def opened(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str, OpenOptions], tuple[str, Mapping[str, object]]]:
    """What GStreamer is asked to open."""
    monkeypatch.setattr(Pipeline, "opened", [])
    monkeypatch.setattr(gstreamer, "GstSource", Pipeline)
    monkeypatch.setattr(gstreamer, "has_gstreamer", lambda *elements: "nvvidconv" not in elements)

    def ask(uri: str, options: OpenOptions) -> tuple[str, Mapping[str, object]]:
        with pytest.raises(SourceError, match="a fake"):
            open_source(uri, options=options)
        return Pipeline.opened[-1]

    return ask


Opened = Callable[[str, OpenOptions], tuple[str, Mapping[str, object]]]


@pytest.mark.parametrize(
    ("keys", "has"),
    [
        ({}, "width=1280,height=720,framerate=30/1,"),
        ({"width": 1920, "height": 1080}, "width=1920,height=1080,framerate=30/1,"),
        ({"fps": 60}, "framerate=60/1,"),
        ({"fps": 29.97}, "framerate=30000/1001,"),
        ({"fps": 12.5}, "framerate=25/2,"),
        ({"flip": "rotate_90"}, "nvvidconv flip-method=3 !"),
        ({"flip": "rotate_180"}, "nvvidconv flip-method=2 !"),
        ({"flip": "rotate_270"}, "nvvidconv flip-method=1 !"),
        ({"flip": "horizontal"}, "nvvidconv flip-method=4 !"),
        ({"flip": "vertical"}, "nvvidconv flip-method=6 !"),
    ],
)
def test_a_csi_camera_is_opened_as_configured(
    keys: dict[str, Any], has: str, opened: Opened
) -> None:
    text, _ = opened("csi://1", options_of("csi://1", **keys))
    assert has in text
    assert text.startswith("nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),")
    assert ("flip-method" in text) == ("flip" in keys)


@pytest.mark.parametrize(
    ("keys", "has"),
    [
        ({}, "v4l2src name=source ! decodebin ! videoconvert ! video/x-raw,format=BGR"),
        (
            {"width": 1920, "height": 1080, "fps": 30},
            'caps="video/x-raw,width=1920,height=1080,framerate=30/1;'
            'image/jpeg,width=1920,height=1080,framerate=30/1" ! decodebin',
        ),
        ({"fps": 15}, 'caps="video/x-raw,framerate=15/1;image/jpeg,framerate=15/1" !'),
        ({"flip": "vertical"}, "videoconvert ! videoflip video-direction=vert ! video/x-raw"),
    ],
)
def test_a_usb_camera_through_gstreamer_is_opened_as_configured(
    keys: dict[str, Any], has: str, opened: Opened
) -> None:
    uri = "v4l2:///dev/video3"
    text, settings = opened(uri, options_of(uri, backend="gstreamer", **keys))
    assert has in text
    assert settings["device"] == "/dev/video3"


@pytest.mark.parametrize(("keys", "latency"), [({}, 100), ({"latency_ms": 0}, 0)])
def test_a_stream_is_held_back_as_long_as_configured(
    keys: dict[str, Any], latency: int, opened: Opened
) -> None:
    text, settings = opened("rtsp://cam/1", options_of("rtsp://cam/1", flip="horizontal", **keys))
    assert settings["latency"] == latency
    assert "videoflip video-direction=horiz" in text


def test_a_latency_without_gstreamer_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gi", None)
    options = options_of("rtsp://127.0.0.1:9/1", latency_ms=20)
    with pytest.raises(MissingDependencyError, match="python3-gi"):
        open_source("rtsp://127.0.0.1:9/1", options=options)


@needs_gst
def test_gstreamer_understands_what_it_is_asked() -> None:
    gst = gstreamer.load_gst()
    options = options_of("0", width=1280, height=720, fps=29.97, flip="rotate_270")
    pipeline = gst.parse_launch(gstreamer.v4l2_pipeline(options, False))
    elements = {element.get_factory().get_name(): element for element in pipeline.children}
    caps = elements["capsfilter"].get_property("caps")
    assert [caps.get_structure(i).get_name() for i in range(2)] == ["video/x-raw", "image/jpeg"]
    for i in range(2):
        mode = caps.get_structure(i)
        assert (mode.get_value("width"), mode.get_value("height")) == (1280, 720)
        assert mode.get_fraction("framerate") == (True, 30000, 1001)
    assert elements["videoflip"].get_property("video-direction").value_nick == "90l"


class Camera:
    """Stands for cv2.VideoCapture on a V4L2 device: gives 5 frames/s above VGA unless packed."""

    def __init__(self, device: str, api: int) -> None:
        self.set_to: list[tuple[int, float]] = []
        self.values = {cv2.CAP_PROP_FRAME_WIDTH: 640.0, cv2.CAP_PROP_FRAME_HEIGHT: 480.0}
        self.values[cv2.CAP_PROP_FPS] = 30.0
        cameras.append(self)

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def set(self, prop: int, value: float) -> bool:
        self.set_to.append((prop, value))
        self.values[prop] = min(value, 1920) if prop == cv2.CAP_PROP_FRAME_WIDTH else value
        return True

    def get(self, prop: int) -> float:
        packed = self.values.get(cv2.CAP_PROP_FOURCC) == cv2.VideoWriter.fourcc(*"MJPG")
        if prop == cv2.CAP_PROP_FPS and self.values[cv2.CAP_PROP_FRAME_WIDTH] > 640 and not packed:
            return min(self.values[prop], 5.0)
        return self.values.get(prop, 0.0)

    def grab(self) -> bool:
        return True

    def retrieve(self) -> tuple[bool, np.ndarray]:
        image = np.zeros((48, 64, 3), np.uint8)
        image[:24, :32] = 255
        return True, image

    def release(self) -> None: ...


cameras: list[Camera] = []


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The URI of a V4L2 camera that is a fake."""
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    cameras.clear()
    (tmp_path / "video0").touch()
    return f"v4l2://{tmp_path / 'video0'}"


def asked(camera: Camera) -> dict[int, float]:
    props = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
    return {prop: value for prop, value in camera.set_to if prop in props}


def test_opencv_asks_a_camera_for_what_is_configured(device: str) -> None:
    open_source(device, options=options_of(device, width=1280, height=720, fps=10)).close()
    assert asked(cameras[0]) == {
        cv2.CAP_PROP_FRAME_WIDTH: 1280,
        cv2.CAP_PROP_FRAME_HEIGHT: 720,
        cv2.CAP_PROP_FPS: 10,
    }
    # Not fast enough unpacked: asked again for JPEG.
    assert (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")) in cameras[0].set_to
    open_source(device, options=options_of(device)).close()
    assert asked(cameras[1]) == {}
    open_source(device, options=options_of(device, fps=25)).close()
    assert asked(cameras[2]) == {cv2.CAP_PROP_FPS: 25}
    assert cv2.CAP_PROP_FOURCC not in dict(cameras[2].set_to)


def test_a_camera_that_gives_another_size_is_used_and_named(
    device: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        source = open_source(device, options=options_of(device, width=3840, height=2160))
    assert caplog.messages == [
        "camera_gives_others source=camera asked=3840x2160@any gives=1920x2160@30; "
        "see `v4l2-ctl --list-formats-ext`"
    ]
    assert source.read(5).image.shape == (48, 64, 3)
    source.close()


# A frame of 3 x 2 with its pixels numbered from the top left, and what each flip makes of it.
FLIPS: dict[str, Pixels] = {
    "none": [[0, 1, 2], [3, 4, 5]],
    "horizontal": [[2, 1, 0], [5, 4, 3]],
    "vertical": [[3, 4, 5], [0, 1, 2]],
    "rotate_90": [[3, 0], [4, 1], [5, 2]],
    "rotate_180": [[5, 4, 3], [2, 1, 0]],
    "rotate_270": [[2, 5], [1, 4], [0, 3]],
}


def first_of(source: Source) -> np.ndarray:
    image = source.read(20).image
    assert image.flags.c_contiguous
    height, width = image.shape[:2]
    assert source.info.width in (0, width)
    assert source.info.height in (0, height)
    source.close()
    with pytest.raises(EndOfSource):
        source.read(1)
    return image


@pytest.mark.parametrize("flip", FLIPS)
def test_pictures_are_turned(flip: str, tmp_path: Path) -> None:
    image = np.repeat(np.array(FLIPS["none"], np.uint8)[:, :, None] * 40, 3, axis=2)
    write_picture(tmp_path / "a.png", image)
    for uri in (str(tmp_path), f"sequence:{tmp_path}", f"file://{tmp_path / 'a.png'}"):
        turned = first_of(open_source(uri, options=options_of(uri, flip=flip)))
        assert (turned[:, :, 0] // 40).tolist() == FLIPS[flip]


@pytest.mark.parametrize("flip", FLIPS)
@pytest.mark.parametrize(
    "kind",
    ["v4l2", "test", "live", "file", pytest.param("gst", marks=needs_gst)],
)
def test_every_kind_of_source_is_turned(
    kind: str, flip: str, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = device
    if kind != "v4l2":
        monkeypatch.undo()
        uri = {
            "test": "test://?width=64&height=48",
            "live": "test://?width=64&height=48&live=1",
            "gst": "gst:videotestsrc is-live=1 pattern=gradient ! video/x-raw,width=64,height=48",
            "file": str(tmp_path / "a.avi"),
        }[kind]
    if kind == "file":
        writer = cv2.VideoWriter(uri, cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
        picture = np.zeros((48, 64, 3), np.uint8)
        picture[:24, :32] = 255
        writer.write(picture)
        writer.release()
    plain, turned = (
        first_of(open_source(uri, options=options_of(uri, flip=wanted, open_timeout_s=20)))
        for wanted in ("none", flip)
    )
    small = np.arange(6, dtype=np.uint8).reshape(2, 3)
    by_numpy = {
        "none": lambda a: a,
        "horizontal": np.fliplr,
        "vertical": np.flipud,
        "rotate_90": lambda a: np.rot90(a, -1),
        "rotate_180": lambda a: np.rot90(a, 2),
        "rotate_270": lambda a: np.rot90(a, 1),
    }[flip]
    assert by_numpy(small).tolist() == FLIPS[flip]
    assert np.abs(turned.astype(int) - by_numpy(plain)).mean() < 3


HONOURED = {
    "v4l2": {"width", "height", "fps", "flip"},
    "csi": {"width", "height", "fps", "flip", "sensor_mode"},
    "rtsp": {"flip", "latency_ms"},
    "rtsps": {"flip", "latency_ms"},
}
URIS = {"sequence": "sequence:frames", "gst": "gst:videotestsrc", "path": "film.mp4"}


@pytest.mark.parametrize("scheme", [*SCHEMES, "path"])
@pytest.mark.parametrize("key", KEYS)
def test_what_a_kind_of_source_cannot_honour_is_refused_by_the_configuration(
    scheme: str, key: str
) -> None:
    uri = URIS.get(scheme, f"{scheme}://x/1")
    values: dict[str, Any] = {"fps": 10, "flip": "vertical", "latency_ms": 9, "sensor_mode": 1}
    size: dict[str, Any] = {"width": 640, "height": 480}
    keys = size if key in size else {key: values[key]}
    if key in HONOURED.get(scheme, {"flip"}):
        options_of(uri, **keys)
        return
    with pytest.raises(ConfigError) as caught:
        options_of(uri, **keys)
    assert "\n" not in str(caught.value)
    assert f"sources take no {next(iter(keys))}: " in str(caught.value)
    with pytest.raises(UsageError):
        open_source(uri, options=OpenOptions(**keys))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"uri": "csi://0", "width": 640}, "width and height are given together"),
        ({"uri": "0", "height": 640}, "width and height are given together"),
        ({"uri": "rtsp://c/1", "latency_ms": 5, "backend": "opencv"}, "needs backend gstreamer"),
        ({"uri": "rtsp://c/1", "fps": 5}, "set it in the camera"),
        ({"uri": "gst:videotestsrc", "fps": 5}, "write it into the pipeline"),
        ({"uri": "test://", "fps": 5}, r"test://\?width=640"),
        ({"uri": "sequence:a", "fps": 5}, "sequence:FOLDER"),
        ({"uri": "csi://0", "flip": "upside"}, "'rotate_180'"),
        ({"uri": "bad://x"}, "unknown scheme 'bad'"),
    ],
)
def test_a_refusal_says_what_to_do(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config(None, [f"sources.0.{key}={value}" for key, value in keys.items()])


def test_every_key_of_a_source_reaches_what_opens_it() -> None:
    own = {"uri", "name", "max_age_ms"}
    fields = set(OpenOptions.__dataclass_fields__)
    assert set(SourceConfig.model_fields) == fields | own
    assert set(KEYS) < fields
    assert options_of("csi://0", **GIVEN) == OpenOptions(**GIVEN)
    assert OpenOptions(**GIVEN).given == set(GIVEN)
    assert options_of("csi://0").given == set()
    check_keys(parse_uri("csi://0"), set(GIVEN))


def test_the_sources_of_a_run_are_opened_as_configured(opened: Opened) -> None:
    config = load_config(None, ["sources=[{uri: 'csi://2', width: 800, height: 600, fps: 5}]"])
    with pytest.raises(SourceError):
        open_sources(config, must_open=True)
    assert "width=800,height=600,framerate=5/1" in Pipeline.opened[-1][0]


@pytest.mark.parametrize(
    "uri", ["/dev/video97", "file:///dev/video97", "v4l2:///dev/video97", "97"]
)
def test_a_camera_that_is_away_is_waited_for_however_it_is_named(uri: str) -> None:
    config = load_config(None, [f"sources.0.uri={uri!r}"])
    (source,) = open_sources(config)
    assert source.info.is_live
    with pytest.raises(TimeoutError):
        source.read(0.2)
    assert source.health.state == "away"
    source.close()
    with pytest.raises(SourceError, match="/dev/video97"):
        open_sources(config, must_open=True)


def test_files_and_folders_below_dev_are_no_cameras(tmp_path: Path) -> None:
    for text in ("/dev/shm/film.mp4", "/dev/shm", "/dev"):
        assert parse_uri(text).scheme == "path"
    for text in ("/dev/video97", "/dev/v4l/by-id/usb-Cam-index0", "/dev/frontdoor", "/dev/null"):
        assert parse_uri(text).scheme == "v4l2"
    (tmp_path / "cam").symlink_to("/dev/null")
    assert parse_uri(str(tmp_path / "cam")).scheme == "v4l2"
    assert parse_uri("x" * 5000).scheme == "path"
