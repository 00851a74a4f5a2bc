"""TensorRT against the contract of all back ends: simulated anywhere, real where there is a GPU."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest

from jetson_face.core.errors import JetsonFaceError
from jetson_face.factory.gpu import Gpu, this_gpu
from jetson_face.inference.backend import Backend
from jetson_face.inference.cuda.driver import Driver, DriverRuntime
from jetson_face.inference.cuda.pycuda import PycudaRuntime
from jetson_face.inference.tensorrt.bindings import adopt
from jetson_face.inference.tensorrt.builder import BuildOptions, ShapeRange, compile_plan
from jetson_face.inference.tensorrt.runtime import TensorRTBackend
from tests.inference.backend_contract import SIDE, BackendContract, contract_model
from tests.inference.fake_driver import FakeLibcuda, install_pycuda
from tests.inference.fake_gpu import FakeModule, fake_gpu, make_plan
from tests.inference.sim_gpu import SimGpu

RANGE = ShapeRange.batch((3, SIDE, SIDE), 64)


def opener(gpu: Gpu, plan: bytes) -> Iterator[Callable[[], Backend]]:
    made: list[TensorRTBackend] = []

    def _open() -> Backend:
        backend = TensorRTBackend(
            plan, trt=gpu.trt, cuda=gpu.cuda, what="contract", precision="fp32"
        )
        made.append(backend)
        return backend

    yield _open
    for backend in made:
        backend.close()


PLAN = make_plan(contract_model(), {"x": (RANGE.min, RANGE.opt, RANGE.max)})


class TestTensorRTSimulated(BackendContract):
    """The back end's own code; the GPU and the network's arithmetic are played."""

    @pytest.fixture
    def opened(self) -> Iterator[Callable[[], Backend]]:
        trt, cuda, _ = fake_gpu()
        yield from opener(Gpu(trt, cuda), PLAN)
        assert cuda.gpu.clean


class TestTensorRTOverLibcuda(BackendContract):
    """The same over our own calls of the driver, with its C signatures."""

    @pytest.fixture
    def opened(self) -> Iterator[Callable[[], Backend]]:
        library = FakeLibcuda(SimGpu())
        cuda = DriverRuntime(driver=Driver(library))
        module = FakeModule(library)
        yield from opener(Gpu(adopt(module, "tensorrt"), cuda), PLAN)
        assert library.broken == []
        assert library.gpu.clean


class TestTensorRTOverPycuda(BackendContract):
    """The same over pycuda."""

    @pytest.fixture
    def opened(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Backend]]:
        driver = install_pycuda(monkeypatch, SimGpu())
        module = FakeModule(driver)
        yield from opener(Gpu(adopt(module, "tensorrt"), PycudaRuntime()), PLAN)
        gc.collect()
        assert driver.warnings == []
        assert driver.gpu.clean


@pytest.mark.gpu
class TestTensorRTOnGpu(BackendContract):
    """The real thing."""

    @pytest.fixture(scope="class")
    def gpu(self) -> Gpu:
        try:
            return this_gpu()
        except JetsonFaceError as exc:
            pytest.skip(str(exc))

    @pytest.fixture(scope="class")
    def plan(self, gpu: Gpu) -> bytes:
        compiled = compile_plan(gpu.trt, contract_model(), "contract", {"x": RANGE}, BuildOptions())
        return compiled.plan

    @pytest.fixture
    def opened(self, gpu: Gpu, plan: bytes) -> Iterator[Callable[[], Backend]]:
        yield from opener(gpu, plan)
