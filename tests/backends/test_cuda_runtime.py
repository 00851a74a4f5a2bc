"""The pycuda run time against a driver that only takes notes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jetson_face.backends.cuda import PycudaRuntime, capture_graph
from jetson_face.errors import EngineError, MissingDependencyError


class FakeDriver(ModuleType):
    """`pycuda.driver`: remembers calls, fails those named in `failing`."""

    class Error(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("pycuda.driver")
        self.calls: list[str] = []
        self.failing: set[str] = set()
        self.gpus = 1
        self.Device: Any = None
        self.Context = SimpleNamespace(pop=lambda: self._note("pop"))
        self.Stream = lambda: self._note("Stream", SimpleNamespace(handle=99))

    def _note(self, name: str, answer: Any = None) -> Any:
        self.calls.append(name)
        if name in self.failing:
            raise FakeDriver.Error(f"{name} failed: out of memory")
        return answer

    def init(self) -> None:
        self._note("init")

    def mem_alloc(self, size: int) -> Any:
        class Allocation(int):
            freed = False

            def free(self) -> None:
                self.freed = True

        return self._note("mem_alloc", Allocation(4096))

    def pagelocked_empty(self, size: int, dtype: Any) -> Any:
        return self._note("pagelocked_empty", np.empty(size, dtype))

    def memcpy_htod_async(self, target: int, source: Any, stream: Any) -> None:
        self._note(f"htod {target}")

    def memcpy_dtoh_async(self, target: Any, source: int, stream: Any) -> None:
        self._note(f"dtoh {source}")


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    made = FakeDriver()
    context = SimpleNamespace(push=lambda: made._note("push"))
    gpu = SimpleNamespace(
        name=lambda: "Orin",
        compute_capability=lambda: (8, 7),
        retain_primary_context=lambda: made._note("retain", context),
    )

    class Device:
        def __new__(cls, index: int) -> Any:
            return gpu

        @staticmethod
        def count() -> int:
            return made.gpus

    made.Device = Device
    package = ModuleType("pycuda")
    package.driver = made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", made)
    return made


def test_the_context_is_current_only_inside_active(driver: FakeDriver) -> None:
    cuda = PycudaRuntime()
    assert (cuda.device, cuda.compute_capability) == ("Orin", "8.7")
    assert driver.calls == ["init", "retain"]
    with cuda.active():
        memory = cuda.device_memory(64)
        stream = cuda.stream()
        cuda.to_device(memory, np.zeros(64, np.uint8), stream)
        cuda.to_host(np.zeros(64, np.uint8), memory, stream)
    assert driver.calls[2:] == ["push", "mem_alloc", "Stream", "htod 4096", "dtoh 4096", "pop"]
    with pytest.raises(ZeroDivisionError), cuda.active():
        raise ZeroDivisionError
    assert driver.calls[-1] == "pop"
    assert cuda.allocations == 1


@pytest.mark.parametrize(
    ("call", "use"),
    [
        ("mem_alloc", lambda cuda: cuda.device_memory(1 << 40)),
        ("pagelocked_empty", lambda cuda: cuda.pinned(64)),
        ("Stream", lambda cuda: cuda.stream()),
        ("push", lambda cuda: cuda.active().__enter__()),
    ],
)
def test_what_the_driver_refuses_is_our_error(
    call: str, use: Callable[[PycudaRuntime], Any], driver: FakeDriver
) -> None:
    cuda = PycudaRuntime()
    driver.failing.add(call)
    with pytest.raises(EngineError, match=rf"CUDA .*\({call} failed: out of memory\)"):
        use(cuda)


def test_no_driver_and_no_such_gpu(driver: FakeDriver) -> None:
    with pytest.raises(EngineError, match="CUDA finds 1 GPUs, number 3 was asked for"):
        PycudaRuntime(3)
    driver.failing.add("init")
    with pytest.raises(EngineError, match="is the NVIDIA driver installed"):
        PycudaRuntime()


def test_without_pycuda_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(MissingDependencyError, match=r"jetson-face\[jetson\]"):
        PycudaRuntime()


class FakeLibcuda:
    """libcuda's graph calls; `codes` are answers other than success."""

    def __init__(self, **codes: int) -> None:
        self.calls: list[str] = []
        self._codes = codes

    def __getattr__(self, name: str) -> Callable[..., int]:
        def call(*args: Any) -> int:
            self.calls.append(name)
            return self._codes.get(name, 0)

        return call


STREAM: Any = SimpleNamespace(handle=99, synchronize=lambda: None)


def test_a_graph_is_captured_launched_and_destroyed() -> None:
    lib = FakeLibcuda()
    graph = capture_graph(lib, STREAM, lambda: lib.calls.append("work"))
    graph.launch(STREAM)
    graph.close()
    assert lib.calls == [
        "cuStreamBeginCapture_v2",
        "work",
        "cuStreamEndCapture",
        "cuGraphInstantiateWithFlags",
        "cuGraphDestroy",
        "cuGraphLaunch",
        "cuGraphExecDestroy",
    ]


@pytest.mark.parametrize(
    "name",
    ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"],
)
def test_a_refused_graph_call_is_named(name: str) -> None:
    lib = FakeLibcuda(**{name: 900})
    with pytest.raises(EngineError, match=f"{name} answered error 900"):
        capture_graph(lib, STREAM, lambda: None)
    if name == "cuGraphInstantiateWithFlags":
        assert lib.calls[-1] == "cuGraphDestroy"


def test_work_that_fails_while_captured_ends_the_capture() -> None:
    lib = FakeLibcuda()

    def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        capture_graph(lib, STREAM, work)
    assert lib.calls == ["cuStreamBeginCapture_v2", "cuStreamEndCapture"]
