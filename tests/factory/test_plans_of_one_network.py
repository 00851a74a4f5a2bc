"""Plans of a small embedder on a simulated GPU: built, judged, found, taken over and opened."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetson_face.config import Config, load_config
from jetson_face.core.errors import EngineError, UsageError
from jetson_face.embedding.onnx import OnnxEmbedder
from jetson_face.factory import plans as subject
from jetson_face.factory.golden import golden_pictures
from jetson_face.factory.gpu import Gpu, open_plan
from jetson_face.factory.mtcnn import assemble_mtcnn
from jetson_face.factory.plans import Plans
from jetson_face.factory.yunet import assemble_yunet
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.inference.tensorrt.build import Clock
from jetson_face.inference.tensorrt.builder import BuildOptions
from jetson_face.inference.tensorrt.key import Machine, key_of
from jetson_face.inference.tensorrt.parity import ParityReport, ParityRow
from tests.factory.small_embedder import small_card, small_network
from tests.factory.test_plan_networks import NO_DETECTOR
from tests.inference.fake_gpu import FakeModule, fake_gpu
from tests.waiting import not_by_emulation

Settings = Callable[..., Config]
GOOD = ParityReport((ParityRow("embed", "cosine", 1.0, 0.999, False),))
BAD = ParityReport((ParityRow("embed", "cosine", 0.4, 0.999, False),))


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> FakeModule:
    """TensorRT on this machine's GPU."""
    not_by_emulation("whole networks on the simulated GPU take an hour by emulation")
    trt, cuda, module = fake_gpu()
    gpu = Gpu(trt, cuda)
    monkeypatch.setattr("jetson_face.factory.gpu.this_gpu", lambda: gpu)
    monkeypatch.setattr(subject, "golden_pictures", lambda: golden_pictures()[3:4])
    return module


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A configuration with a small embedder and, unless asked otherwise, no other network."""
    card = small_card(tmp_path)

    def made(*words: str, box: str = "here") -> Config:
        given = (f"engines.cache={tmp_path / box}", f"embedder.model={card}")
        return load_config(None, ["backend.type=tensorrt", *given, *(words or NO_DETECTOR)])

    return made


class Watched:
    """A progress that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def phase(self, name: str, parent: str | None, steps: int) -> bool:
        self.told.append(name)
        return True

    def step(self, name: str, index: int) -> bool:
        self.told.append(f"{name} {index}")
        return True


@pytest.mark.usefixtures("module")
def test_a_plan_is_built_once_and_says_what_it_is(settings: Settings) -> None:
    seconds = iter((10.0, 12.5))
    clock = Clock(lambda: next(seconds), lambda: datetime(2026, 1, 2, tzinfo=timezone.utc))
    here = subject.plans_here(settings())
    plans = Plans(here.config, here._gpu.trt, here._gpu, clock=clock)  # type: ignore[union-attr]
    progress = Watched()
    with plans.cache.lock():
        first = plans.build(plans.specs()[0], progress=progress)
    assert (first.built, first.side_car.parity) == (True, "passed")
    assert first.side_car.built_at == "2026-01-02T00:00:00+00:00"
    assert first.side_car.build_s == 2.5
    assert first.side_car.key == key_of(plans.specs()[0], plans.machine)
    assert progress.told == ["Building", "Building 0", "Building 1"]


def test_a_plan_that_is_there_is_built_again_only_by_force(
    settings: Settings, module: FakeModule
) -> None:
    plans = subject.plans_here(settings())
    (spec,) = plans.specs()
    with plans.cache.lock():
        built = [plans.build(spec).built, plans.build(spec).built]
        assert (built, module.builds) == ([True, False], 1)
        assert plans.build(spec, force=True).built
        assert module.builds == 2
        assert plans.check(spec).passed


@pytest.mark.usefixtures("module")
@pytest.mark.parametrize("capability", [None, "8.6"])
def test_a_build_gets_the_memory_and_the_gpu_that_it_is_for(
    settings: Settings, capability: str | None
) -> None:
    gpu = subject.plans_here(settings())._gpu
    assert gpu is not None
    wanted = settings("backend.workspace_mib=77", *NO_DETECTOR)
    plans = Plans(wanted, gpu.trt, gpu, compute_capability=capability)
    assert plans._builder._options == BuildOptions(77, capability)
    other = Machine("tensorrt", "10.3.0", "8.6")
    assert plans.machine == (gpu.machine if capability is None else other)


