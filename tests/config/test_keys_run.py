"""What the keys of sources and report change in `run`, with made parts in the place of networks."""

from __future__ import annotations

import json
import logging
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from jetson_face.capture.source import EndOfSource, FrameBroken, Source
from jetson_face.cli import run as command
from jetson_face.cli.main import main
from jetson_face.config import Config
from jetson_face.core.errors import UsageError
from jetson_face.core.protocols import FrameProcessor
from jetson_face.core.types import Frame, Report
from jetson_face.factory.parts import open_sources
from jetson_face.output.run_report import RunReport
from jetson_face.recognition.steps import Stepping, Steps, steps_of
from jetson_face.util.images import read_picture
from tests.config.keys import Site, shows
from tests.config.parts import Rig

CLIP = "test://?frames=20&width=160&height=120"
CAMERA = "test://?live=1&frames=100&fps=100&width=160&height=120"


@pytest.fixture(autouse=True)
def _no_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "build_parts", lambda config, *, runs_on: Rig(config).parts)


class Slow:
    """A recogniser that takes 50 ms for a frame."""

    def __init__(self, inner: FrameProcessor) -> None:
        self._inner = inner

    def process(self, frame: Frame) -> Report:
        time.sleep(0.05)
        return self._inner.process(frame)


def ran(
    config: Config, wrap: Callable[[FrameProcessor], FrameProcessor] = lambda r: r
) -> RunReport:
    return command.recognise(config, quiet=True, wrap=wrap)[0]


class Begun(Stepping):
    """Notes how many frames are in work at the same time."""

    now, most = 0, 0

    def __init__(self, inner: FrameProcessor) -> None:
        self._inner = inner

    def steps(self, frame: Frame) -> Steps[Report]:
        Begun.now += 1
        Begun.most = max(Begun.most, Begun.now)
        report = yield from steps_of(self._inner, frame)
        Begun.now -= 1
        return report


@shows("sampling.together")
def test_frames_of_so_many_cameras_are_begun_together(site: Site) -> None:
    def begun(together: int) -> int:
        Begun.now = Begun.most = 0
        two = [{"uri": CLIP, "name": name} for name in ("door", "hall")]
        keys = {"sources": two, "sampling.interval": 1, "sampling.motion": False}
        report = ran(site({**keys, "sampling.together": together}), Begun)
        assert [source.processed for source in report.sources] == [20, 20]
        return Begun.most

    assert (begun(2), begun(1)) == (2, 1)


@shows("sources.uri", "sources.name")
def test_the_source_is_the_one_that_is_named(site: Site) -> None:
    report = ran(site({"sources.uri": CLIP.replace("20", "7"), "sources.name": "door"}))
    (source,) = report.sources
    assert (source.name, source.captured, source.processed) == ("door", 7, 7)


@shows("sources.max_age_ms")
def test_a_live_frame_that_is_older_is_dropped(site: Site) -> None:
    config = site({"sources.uri": CAMERA, "sources.max_age_ms": 10})
    assert ran(config, Slow).sources[0].dropped.get("stale", 0) > 0


@shows("sources.backend")
def test_what_decodes_is_the_one_that_is_named(site: Site, tmp_path: Path) -> None:
    clip = tmp_path / "film.mp4"
    clip.write_bytes(b"x")
    config = site({"sources.uri": str(clip), "sources.backend": "gstreamer"})
    with pytest.raises(UsageError, match="files are read with OpenCV"):
        open_sources(config)


def until(source: Source, true: Callable[[], bool], limit_s: float) -> bool:
    """Read the source until it is true, for so long at most."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        try:
            source.read(0.05)
        except (TimeoutError, FrameBroken):
            pass
        except EndOfSource:
            return False
        if true():
            return True
    return False


@shows("sources.open_timeout_s")
def test_a_camera_that_does_not_answer_is_given_up_after_so_long(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x"
        keys = {"sources.uri": uri, "sources.backend": "opencv", "sources.open_timeout_s": 0.3}
        (source,) = open_sources(site(keys))
        try:
            assert until(source, lambda: source.health.state == "away", 2.5)
        finally:
            source.close()


@shows("sources.read_timeout_s")
def test_a_camera_that_falls_silent_is_away_after_so_long(site: Site) -> None:
    uri = f"{CAMERA}&faults=stall@3:2"
    (source,) = open_sources(site({"sources.uri": uri, "sources.read_timeout_s": 0.2}))
    try:
        assert until(source, lambda: source.health.counts.get("stalled", 0) > 0, 1.2)
    finally:
        source.close()


@shows("sources.reconnect_max_s")
def test_no_wait_for_a_lost_camera_is_longer(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    uri = f"{CAMERA}&faults=disconnect@2:9"
    caplog.set_level(logging.DEBUG, "jetson_face")
    (source,) = open_sources(site({"sources.uri": uri, "sources.reconnect_max_s": 0.5}))

    def waits() -> list[float]:
        return [float(w) for w in re.findall(r"source_lost .* wait=([\d.]+)s", caplog.text)]

    try:
        assert until(source, lambda: len(waits()) >= 4, 4)
    finally:
        source.close()
    assert max(waits()) <= 0.5


@shows("report.every_s")
def test_the_rates_are_logged_as_often(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "jetson_face.live")
    ran(site({"sources.uri": CAMERA, "report.every_s": 0.1}))
    assert caplog.text.count("running source=") + caplog.text.count("running sampling=") >= 2


@shows("report.events", "report.json_file", "report.video", "report.still")
def test_results_are_written_there(site: Site, tmp_path: Path) -> None:
    names = {"events": "e.jsonl", "json_file": "r.json", "video": "v.mp4", "still": "s.png"}
    keys = {f"report.{key}": str(tmp_path / name) for key, name in names.items()}
    ran(site({"sources.uri": CLIP, **keys}))
    assert {path.name for path in tmp_path.iterdir()} >= set(names.values())
    lines = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert [e["state"] for e in lines if e["kind"] == "decided"] == ["unknown"]
    assert json.loads((tmp_path / "r.json").read_text())["sources"][0]["processed"] == 20
    assert cv2.VideoCapture(str(tmp_path / "v.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 20
    assert read_picture(tmp_path / "s.png").shape == (120, 160, 3)


@shows("log_level")
def test_what_is_less_important_is_not_logged(
    site: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = logging.getLogger("jetson_face")
    monkeypatch.setattr(ours, "level", ours.level)  # put back afterwards
    caplog.set_level(logging.NOTSET, "jetson_face.live")
    site({"sources.uri": CLIP, "log_level": "WARNING"})
    assert main(["run", "--quiet", "-c", str(site.path)]) == 0
    assert "run_ended" not in caplog.text
    site({"sources.uri": CLIP, "log_level": "DEBUG"})
    assert main(["run", "--quiet", "-c", str(site.path)]) == 0
    assert "run_ended" in caplog.text
    assert ours.isEnabledFor(logging.DEBUG)
