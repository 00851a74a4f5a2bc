"""FFmpeg's options for network cameras, and only for them."""

from __future__ import annotations

import pytest

from jetson_face.cli.common import quicken_streams
from jetson_face.config import load_config

KEY = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


def options(*uris: str, given: str | None = None) -> str | None:
    sources = ", ".join(f"{{uri: {uri}, name: c{i}}}" for i, uri in enumerate(uris))
    environ = {} if given is None else {KEY: given}
    quicken_streams(load_config(None, [f"sources=[{sources}]"]), environ)
    return environ.get(KEY)


@pytest.mark.parametrize(
    "uris",
    [
        ["rtsp://10.0.0.5/cam"],
        ["http://10.0.0.5/mjpeg", "rtsp://10.0.0.6/cam"],
    ],
)
def test_streams_are_opened_quickly_and_still_over_tcp(uris: list[str]) -> None:
    assert options(*uris) == "rtsp_transport;tcp|fpsprobesize;0"


@pytest.mark.parametrize(
    "uris", [["film.ts"], ["0"], ["csi://0"], ["rtsp://10.0.0.5/cam", "film.ts"]]
)
def test_files_keep_their_frame_rate(uris: list[str]) -> None:
    assert options(*uris) is None


def test_what_somebody_set_stays() -> None:
    assert options("rtsp://10.0.0.5/cam", given="rtsp_transport;udp") == "rtsp_transport;udp"
