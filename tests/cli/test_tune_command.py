"""`jetson-face tune` end to end with made parts in the place of networks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from jetson_face.benchmark import subject as subject_module
from jetson_face.benchmark.clip import Material
from jetson_face.benchmark.ground_truth import Truth
from jetson_face.cli.main import main
from jetson_face.config import Config
from jetson_face.core.types import Frame, Report

SOURCE = "test://?width=160&height=120&frames=40&live=0"


class Slow:
    """Takes 20 ms for a search at full size, nothing else."""

    def __init__(self, config: Config, every: int) -> None:
        side = config.detector.max_side_px or 160
        self.cost_s, self.every = 0.02 * (side / 160) ** 2, every

    def process(self, frame: Frame) -> Report:
        searched = frame.seq % self.every == 0
        until = time.perf_counter() + self.cost_s * searched
        while time.perf_counter() < until:
            pass
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
        config: Config, truth: Truth | None = None, *, matcher: object = None
    ) -> Iterator[SlowSubject]:
        yield SlowSubject(config)

    monkeypatch.setattr(subject_module, "open_subject", open_subject)


def test_a_goal_that_is_met_is_written_with_the_comments_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"# my camera\nsources: {{uri: '{SOURCE}'}}\nsampling: {{every: 9}}\n")
    # It may hold a password: what is made from it is as private.
    config.chmod(0o600)
    assert main(["tune", "-c", str(config), "--age-ms", "5000", "--out", str(config)]) == 0
    text = config.read_text()
    assert text.startswith("# my camera\nsources:")
    assert yaml.safe_load(text)["sampling"] == {"every": 1}
    assert config.stat().st_mode & 0o777 == 0o600
    assert "meets the goal" in capsys.readouterr().out


def test_without_out_it_says_what_to_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--source", SOURCE, "--age-ms", "5000"]) == 0
    out = capsys.readouterr().out
    assert "--set sampling.every=1 --set detector.max_side_px=null" in out


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
