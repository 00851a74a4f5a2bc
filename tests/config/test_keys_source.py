"""What the keys of a camera change: what is opened, and how its frames come."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jetson_face.capture import gstreamer
from jetson_face.capture.opening import open_source
from jetson_face.core.errors import SourceError
from jetson_face.factory.parts import open_options, open_sources
from tests.config.keys import Site, shows


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Mapping[str, object]]]:
    """What GStreamer is asked to open: the pipeline's text and the settings of its source."""
    seen: list[tuple[str, Mapping[str, object]]] = []

    def opened(
        text: str, uri: object, name: str, options: object,
        settings: Mapping[str, object] | None = None, **_: object,
    ) -> None:  # fmt: skip
        seen.append((text, settings or {}))
        raise SourceError("nothing is opened here")

    monkeypatch.setattr(gstreamer, "GstSource", opened)
    monkeypatch.setattr(gstreamer, "has_gstreamer", lambda *elements: True)
    return seen


def pipeline(
    site: Site, uri: str, keys: dict[str, Any], asked: list[tuple[str, Mapping[str, object]]]
) -> tuple[str, Mapping[str, object]]:
    wanted = site({"sources.uri": uri, **keys}).sources[0]
    with pytest.raises(SourceError, match="nothing is opened"):
        open_source(uri, options=open_options(wanted))
    return asked[-1]


@shows("sources.width", "sources.height")
def test_a_camera_is_asked_for_the_size(
    site: Site, asked: list[tuple[str, Mapping[str, object]]]
) -> None:
    text, _ = pipeline(site, "csi://0", {"sources.width": 640, "sources.height": 480}, asked)
    assert "width=640,height=480," in text


@shows("sources.fps")
def test_a_camera_is_asked_for_the_rate(
    site: Site, asked: list[tuple[str, Mapping[str, object]]]
) -> None:
    assert "framerate=15/1," in pipeline(site, "csi://0", {"sources.fps": 15}, asked)[0]


@shows("sources.latency_ms")
def test_a_stream_is_held_back_as_long_as_it_says(
    site: Site, asked: list[tuple[str, Mapping[str, object]]]
) -> None:
    _, settings = pipeline(site, "rtsp://cam/1", {"sources.latency_ms": 7}, asked)
    assert settings["latency"] == 7


@shows("sources.sensor_mode")
def test_a_csi_camera_is_asked_for_its_mode(
    site: Site, asked: list[tuple[str, Mapping[str, object]]]
) -> None:
    assert "sensor-id=0 !" in pipeline(site, "csi://0", {}, asked)[0]
    text, _ = pipeline(site, "csi://0", {"sources.sensor_mode": 0}, asked)
    assert "nvarguscamerasrc sensor-id=0 sensor-mode=0 !" in text


@shows("sources.zero_copy")
def test_the_gpu_reads_a_cameras_frames_where_they_are(
    site: Site,
    asked: list[tuple[str, Mapping[str, object]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gstreamer, "NvmmReader", lambda: SimpleNamespace(read=None))
    pipeline(site, "csi://0", {}, asked)
    assert len(asked) == 1
    assert ",format=BGRx ! appsink" in asked[0][0]
    for uri in ("csi://0", "rtsp://cam/1", "v4l2:///dev/video0"):
        asked.clear()
        keys = {"sources.zero_copy": "auto", "sources.backend": "gstreamer"}
        pipeline(site, uri, keys, asked)
        assert "! video/x-raw(memory:NVMM),format=BGRx ! appsink" in asked[0][0]
        assert "! video/x-raw,format=BGRx ! appsink" in asked[1][0]  # where that cannot be opened


@shows("sources.flip")
def test_frames_are_turned(site: Site) -> None:
    uri = "test://?width=64&height=48&frames=1"
    frames = []
    for keys in ({}, {"sources.flip": "rotate_180"}):
        (source,) = open_sources(site({"sources.uri": uri, **keys}))
        frames.append(source.read(5).image)
        source.close()
    assert np.array_equal(frames[1], frames[0][::-1, ::-1])
    assert not np.array_equal(frames[1], frames[0])
