"""`jetson-face tune` end to end with made parts in the place of networks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from jetson_face.benchmark.clip import Material
from jetson_face.benchmark.ground_truth import GroundTruth
from jetson_face.benchmark.run import run_clip
from jetson_face.benchmark.tune import measure
from jetson_face.cli.main import main
from jetson_face.config import Config, load_config
from jetson_face.core.types import Frame, Report

SOURCE = "test://?width=160&height=120&frames=48&fps=25&live=0"


class Played:
    """A clock that only the recogniser moves: what is chosen does not depend on the machine."""

    now = 0.0


class Slow:
    """Takes 20 ms of processor time for a search at full size, a microsecond for another frame."""

    def __init__(self, config: Config, every: int) -> None:
        side = config.detector.max_side_px or 160
        self.cost_s, self.every = 0.02 * (side / 160) ** 2, every

    def process(self, frame: Frame) -> Report:
        searched = frame.seq % self.every == 0
        Played.now += self.cost_s if searched else 1e-6
        return Report(frame.source, frame.seq, 0, 0.0, (160, 120), (), {}, searched)


class SlowSubject:
    matcher = None

    def __init__(self, config: Config) -> None:
        self.config = config

    def recognizer(self, *, every: int) -> Slow:
        return Slow(self.config, every)


@pytest.fixture(autouse=True)
def _no_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def open_subject(
        config: Config, ground_truth: GroundTruth | None = None, *, matcher: object = None
    ) -> Iterator[SlowSubject]:
        yield SlowSubject(config)

    monkeypatch.setattr(measure, "open_subject", open_subject)

    def now() -> float:
        return Played.now

    monkeypatch.setattr(measure, "run_clip", partial(run_clip, clock=now, cpu_clock=now))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})


def test_a_goal_that_is_met_is_written_with_the_comments_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"# my camera\nsources: {{uri: '{SOURCE}'}}\nsampling: {{interval: 9}}\n")
    # It may hold a password: what is made from it is as private.
    config.chmod(0o600)
    assert main(["tune", "-c", str(config), "--age-ms", "5000", "--out", str(config)]) == 0
    text = config.read_text()
    assert text.startswith("# my camera\nsources:")
    assert yaml.safe_load(text) == {
        "sources": {"uri": SOURCE},
        "sampling": {"interval": 12},
        "detector": {"max_side_px": None, "min_face_px": 40},
    }
    out = capsys.readouterr().out
    assert "of the 6 sampling rates that meet it, the least processor time" in out
    assert "sampling 1 in 1 meets it, too" in out


@pytest.mark.parametrize(
    ("words", "source"),
    [
        (["--source", SOURCE], SOURCE),
        (["--set", f"sources.0.uri={SOURCE}"], SOURCE),
        (["CLIP"], "0"),  # three pictures, one a second
        (["--clip", "CLIP"], "0"),
    ],
)
def test_what_is_written_can_be_run_as_it_is(
    tmp_path: Path, words: list[str], source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetson_face.config.is_jetson", lambda: False)
    clip = tmp_path / "clip.avi"
    video = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 1, (160, 120))
    for _ in range(3):
        video.write(np.zeros((120, 160, 3), np.uint8))
    video.release()
    words = [str(clip) if word == "CLIP" else word for word in words]
    out = tmp_path / "tuned.yaml"
    more = ["--set", "matching.frames_min=3", "--set", "fusion={strategy: vote}"]
    assert main(["tune", *words, *more, "--age-ms", "5000", "--out", str(out)]) == 0
    written = yaml.safe_load(out.read_text())
    assert written["sources"] == [{"uri": source}]
    config = load_config(out)
    assert config.sources[0].uri == source
    assert (config.matching.frames_min, config.fusion.strategy) == (3, "vote")
    assert config.sampling.interval == (12 if source == SOURCE else 1)


def test_another_camera_than_the_configured_one_is_written_with_its_settings(
    tmp_path: Path,
) -> None:
    config, out = tmp_path / "c.yaml", tmp_path / "out.yaml"
    config.write_text("# mine\nsources: [{uri: '7', name: door, max_age_ms: 500}, {uri: '8'}]\n")
    words = ["tune", "-c", str(config), "--source", SOURCE, "--age-ms", "5000", "--out", str(out)]
    assert main(words) == 0
    assert out.read_text().startswith("# mine\n")
    assert yaml.safe_load(out.read_text())["sources"] == [
        {"uri": SOURCE, "name": "door", "max_age_ms": 500}
    ]


def test_without_out_it_says_what_to_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--source", SOURCE, "--age-ms", "5000"]) == 0
    out = capsys.readouterr().out
    assert "--set sampling.interval=12 --set detector.max_side_px=null" in out


def test_a_goal_that_cannot_be_met_is_exit_code_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "c.yaml"
    words = ["tune", "--source", SOURCE, "--age-ms", "0.001", "--out", str(out)]
    assert main(words) == 1
    assert "nothing that was tried" in capsys.readouterr().out
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "name a goal"),
        (["--fps", "1000000"], "no more can be decided"),
        (["--time-to-name", "1"], "labelled clip"),
    ],
)
def test_goals_that_make_no_sense_are_refused(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", "--source", SOURCE, *words]) == 2
    assert says in capsys.readouterr().err


def test_a_recorded_camera_has_its_own_rate() -> None:
    from jetson_face.benchmark.clip import read_source

    made: Material = read_source(SOURCE, "camera", frames_max=7)
    assert len(made.images) == 7
    assert made.size == (160, 120)
