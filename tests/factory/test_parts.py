"""From the configuration to parts: what the tests of single keys do not come by."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jetson_face.capture.opening import open_source
from jetson_face.capture.source import SourceInfo
from jetson_face.config import Config, load_config
from jetson_face.core.errors import InputMissingError
from jetson_face.core.types import ImageU8
from jetson_face.detection.mtcnn.detector import Mtcnn
from jetson_face.detection.mtcnn.onet import OnetRefiner
from jetson_face.embedding.quality import QualityGate
from jetson_face.factory import networks
from jetson_face.factory import parts as subject
from jetson_face.output.run_report import RunFacts
from tests.config.parts import ADA, Rig, Says, Squares, gallery, points, unit

CROP: ImageU8 = np.zeros((1, 112, 112, 3), np.uint8)


@pytest.fixture
def golden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "golden_face", lambda aligner: CROP)


def config(*words: str) -> Config:
    return load_config(None, ["backend.type=onnxruntime", *words])


@pytest.mark.parametrize(
    ("model", "file", "kind", "where"),
    [
        ("dlib_resnet", "x.dat", "DlibResnet128", "jetson_face.embedding.dlib"),
        ("openface_t7", "x.t7", "OpenCvNet", "jetson_face.embedding.opencv"),
        ("squeezenet_face", "x.onnx", "OnnxEmbedder", "jetson_face.embedding.onnx"),
    ],
)
def test_an_embedder_is_made_of_its_card_by_the_kind_of_its_file(
    monkeypatch: pytest.MonkeyPatch, model: str, file: str, kind: str, where: str
) -> None:
    made: list[Any] = []

    def make(card: Any, *more: Any, **options: Any) -> str:
        made.extend([card.name, *more, options])
        return kind

    monkeypatch.setattr(f"{where}.{kind}", make)
    monkeypatch.setattr(networks, "network_file", lambda config, card, part="": Path(file))
    monkeypatch.setattr(networks, "build_backend", lambda config, name, path: (name, str(path)))
    built: Any = networks.build_embedder(config(f"embedder.model={model}", "embedder.max_batch=7"))
    assert built == kind
    assert made[0] == model
    if kind == "OnnxEmbedder":
        assert made[1:] == [("embed", "x.onnx"), {"max_batch": 7}]


def test_the_parts_fit_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    mtcnn = object.__new__(Mtcnn)
    detectors: list[Any] = [mtcnn, Squares(), mtcnn]
    monkeypatch.setattr(subject, "build_detector", lambda config: detectors.pop(0))
    monkeypatch.setattr(subject, "build_embedder", lambda config: Says())
    made = subject.build_parts(config())
    assert (made.detector, made.refiner) == (mtcnn, mtcnn)
    face = points(np.array([[10, 10, 90, 90]], np.float32))
    assert made.aligner.crop(np.zeros((99, 99, 3), np.uint8), face).shape == CROP.shape
    assert type(made.quality) is QualityGate
    assert type(subject.build_parts(config()).refiner) is OnetRefiner  # follows another detector
    assert subject.build_parts(config("sampling.refine=false")).refiner is None


def test_closing_the_parts_closes_both_networks() -> None:
    closed: list[str] = []
    made = Rig(config()).parts
    made.detector.close = lambda: closed.append("detector")  # type: ignore[method-assign]
    made.embedder.close = lambda: closed.append("embedder")  # type: ignore[method-assign]
    made.close()
    assert closed == ["detector", "embedder"]


def test_photos_are_asked_of_the_same_embedder_with_their_mirror_images() -> None:
    rig = Rig(config())
    crops = np.arange(112 * 112 * 3, dtype=np.uint8).reshape(CROP.shape)
    subject.for_photos(config(), rig.parts).embedder.embed(crops)
    looks = rig.embedder.crops
    assert len(looks) == 2
    np.testing.assert_array_equal(looks[0], looks[1][:, ::-1])


@pytest.mark.usefixtures("golden")
@pytest.mark.parametrize(("before", "event"), [({}, None), ({"drifted": True}, "recovered")])
def test_a_good_answer_is_a_recovery_only_after_a_drift(
    before: dict[str, bool], event: str | None
) -> None:
    canary = subject.build_canary(config(), Rig(config()).parts, **before)
    said = canary.poll(1)
    assert (None if said is None else said.state) == event


@pytest.mark.usefixtures("golden")
def test_without_a_canary_no_golden_face_is_embedded() -> None:
    rig = Rig(config())
    subject.build_canary(config("engines.canary_every_s=0"), rig.parts)
    assert rig.embedder.crops == []


@pytest.mark.usefixtures("golden")
@pytest.mark.parametrize("every_s", [60, 0])
def test_a_plan_is_compared_with_the_network_it_was_made_of(
    monkeypatch: pytest.MonkeyPatch, every_s: int
) -> None:
    wanted = load_config(
        None,
        ["backend={type: tensorrt, precision: int8}", f"engines.canary_every_s={every_s}"],
    )
    rig, reference, compared = Rig(wanted), Says(), []
    monkeypatch.setattr(
        "jetson_face.factory.plan_networks.reference_embedder",
        lambda config: reference if config is wanted else None,
    )
    monkeypatch.setattr(
        "jetson_face.factory.parity_gate.check_against_reference",
        lambda *given: compared.append(given),
    )
    closed: list[bool] = []
    reference.close = lambda: closed.append(True)
    subject.build_canary(wanted, rig.parts)
    assert compared == ([(reference, rig.embedder, CROP, "int8")] if every_s else [])
    assert closed == ([True] if every_s else [])


def test_an_embedder_without_such_a_network_has_a_canary_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subject, "golden_face", lambda aligner: CROP)
    monkeypatch.setattr("jetson_face.factory.plan_networks.reference_embedder", lambda config: None)
    wanted = load_config(None, ["backend.type=tensorrt"])
    canary = subject.build_canary(wanted, Rig(wanted).parts)
    assert canary.poll(1) is None
    assert canary.asked == 1


def test_the_shipped_pair_weights_belong_to_the_default_network() -> None:
    from jetson_face.models.cards import embedding_space, load_card

    space = embedding_space(load_card("squeezenet_face"))
    assert subject.load_pair_weights(config(), space).space == space


def test_the_gallery_is_looked_at_by_the_time_between_frames(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[Any] = []

    def live_people(*parts: Any, **more: Any) -> Any:
        given.append((parts, more))
        return SimpleNamespace(ids=frozenset({"Ada"}))

    monkeypatch.setattr(subject, "LivePeople", live_people)
    wanted, rig = config("gallery.refresh_s=10"), Rig(config())
    store: Any = object()
    subject.live_people(wanted, store, rig.embedder)
    (((gallery_given, build), more),) = given
    assert gallery_given is store
    assert more == {"every_ns": 10_000_000_000}
    snapshot = gallery((ADA, [unit(1)]))
    assert build(snapshot).snapshot is snapshot


def test_what_is_governed_is_told_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(
        subject, "GovernedRecognizer", lambda *parts, **more: given.append((parts, more))
    )
    monkeypatch.setattr(subject.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})  # type: ignore[attr-defined]
    wanted, live = config("sampling=auto"), SourceInfo("test", "test://", True, 320, 240)
    recognizer = Rig(wanted).recognizer
    subject.govern(wanted, recognizer, live)
    (((inner, interval, _), more),) = given
    assert inner is recognizer
    assert interval is recognizer.finder.interval
    assert more["cpu_share"]() == pytest.approx(time.process_time() / 4, rel=0.05)
    assert subject.govern(config(), recognizer, live) is recognizer
    film = SourceInfo("film", "film.mp4", False, 320, 240)
    assert subject.govern(wanted, recognizer, film) is recognizer


def test_the_report_says_what_was_set() -> None:
    wanted = config("detector={type: mtcnn, max_side_px: 640}", "sampling.interval=7")
    facts = RunFacts(sampling=7, search_max_side=640, method="mtcnn+squeezenet_face")
    assert subject.run_facts(wanted) == facts
    assert subject.run_facts(wanted, 3).sampling == 3


def test_each_source_has_its_own_limit_of_age() -> None:
    wanted = config("sources=[{uri: 0, name: a, max_age_ms: 70}, {uri: 1, name: b}]")
    policy = subject.live_policy(wanted, frames=9)
    assert policy.max_age_ms == {"a": 70.0, "b": 2000.0}
    assert (policy.frames, policy.log_every_s) == (9, wanted.report.every_s)


def test_sources_that_were_opened_are_closed_when_one_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[str] = []

    def opening(uri: str, name: str, **more: Any) -> Any:
        source: Any = open_source(uri, name, **more)
        monkeypatch.setattr(source, "close", lambda: closed.append(name))
        return source

    monkeypatch.setattr(subject, "open_source", opening)
    clip = "test://?frames=3"
    wanted = config(f"sources=[{{uri: '{clip}', name: a}}, {{uri: '/nowhere/film.mp4', name: b}}]")
    with pytest.raises(InputMissingError):
        subject.open_sources(wanted)
    assert closed == ["a"]


@pytest.mark.parametrize(
    ("words", "handed_over", "least"),
    [
        (["detector.type=yunet"], False, 0.74),
        (["detector.type=mtcnn"], False, 0.8),
        (["detector.type=haar"], False, 0.0),
        (["detector.type=mtcnn"], True, 0.0),
        (["detector.type=mtcnn", "quality.detection_min=0.3"], True, 0.3),
        (["detector.type=mtcnn", "quality.detection_min=0"], False, 0.0),
    ],
)
def test_how_sure_a_detector_must_be_was_measured_for_ours_only(
    words: list[str], *, handed_over: bool, least: float
) -> None:
    gate = subject.build_quality(config(*words), handed_over=handed_over)
    assert gate.detection_min == least
    assert gate.landmarks_min == 0.83


def test_the_scores_of_a_detector_that_is_handed_over_mean_what_they_mean() -> None:
    parts = subject.build_parts(config(), detector=Squares(), embedder=Says())
    assert parts.quality.detection_min == 0.0
