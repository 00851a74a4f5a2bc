"""From a configuration to running plans, on a simulated GPU that rounds to fp16 as graphs say."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from jetson_face.config import Config, load_config
from jetson_face.core.errors import EngineError, InputBrokenError, UsageError
from jetson_face.detection.mtcnn.detector import search_levels
from jetson_face.factory.golden import golden_pictures, on_frame
from jetson_face.factory.gpu import Gpu
from jetson_face.factory.mtcnn import assemble_mtcnn
from jetson_face.factory.networks import build_mtcnn
from jetson_face.factory.plan_networks import networks_of
from jetson_face.factory.plans import Plans
from jetson_face.inference.tensorrt.key import Machine
from jetson_face.inference.tensorrt.runtime import TensorRTBackend
from tests.inference.fake_gpu import FakeCuda, FakeModule, fake_gpu
from tests.waiting import not_by_emulation


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return load_config(
        None,
        [
            f"engines.cache={tmp_path / 'engines'}",
            "backend.type=tensorrt",
            "detector={type: mtcnn, min_face_px: 60, max_side_px: 640}",
        ],
    )


@pytest.fixture
def gpu() -> tuple[Gpu, FakeCuda, FakeModule]:
    not_by_emulation("whole networks on the simulated GPU take an hour by emulation")
    trt, cuda, module = fake_gpu()
    return Gpu(trt, cuda), cuda, module


@pytest.fixture
def _few_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """One golden picture: enough where the gate itself is not what is tested."""
    monkeypatch.setattr("jetson_face.factory.plans.golden_pictures", lambda: golden_pictures()[3:4])


def plans_on(config: Config, gpu: Gpu) -> Plans:
    return Plans(config, gpu.trt, gpu)


def worsen(data: bytes) -> bytes:
    """The graph with every weight a third larger."""
    model = onnx.load_model_from_string(data)
    for weight in model.graph.initializer:
        value = numpy_helper.to_array(weight)
        if value.ndim == 4:
            weight.CopyFrom(numpy_helper.from_array((value * 1.3).astype(value.dtype), weight.name))
    return bytes(model.SerializeToString())


def test_all_networks_in_fp16_pass_the_gate_and_find_the_same_faces(
    config: Config, gpu: tuple[Gpu, FakeCuda, FakeModule]
) -> None:
    plans = plans_on(config, gpu[0])
    with plans.cache.lock():
        results = [plans.build(spec) for spec in plans.specs()]
    assert [r.side_car.parity for r in results] == ["passed"] * 4  # three nets and the embedding
    rows = {(r.network, r.check): r for result in results for r in (result.parity or ()).rows}  # type: ignore[union-attr]
    assert rows["onet", "faces missing or extra"].measured == 0
    assert 0 < rows["onet", "landmarks, largest shift (px)"].measured < 1
    nets = {name: plans.open(name, autobuild=False) for name in ("pnet", "rnet", "onet")}
    detector = assemble_mtcnn(config, nets)
    assert [len(detector.detect(image)) for image in golden_pictures()[:2]] == [1, 1]
    detector.close()
    assert gpu[1].memory == {}


def framed(config: Config, width: int, height: int) -> Config:
    return load_config(
        None,
        [
            f"engines.cache={config.engine_cache}",
            f"engines.frame_size={[width, height]}",
            "backend.type=tensorrt",
            "detector={type: mtcnn, min_face_px: 60}",
        ],
    )


def test_frames_of_a_known_size_are_searched_by_one_captured_plan(
    config: Config,
    gpu: tuple[Gpu, FakeCuda, FakeModule],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = framed(config, 640, 480)
    plans = plans_on(config, gpu[0])
    with plans.cache.lock():
        report = plans.build(plans.specs(["search"])[0]).parity
    assert report is not None
    rows = {row.check: row.measured for row in report.rows}
    assert rows["faces missing or extra"] == 0
    assert 0 < rows["boxes, largest shift (px)"] < 0.5
    assert sum(name.endswith("cosine") for name in rows) == 2 * len(
        search_levels((640, 480), 60, 0.709, max_side_px=None)[1]
    )
    monkeypatch.setattr("jetson_face.factory.gpu.this_gpu", lambda: gpu[0])
    search = plans.open("search", autobuild=False)
    assert isinstance(search, TensorRTBackend)
    nets = {name: plans.open(name, autobuild=True) for name in ("pnet", "rnet", "onet")}
    detector = assemble_mtcnn(config, {**nets, "search": search})
    pictures = [on_frame(picture, (640, 480)) for picture in golden_pictures()[:3]]
    assert [len(detector.detect(picture)) for picture in pictures] == [1, 1, 1]
    assert search.graph_captured
    taken = gpu[1].allocations
    detector.detect(pictures[0])
    assert gpu[1].allocations == taken
    detector.close()
    assert gpu[1].memory == {}


@pytest.mark.usefixtures("_few_pictures")
def test_the_live_detector_has_the_search_and_the_one_for_photos_not(
    config: Config, gpu: tuple[Gpu, FakeCuda, FakeModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = framed(config, 320, 240)
    monkeypatch.setattr("jetson_face.factory.gpu.this_gpu", lambda: gpu[0])
    build_mtcnn(config, relaxed=True).close()
    assert gpu[2].builds == 3
    build_mtcnn(config).close()
    assert gpu[2].builds == 4
    assert len(plans_on(config, gpu[0]).fitting()) == 4


@pytest.mark.usefixtures("_few_pictures")
def test_a_search_that_answers_wrong_is_refused(
    config: Config, gpu: tuple[Gpu, FakeCuda, FakeModule]
) -> None:
    plans = plans_on(framed(config, 640, 480), gpu[0])
    gpu[2].worsen = worsen
    with plans.cache.lock(), pytest.raises(EngineError, match="search: the new plan failed the p"):
        plans.build(plans.specs(["search"])[0])


@pytest.mark.usefixtures("_few_pictures")
def test_a_plan_that_answers_wrong_is_refused(
    config: Config, gpu: tuple[Gpu, FakeCuda, FakeModule]
) -> None:
    plans = plans_on(config, gpu[0])
    gpu[2].worsen = worsen
    spec = plans.specs(["onet"])[0]
    with plans.cache.lock(), pytest.raises(EngineError, match="onet: the new plan failed the pari"):
        plans.build(spec)
    assert list(plans.cache.folder.glob("*.plan")) == []
    assert gpu[1].memory == {}


@pytest.mark.usefixtures("_few_pictures")
def test_open_builds_what_is_missing_and_says_so(
    config: Config, gpu: tuple[Gpu, FakeCuda, FakeModule], caplog: pytest.LogCaptureFixture
) -> None:
    plans = plans_on(config, gpu[0])
    with pytest.raises(EngineError, match=r"no plan for rnet .*run jetson-face engines build"):
        plans.open("rnet", autobuild=False)
    with caplog.at_level(logging.INFO, "jetson_face.factory.plans"):
        plans.open("rnet", autobuild=True).close()
    assert "engine_build network=rnet" in caplog.text
    plans.open("rnet", autobuild=True).close()
    assert gpu[2].builds == 1


@pytest.mark.usefixtures("_few_pictures")
def test_check_finds_a_plan_that_went_bad(
    config: Config, gpu: tuple[Gpu, FakeCuda, FakeModule]
) -> None:
    plans = plans_on(config, gpu[0])
    spec = plans.specs(["rnet"])[0]
    with plans.cache.lock():
        path = plans.build(spec).path
        assert plans.check(spec).passed
        assert plans.fitting() == [path]
        path.write_bytes(path.read_bytes()[:-10])
        with pytest.raises(EngineError, match="damaged"):
            plans.check(spec)


@pytest.mark.usefixtures("_few_pictures")
def test_the_timing_cache_is_kept_and_a_foreign_one_dropped(
    config: Config, gpu: tuple[Gpu, FakeCuda, FakeModule]
) -> None:
    plans = plans_on(config, gpu[0])
    spec = plans.specs(["rnet"])[0]
    with plans.cache.lock():
        for wanted in (b"+", b"++"):
            plans.build(spec, force=True)
            (file,) = plans.cache.folder.glob("*.timing")
            assert file.read_bytes() == wanted
        for foreign in (b"other gpu", b"damaged"):
            file.write_bytes(foreign)
            plans.build(spec, force=True)
            assert file.read_bytes() == b"+"


def test_building_for_another_gpu_is_not_judged_here(config: Config) -> None:
    trt, _, _ = fake_gpu()
    with pytest.raises(UsageError, match="which one to build for"):
        Plans(config, trt, None)
    plans = Plans(config, trt, None, compute_capability="8.7")
    assert plans.machine == Machine("tensorrt", "10.3.0", "8.7")
    with pytest.raises(EngineError, match="no GPU here"):
        plans.open("pnet", autobuild=True)
    with pytest.raises(UsageError, match="no network"):
        plans.specs(["nonet"])


def test_ranges_take_every_pyramid_level(config: Config) -> None:
    ranges = networks_of(config)["pnet"].spec.profiles["image"]
    assert ranges.min == (1, 3, 12, 12)
    assert ranges.max == (1, 3, 128, 128)  # 640 * 12 / 60
    assert networks_of(config)["onet"].spec.profiles["image"].max == (64, 3, 48, 48)


def test_golden_pictures_are_two_people_in_four_versions() -> None:
    pictures = golden_pictures()
    assert len(pictures) == 8
    assert all(p.ndim == 3 and p.dtype == np.uint8 for p in pictures)
    assert np.array_equal(pictures[0][:, ::-1], pictures[1])


def test_a_damaged_golden_file_is_told(tmp_path: Path) -> None:
    broken: Any = tmp_path / "golden.npz"
    broken.write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(EngineError, match="cannot be read"):
        golden_pictures(broken)
    np.savez(broken, face=np.array([print], object))
    with pytest.raises(EngineError, match="allow_pickle=False"):
        golden_pictures(broken)  # what is pickled there is not run
    np.savez(broken, face=np.zeros(9, np.uint8))
    with pytest.raises(InputBrokenError, match=r"^golden\.npz/face: "):
        golden_pictures(broken)


@pytest.mark.parametrize(
    ("settings", "there"),
    [
        (("detector={type: dlib}",), True),
        (("detector={type: dlib}", "sampling.refine=false"), False),
        (("detector={type: haar, points: eyes}",), True),
        (("detector={type: haar, points: eyes}", "sampling.refine=false"), False),
        (("detector={type: haar, points: onet}", "sampling.refine=false"), True),
        (("detector={type: yunet}",), False),
    ],
)
def test_who_is_followed_by_onet_has_a_plan_of_it(
    tmp_path: Path, settings: tuple[str, ...], there: bool
) -> None:
    config = load_config(None, [f"engines.cache={tmp_path}", *settings])
    assert ("onet" in networks_of(config)) is there
