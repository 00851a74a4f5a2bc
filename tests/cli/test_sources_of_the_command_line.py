"""`--source` in place of a configured camera, and a camera that is away when the service starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jetson_face.cli.common import config_with_source
from jetson_face.core.errors import ConfigError, UsageError
from jetson_face.util.images import read_picture

Command = Callable[..., Any]
CAMERA = """
sources:
  - {uri: "csi://0", name: door, width: 1920, height: 1080, fps: 60, flip: rotate_180,
     read_timeout_s: 3}
  - {uri: "csi://1", name: hall}
"""


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    path = tmp_path / "camera.yaml"
    path.write_text(CAMERA)
    return path


def test_another_source_takes_over_the_name_but_not_the_settings_of_the_camera(
    camera: Path, write: Callable[[str, str], Path]
) -> None:
    one = write("one.yaml", "sources: {uri: 'csi://0', name: door, fps: 60, read_timeout_s: 3}")
    for path in (camera, one):
        args = Namespace(config=path, overrides=["sources.0.flip=vertical"], source="a: 'b\".mp4")
        (source,) = config_with_source(args).sources
        assert (source.uri, source.name, source.read_timeout_s) == ("a: 'b\".mp4", "door", 3)
        assert (source.width, source.height, source.fps, source.flip) == (
            None,
            None,
            None,
            "vertical",
        )
    args.source = None
    assert config_with_source(args).sources[0].fps == 60
    args.source, args.overrides = "rtsp://c/1", ["sources.0.latency_ms=20"]
    assert config_with_source(args).sources[0].latency_ms == 20
    args.source = "film.mp4"
    with pytest.raises(ConfigError, match="take no latency_ms"):
        config_with_source(args)
    args.source = "bad://x"
    with pytest.raises(UsageError, match="unknown scheme"):
        config_with_source(args)


def test_a_film_is_run_with_the_configuration_of_a_camera_and_turned_on_demand(
    cli: Command, camera: Path, clip: Path, tmp_path: Path
) -> None:
    still = tmp_path / "s.png"
    common = ("run", "-c", camera, "--source", clip, "--quiet", "--frames", 1, "--still", still)
    assert cli(*common).code == 0
    assert read_picture(still).shape == (240, 320, 3)
    assert cli(*common, "--set", "sources.0.flip=rotate_90").code == 0
    assert read_picture(still).shape == (320, 240, 3)


@pytest.mark.parametrize("uri", ["/dev/video97", "v4l2:///dev/video97"])
def test_the_service_waits_for_a_camera_that_is_away(uri: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "jetson_face",
        "service",
        "run",
        "--set",
        f"sources.0.uri={uri}",
    ]
    process = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path)},
    )
    assert process.stderr is not None
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if "source_lost" in line or len(said) > 50:
                break
        assert "there is no /dev/video97" in said[-1]
        assert process.poll() is None
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0