@pytest.mark.usefixtures("module")
def test_a_plan_for_another_gpu_is_not_run_on_this_one(settings: Settings) -> None:
    gpu = subject.plans_here(settings())._gpu
    assert gpu is not None
    plans = Plans(settings(), gpu.trt, gpu, compute_capability="8.6")
    (spec,) = plans.specs()
    with pytest.raises(EngineError, match="no GPU here to run a plan on"):
        plans.open("embed", autobuild=True)
    with pytest.raises(EngineError, match="embed: no GPU here to run the plan on"):
        plans.check(spec)
    with pytest.raises(EngineError, match="no GPU here to judge a plan on"):
        plans._gate(spec, b"")


def test_without_a_gpu_one_has_to_be_named(settings: Settings) -> None:
    trt, _, _ = fake_gpu()
    with pytest.raises(UsageError, match=r"which one to build for, as 8\.7"):
        Plans(settings(), trt, None)
    assert Plans(settings(), trt, None, compute_capability="8.6").fitting() == []


@pytest.mark.usefixtures("module")
def test_networks_are_named_in_their_order_or_all(settings: Settings) -> None:
    plans = subject.plans_here(settings("detector.type=yunet"))
    assert [spec.name for spec in plans.specs()] == ["yunet", "yunet_tiles", "embed"]
    asked = ["embed", "yunet"]
    assert [spec.name for spec in plans.specs(asked)] == ["yunet", "embed"]
    words = r"no network \['a', 'b'\]; there are yunet, yunet_tiles, embed"
    with pytest.raises(UsageError, match=words):
        plans.specs(["b", "embed", "a"])


@pytest.mark.usefixtures("module")
def test_plans_that_fit_are_found_beside_those_that_are_missing(settings: Settings) -> None:
    plans = subject.plans_here(settings("detector.type=yunet"))
    assert plans.fitting() == []
    with plans.cache.lock():
        result = plans.build(plans.specs(["embed"])[0])
    assert plans.fitting() == [result.path]


@pytest.fixture
def shipped(settings: Settings, module: FakeModule) -> tuple[Any, bytes]:
    """The side-car and the plan that another box built and exported."""
    plans = subject.plans_here(settings(box="there"))
    with pytest.raises(EngineError, match=r"no plan for embed .*run jetson-face engines build"):
        plans.export(plans.specs())
    with plans.cache.lock():
        result = plans.build(plans.specs()[0])
    ((side_car, plan),) = plans.export(plans.specs())
    assert side_car.to_bytes() == result.side_car.to_bytes()
    assert plan == result.path.read_bytes()
    assert module.builds == 1
    return side_car, plan


def test_a_plan_of_another_box_is_judged_here_and_kept(
    settings: Settings, shipped: tuple[Any, bytes]
) -> None:
    side_car, plan = shipped
    plans = subject.plans_here(settings())
    with plans.cache.lock():
        report = plans.take_in(replace(side_car, parity="unchecked", parity_rows=()), plan)
        assert report is not None
        kept = plans.cache.find(side_car.key)
        assert (kept.parity, list(kept.parity_rows)) == ("passed", report.to_json())
        assert plans.cache.load(side_car.key) == plan
        # A second time it is here already.
        plans._gate = None  # type: ignore[assignment]
        assert plans.take_in(side_car, plan) is None


def test_a_damaged_plan_is_replaced_by_that_of_another_box(
    settings: Settings, shipped: tuple[Any, bytes]
) -> None:
    side_car, plan = shipped
    plans = subject.plans_here(settings())
    with plans.cache.lock():
        path = plans.build(plans.specs()[0]).path
        path.write_bytes(b"damaged")
        assert plans.take_in(side_car, plan) is not None
        assert path.read_bytes() == plan


def test_a_plan_that_fails_here_is_not_kept(settings: Settings, shipped: tuple[Any, bytes]) -> None:
    side_car, plan = shipped
    plans = subject.plans_here(settings())
    judged: list[Any] = []

    def gate(*given: Any) -> ParityReport:
        judged.append(given)
        return BAD

    plans._gate = gate  # type: ignore[assignment]
    with plans.cache.lock():
        with pytest.raises(EngineError, match=r"embed: failed the parity gate here .*\(cosine 0.4"):
            plans.take_in(side_car, plan)
        assert judged == [(plans.specs()[0], plan)]
        assert plans.fitting() == []


def test_a_plan_of_something_else_is_no_use(settings: Settings, shipped: tuple[Any, bytes]) -> None:
    side_car, plan = shipped
    plans = subject.plans_here(settings())
    no_network = replace(side_car, key=replace(side_car.key, network="onet"))
    assert plans.take_in(no_network, plan) is None
    other = replace(side_car, key=replace(side_car.key, version="9.9", compute_capability="5.3"))
    words = r"^embed: built for another box: TensorRT version: .* 9\.9, .*; compute capability: "
    with pytest.raises(EngineError, match=words):
        plans.take_in(other, plan)
    assert plans.fitting() == []


