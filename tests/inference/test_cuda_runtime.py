"""CUDA through pycuda and through libcuda, on one simulated GPU: same answers, same errors."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from jetson_face.core.errors import EngineError, MissingDependencyError
from jetson_face.inference.cuda import driver
from jetson_face.inference.cuda.base import CudaRuntime
from jetson_face.inference.cuda.driver import Driver, DriverRuntime, load_driver
from jetson_face.inference.cuda.pycuda import PycudaRuntime
from jetson_face.inference.cuda.runtime import open_cuda
from jetson_face.inference.tensorrt.bindings import adopt
from jetson_face.inference.tensorrt.runtime import TensorRTBackend
from tests.inference.fake_driver import FakeLibcuda, install_pycuda
from tests.inference.fake_gpu import FakeModule, make_plan
from tests.inference.graphs import tiny_conv
from tests.inference.sim_gpu import SimGpu

Make = Callable[[], CudaRuntime]


@pytest.fixture
def gpu() -> SimGpu:
    return SimGpu()


@pytest.fixture(params=["pycuda", "libcuda"])
def make(
    request: pytest.FixtureRequest, gpu: SimGpu, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Make]:
    """Opens the run time; afterwards nothing may have gone wrong unseen."""
    library = FakeLibcuda(gpu)
    pycuda = install_pycuda(monkeypatch, gpu)
    libcuda = Driver(library)
    monkeypatch.setattr("jetson_face.inference.cuda.pycuda.load_driver", lambda: libcuda)
    yield PycudaRuntime if request.param == "pycuda" else lambda: DriverRuntime(driver=libcuda)
    gc.collect()
    assert pycuda.warnings == []
    assert library.broken == []


def test_bytes_go_to_the_device_and_back(make: Make, gpu: SimGpu) -> None:
    cuda = make()
    assert (cuda.device, cuda.compute_capability) == ("Fake GPU", "8.7")
    assert not gpu.is_current
    with cuda.active():
        stream, memory = cuda.stream(), cuda.device_memory(100)
        source, target = cuda.pinned(64), cuda.pinned(64)
        assert (str(source.dtype), source.shape, target.flags.writeable) == ("uint8", (64,), True)
        source[:] = np.arange(64)
        cuda.to_device(memory, source[:40], stream)
        cuda.to_host(target[:40], memory, stream)
        assert not target[:40].any() or not np.array_equal(target[:40], source[:40])  # not yet
        stream.synchronize()
        np.testing.assert_array_equal(target[:40], np.arange(40))
        assert target[40] == 0xDD
        assert cuda.allocations == 3
        for block in (source, target):
            cuda.free_pinned(block)
        memory.free()
        stream.close()
    assert gpu.clean
    assert not gpu.is_current


def test_the_context_is_left_also_after_an_error_and_may_nest(make: Make, gpu: SimGpu) -> None:
    cuda = make()
    with pytest.raises(ZeroDivisionError), cuda.active():
        raise ZeroDivisionError
    assert not gpu.is_current
    with cuda.active():
        with cuda.active():
            pass
        assert gpu.is_current


def test_any_thread_may_use_it(make: Make, gpu: SimGpu) -> None:
    cuda, failed = make(), []

    def work() -> None:
        try:
            with cuda.active():
                cuda.device_memory(8).free()
        except EngineError as exc:
            failed.append(exc)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert failed == []
    assert gpu.clean


def test_a_graph_is_captured_launched_and_destroyed(make: Make, gpu: SimGpu) -> None:
    cuda = make()
    with cuda.active():
        stream, memory, block = cuda.stream(), cuda.device_memory(8), cuda.pinned(8)
        graph = cuda.capture(stream, lambda: cuda.to_device(memory, block, stream))
        for value in (3, 4):
            block[:] = value
            graph.launch(stream)
            stream.synchronize()
            assert next(iter(gpu.memory.values())).tolist() == [value] * 8
        assert gpu.graphs == {}
        graph.close()
        cuda.free_pinned(block)
        memory.free()
        stream.close()
    assert gpu.clean


@pytest.mark.parametrize("name", ["begin_capture", "end_capture", "instantiate"])
def test_a_refused_graph_call_is_named_and_leaves_nothing(
    name: str, make: Make, gpu: SimGpu
) -> None:
    cuda = make()
    with cuda.active():
        stream = cuda.stream()
        gpu.refuse[name] = 900
        with pytest.raises(EngineError, match="error 900 CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"):
            cuda.capture(stream, lambda: None)
        gpu.refuse.clear()
        stream.synchronize()  # out of capture mode
        stream.close()
    assert gpu.clean


def test_work_that_fails_while_captured_ends_the_capture(make: Make, gpu: SimGpu) -> None:
    cuda = make()
    with cuda.active():
        stream = cuda.stream()
        for illegal in (stream.synchronize, lambda: cuda.device_memory(8)):
            with pytest.raises(EngineError, match="CAPTURE_UNSUPPORTED"):
                cuda.capture(stream, illegal)  # type: ignore[arg-type]
            stream.synchronize()
        with pytest.raises(ZeroDivisionError):
            cuda.capture(stream, lambda: 1 // 0)  # type: ignore[arg-type]
        stream.synchronize()
        stream.close()
    assert gpu.clean


@pytest.mark.parametrize(
    ("call", "code", "use", "message"),
    [
        ("alloc", 2, lambda c, s: c.device_memory(1 << 20), "no 1048576 bytes of device memory"),
        ("host_alloc", 2, lambda c, s: c.pinned(64), "no 64 bytes of page-locked memory"),
        ("stream_create", 2, lambda c, s: c.stream(), "cannot make a stream"),
        ("synchronize", 700, lambda c, s: s.synchronize(), "failure of work under way"),
    ],
)
def test_what_the_driver_refuses_is_our_error(
    call: str, code: int, use: Callable[[Any, Any], Any], message: str, make: Make, gpu: SimGpu
) -> None:
    cuda = make()
    with cuda.active():
        stream = cuda.stream()
        gpu.refuse[call] = code
        with pytest.raises(EngineError, match=message):
            use(cuda, stream)
        gpu.refuse.clear()
        stream.close()
    gpu.refuse["push"] = 201
    with pytest.raises(EngineError, match="cannot make its context current"), cuda.active():
        pass


def test_freeing_twice_is_our_error(make: Make) -> None:
    cuda = make()
    with cuda.active():
        memory, block = cuda.device_memory(8), cuda.pinned(8)
        memory.free()
        cuda.free_pinned(block)
        with pytest.raises(EngineError, match="cannot free device memory"):
            memory.free()
        with pytest.raises(EngineError, match="cannot free page-locked memory"):
            cuda.free_pinned(block)


def test_a_plan_of_fixed_shapes_runs_as_a_graph(make: Make, gpu: SimGpu) -> None:
    module = FakeModule(FakeLibcuda(gpu))
    fixed = {"x": ((2, 3, 8, 8),) * 3}
    backend = TensorRTBackend(
        make_plan(tiny_conv(), fixed),
        trt=adopt(module, "tensorrt"),
        cuda=make(),
        what="tiny",
        precision="fp16",
    )
    x = np.ones((2, 3, 8, 8), np.float32)
    first = backend.run({"x": x})["y"].copy()
    assert backend.graph_captured
    np.testing.assert_array_equal(backend.run({"x": x})["y"], first)
    np.testing.assert_array_equal(backend.run({"x": 2 * x})["y"], 2 * first)
    assert gpu.launches == 2
    backend.close()
    assert gpu.clean


def test_no_driver_and_no_such_gpu(make: Make, gpu: SimGpu) -> None:
    gpu.count = 0
    with pytest.raises(EngineError, match=r"CUDA finds 0 GPUs|is the NVIDIA driver installed"):
        make()
    gpu.count, gpu.refuse["init"] = 1, 100
    with pytest.raises(EngineError, match="is the NVIDIA driver installed"):
        make()


def test_pycuda_is_taken_where_it_is_installed_and_libcuda_otherwise(
    gpu: SimGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_pycuda(monkeypatch, gpu)
    assert open_cuda().access == "pycuda"
    with pytest.raises(EngineError, match="finds 1 GPUs, number 3 was asked for"):
        open_cuda(3)
    monkeypatch.setitem(sys.modules, "pycuda", None)
    monkeypatch.setitem(sys.modules, "pycuda.driver", None)
    monkeypatch.setattr(driver, "load_driver", lambda: Driver(FakeLibcuda(gpu)))
    assert open_cuda().access == "libcuda"
    with pytest.raises(MissingDependencyError, match=r"\.\[pycuda\]"):
        PycudaRuntime()


@pytest.mark.parametrize(
    "what",
    [
        ImportError("libcurand.so.10: cannot open shared object file"),
        ModuleNotFoundError("No module named 'numpy.core'", name="numpy.core"),
        RuntimeError("module compiled against ABI version 0x1000009"),
    ],
)
def test_where_pycuda_is_broken_libcuda_takes_over_and_one_line_says_so(
    what: Exception,
    gpu: SimGpu,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise what

    monkeypatch.setitem(sys.modules, "pycuda", Broken())
    monkeypatch.delitem(sys.modules, "pycuda.driver", raising=False)
    monkeypatch.setattr(driver, "load_driver", lambda: Driver(FakeLibcuda(gpu)))
    assert open_cuda().access == "libcuda"
    (line,) = caplog.messages
    assert str(what) in line
    assert "through libcuda" in line
    with pytest.raises(EngineError, match="pycuda cannot be loaded"):
        PycudaRuntime()


def test_a_machine_without_the_driver_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> Any:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", none)
    load_driver.cache_clear()
    with pytest.raises(EngineError, match="is the NVIDIA driver installed"):
        load_driver()
    load_driver.cache_clear()


def test_a_driver_that_is_too_old_is_named(gpu: SimGpu) -> None:
    with pytest.raises(EngineError, match=r"no cuGraphInstantiateWithFlags.*older than CUDA 11\.4"):
        Driver(FakeLibcuda(gpu, missing=("cuGraphInstantiateWithFlags",)))
