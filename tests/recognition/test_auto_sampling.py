"""`sampling: auto`: what the configuration may say, and what is built from it."""

from __future__ import annotations

from typing import cast

import pytest

from jetson_face.capture.source import SourceInfo
from jetson_face.config import AutoSamplingConfig, load_config
from jetson_face.core.errors import ConfigError
from jetson_face.factory.parts import govern, run_facts
from jetson_face.recognition.detection_interval import DetectionInterval
from jetson_face.recognition.rate_controlled import GovernedRecognizer
from jetson_face.recognition.recognizer import FaceRecognizer

CAMERA = SourceInfo("camera", "test://", True, 640, 480)
FILE = SourceInfo("file", "a.mp4", False, 640, 480)


class Plain:
    """As much of a recogniser as governing touches."""

    def __init__(self) -> None:
        self.finder = self
        self.interval = DetectionInterval(5)


@pytest.mark.parametrize("text", ["sampling=auto", "sampling.auto={}"])
def test_auto_is_short_for_its_defaults(text: str) -> None:
    config = load_config(None, [text])
    assert config.sampling.auto == AutoSamplingConfig()
    assert config.sampling.interval == 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sampling.auto={age_ms_max: null}", "must be given"),
        (
            "sampling.auto={interval_min: 9, interval_max: 3}",
            "interval_min 9 is above interval_max 3",
        ),
        ("sampling.auto={age_max: 3}", "did you mean age_ms_max"),
        ("sampling=automatic", "sampling"),
    ],
)
def test_a_goal_that_means_nothing_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config(None, [text])


def test_only_live_sources_with_auto_are_governed() -> None:
    auto, fixed = (
        load_config(None, ["sampling=auto", "sampling.auto.interval_min=7"]),
        load_config(None),
    )
    plain = cast("FaceRecognizer", Plain())
    assert govern(fixed, plain, CAMERA) is plain
    assert govern(auto, plain, FILE) is plain
    assert plain.finder.interval.every_n == 5
    assert isinstance(govern(auto, plain, CAMERA), GovernedRecognizer)
    assert plain.finder.interval.every_n == 7


def test_the_report_says_the_rate_of_the_moment() -> None:
    config = load_config(None)
    assert run_facts(config).sampling == 5
    assert run_facts(config, 8).sampling == 8