def test_what_is_missing_is_built_when_it_is_opened_and_the_log_says_why(
    settings: Settings, module: FakeModule, caplog: pytest.LogCaptureFixture
) -> None:
    plans = subject.plans_here(settings())
    with pytest.raises(EngineError, match=r"no plan for embed .*run jetson-face engines build"):
        plans.open("embed", autobuild=False)
    progress = Watched()
    with caplog.at_level(logging.INFO, "jetson_face.factory.plans"):
        backend = plans.open("embed", autobuild=True, progress=progress)
    (said,) = (message for message in caplog.messages if message.startswith("engine_build "))
    assert said.startswith("engine_build network=embed reason=no plan for embed ")
    assert said.endswith("(minutes, once)")
    assert progress.told
    crops = np.zeros((2, 3, 112, 112), np.float32)
    wanted = OnnxBackend(small_network()).run({"input": crops})["embedding"]
    np.testing.assert_allclose(backend.run({"input": crops})["embedding"], wanted, atol=0.02)
    assert (backend.info.name, backend.info.precision) == ("tensorrt", "fp16")
    backend.close()
    plans.open("embed", autobuild=False).close()
    assert module.builds == 1


@pytest.mark.parametrize("autobuild", [True, False])
def test_a_network_is_built_by_itself_only_where_that_is_wanted(
    settings: Settings, module: FakeModule, *, autobuild: bool
) -> None:
    wanted = settings(f"engines.autobuild={json.dumps(autobuild)}", *NO_DETECTOR)
    if autobuild:
        subject.open_network(wanted, "embed").close()
    else:
        with pytest.raises(EngineError, match="no plan for embed"):
            subject.open_network(wanted, "embed")
    assert module.builds == autobuild


class Gated:
    """Stands for the gate: notes what it is made of and asked, and finds every plan good."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.args, self.options, self.asked = args, options, list[Any]()

    def __call__(self, *asked: Any) -> ParityReport:
        self.asked.append(asked)
        return GOOD


@pytest.mark.usefixtures("module")
def test_the_gate_compares_with_the_fp32_graphs_on_golden_pictures(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subject, "ParityGate", Gated)
    words = ("detector.type=yunet", "engines.frame_size=[320, 240]", "embedder.max_batch=7")
    wanted = settings(*words)
    plans = subject.plans_here(wanted)
    spec = plans.specs(["embed"])[0]
    with plans.cache.lock():
        result = plans.build(spec)
    gate: Any = plans._gate
    assert gate.asked == [(spec, result.path.read_bytes())]
    assert list(result.side_car.parity_rows) == GOOD.to_json()
    references, pictures = gate.args
    assert references == {name: one.reference for name, one in plans.networks.items()}
    np.testing.assert_array_equal(pictures, golden_pictures()[3:4])
    opened, detector = gate.options["open_plan"], gate.options["make_detector"]
    assert (opened.func, opened.args) == (open_plan, (plans._gpu,))
    assert (detector.func, detector.args) == (assemble_yunet, (wanted,))
    assert gate.options["frame_size"] == (320, 240)
    backend = OnnxBackend(small_network())
    embedder = gate.options["make_embedder"](backend)
    assert isinstance(embedder, OnnxEmbedder)
    assert (embedder._max_batch, embedder.space.model) == (7, "small")
    embedder.close()


def test_an_embedder_without_a_network_is_not_judged(
    monkeypatch: pytest.MonkeyPatch, module: FakeModule, tmp_path: Path
) -> None:
    monkeypatch.setattr(subject, "ParityGate", Gated)
    words = [f"engines.cache={tmp_path}", "embedder.model=dlib_resnet", *NO_DETECTOR]
    gate: Any = subject.plans_here(load_config(None, words))._gate
    assert gate.options["make_embedder"] is None
    assert gate.options["make_detector"] is None


def test_the_gate_puts_together_the_detector_that_runs_our_networks(settings: Settings) -> None:
    for words, how in (
        (("detector.type=yunet",), assemble_yunet),
        (("detector.type=mtcnn",), assemble_mtcnn),
        (("detector.type=dlib",), assemble_mtcnn),  # whose O-Net follows
        (NO_DETECTOR, None),
    ):
        wanted = settings(*words)
        made = subject._detector_maker(wanted)
        if how is None:
            assert made is None
        else:
            assert isinstance(made, partial)
            assert (made.func, made.args) == (how, (wanted,))
