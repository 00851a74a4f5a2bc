"""A TensorRT that is not there, so that the real back end's logic runs on any machine.

It follows what TensorRT 10 documents and `tensorrt_rtx` answers; the GPU below is `SimGpu`, and the
plan's network runs in ONNX Runtime. It shows that calls come in an allowed order, with allowed
arguments, and that every answer is looked at. It cannot show what a plan computes or how long it
takes, which plans a builder makes, what TensorRT itself allocates, or whether a plan can be
captured: see the limits at the top of sim_gpu.py. That the names and signatures are those of the
real packages is shown by test_tensorrt_api.py.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any, Protocol, TypeVar

import numpy as np
import pytest

from jetson_face.core.errors import EngineError
from jetson_face.factory.golden import golden_pictures
from jetson_face.factory.gpu import Gpu
from jetson_face.inference.cuda.base import Bytes, DeviceMemory, Graph, Stream
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.inference.tensorrt.bindings import TensorRT, adopt
from tests.inference.sim_gpu import CONTEXT, NON_BLOCKING, OUT_OF_MEMORY, Refused, SimGpu

Shape = tuple[int, ...]
T = TypeVar("T")


class HasGpu(Protocol):
    """What the fake TensorRT needs of a CUDA: the GPU behind it."""

    @property
    def gpu(self) -> SimGpu: ...


class FakeMemory:
    def __init__(self, gpu: SimGpu, size: int) -> None:
        self._gpu = gpu
        self.address = _asked(lambda: gpu.alloc(size))

    def free(self) -> None:
        _asked(lambda: self._gpu.free(self.address))


class FakeStream:
    def __init__(self, gpu: SimGpu) -> None:
        self._gpu = gpu
        self.handle = _asked(lambda: gpu.stream_create(NON_BLOCKING))

    def synchronize(self) -> None:
        _asked(lambda: self._gpu.synchronize(self.handle))

    def close(self) -> None:
        _asked(lambda: self._gpu.stream_destroy(self.handle))


class FakeGraph:
    def __init__(self, gpu: SimGpu, executable: int) -> None:
        self._gpu, self._executable = gpu, executable

    def launch(self, stream: Stream) -> None:
        _asked(lambda: self._gpu.launch(self._executable, stream.handle))

    def close(self) -> None:
        _asked(lambda: self._gpu.executable_destroy(self._executable))


class FakeCuda:
    """Implements `CudaRuntime` straight on the simulated GPU, and counts."""

    access = "fake"
    device = SimGpu.name
    compute_capability = "8.7"

    def __init__(self) -> None:
        self.gpu = SimGpu()
        self.allocations = 0

    @property
    def memory(self) -> dict[int, Bytes]:
        """Blocks on the device, by address."""
        return self.gpu.memory

    @property
    def pinned_blocks(self) -> list[Bytes]:
        """Page-locked blocks."""
        return list(self.gpu.host.values())

    @contextmanager
    def active(self) -> Iterator[None]:
        _asked(lambda: self.gpu.push(CONTEXT))
        try:
            yield
        finally:
            _asked(self.gpu.pop)

    def stream(self) -> FakeStream:
        return FakeStream(self.gpu)

    def device_memory(self, size: int) -> FakeMemory:
        self.allocations += 1
        return FakeMemory(self.gpu, size)

    def pinned(self, size: int) -> Bytes:
        self.allocations += 1
        return _asked(lambda: self.gpu.host_alloc(size))

    def free_pinned(self, memory: Bytes) -> None:
        _asked(lambda: self.gpu.host_free(memory.ctypes.data))

    def to_device(self, target: DeviceMemory, source: Bytes, stream: Stream) -> None:
        where = (target.address, source.ctypes.data, source.nbytes, stream.handle)
        _asked(lambda: self.gpu.copy_in(*where))

    def to_host(self, target: Bytes, source: DeviceMemory, stream: Stream) -> None:
        where = (target.ctypes.data, source.address, target.nbytes, stream.handle)
        _asked(lambda: self.gpu.copy_out(*where))

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph:
        _asked(lambda: self.gpu.begin_capture(stream.handle, 1))
        try:
            enqueue()
        except BaseException:
            with suppress(EngineError):
                _asked(lambda: self.gpu.end_capture(stream.handle))
            raise
        graph = _asked(lambda: self.gpu.end_capture(stream.handle))
        executable = _asked(lambda: self.gpu.instantiate(graph))
        self.gpu.graph_destroy(graph)
        return FakeGraph(self.gpu, executable)


def _asked(call: Callable[[], T]) -> T:
    try:
        return call()
    except Refused as refused:
        if refused.code == OUT_OF_MEMORY:
            raise EngineError("CUDA has no such bytes of device memory left") from refused
        raise EngineError(f"CUDA answered {refused}") from refused


def make_plan(onnx: bytes, profiles: Mapping[str, Sequence[Shape]] | None = None) -> bytes:
    """A plan for the fake: profiles are (min, opt, max) of each dynamic input."""
    return json.dumps({"profiles": profiles or {}}).encode() + b"\0" + onnx


class _Context:
    """What TensorRT documents of `IExecutionContext`; refusals are False and a line in the log."""

    def __init__(self, engine: _Engine, module: FakeModule) -> None:
        self._engine, self._module, self._gpu = engine, module, module.cuda.gpu
        self.shapes: dict[str, Shape] = {}
        self.addresses: dict[str, int] = {}
        self._fresh: set[int] = set()
        for name in engine.net.inputs:
            if -1 not in engine.get_tensor_shape(name):
                self.shapes[name] = engine.get_tensor_shape(name)
        if module.capturable is not None:  # as TensorRT for RTX has it
            self.is_stream_capturable = lambda handle: bool(module.capturable)

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        assert isinstance(shape, (tuple, list)), "pybind11 takes a tuple or a list"
        if name not in self._engine.net.inputs or "set_input_shape" in self._engine.failing:
            return self._engine.refuse(f"{name}: no such input")
        low, _, high = self._engine.get_tensor_profile_shape(name, 0)
        if len(shape) != len(low) or any(
            not a <= b <= c for a, b, c in zip(low, shape, high, strict=True)
        ):
            return self._engine.refuse(f"{name}: {shape} outside {low} to {high}")
        if self.shapes.get(name) != tuple(shape):
            self.shapes[name] = tuple(shape)
            self._fresh.clear()
        return True

    @property
    def _missing(self) -> list[str]:
        return [n for n in self._engine.net.inputs if n not in self.shapes]

    def infer_shapes(self) -> list[str]:
        if "infer_shapes raises" in self._engine.failing:
            raise RuntimeError("Shape inference failed")
        return [*self._missing, "x"] if "infer_shapes" in self._engine.failing else self._missing

    def get_tensor_shape(self, name: str) -> Shape:
        """Unknown dimensions are -1, as all are before the inputs' shapes are set."""
        if name in self.shapes:
            return self.shapes[name]
        if self._missing:
            return self._engine.get_tensor_shape(name)
        if "get_tensor_shape" in self._engine.failing:
            return (-1, *self._shape_of(name)[1:])
        return self._shape_of(name)

    def _shape_of(self, name: str) -> Shape:
        net = self._engine.net
        zeros = {n: np.zeros(s, net.inputs[n].dtype) for n, s in self.shapes.items()}
        return tuple(net.run(zeros)[name].shape)

    def get_max_output_size(self, name: str) -> int:
        """Bytes for the shapes that are set; `output_block` lets a test ask for more than those, as
        the documentation, which only says "upper bound", allows."""
        if self._missing or name not in self._engine.net.outputs:
            return -1
        size = int(np.prod(self._shape_of(name))) * self._engine.net.outputs[name].dtype.itemsize
        block = self._module.output_block
        return -(-size // block) * block

    def set_tensor_address(self, name: str, address: int) -> bool:
        if name not in {*self._engine.net.inputs, *self._engine.net.outputs}:
            return self._engine.refuse(f"{name}: no such tensor")
        self.addresses[name] = int(address)
        return "set_tensor_address" not in self._engine.failing

    def execute_async_v3(self, stream_handle: int) -> bool:
        net, shapes = self._engine.net, dict(self.shapes)
        if not self._gpu.is_current:
            raise AssertionError("TensorRT was called with no CUDA context")
        if "execute_async_v3" in self._engine.failing:
            return self._engine.refuse("Error Code 1: the fake refuses")
        if self._missing or self.addresses.keys() != {*net.inputs, *net.outputs}:
            return self._engine.refuse("not every shape and address is set")
        for name in net.outputs:
            self._gpu.block(self.addresses[name], self.get_max_output_size(name))
        if self._gpu.is_capturing(stream_handle) and (
            stream_handle not in self._fresh or self._module.uncapturable
        ):
            self._gpu.invalidate(stream_handle)
            return self._engine.refuse("operation not permitted when stream is capturing")
        self._fresh.add(stream_handle)

        def work() -> None:
            feeds = {}
            for name, shape in shapes.items():
                raw, dtype = self._gpu.memory[self.addresses[name]], net.inputs[name].dtype
                size = int(np.prod(shape)) * dtype.itemsize
                feeds[name] = raw[:size].view(dtype).reshape(shape).copy()
            for name, value in net.run(feeds).items():
                data = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
                self._gpu.memory[self.addresses[name]][: data.size] = data

        self._gpu.put(stream_handle, work)
        return True


class _Engine:
    def __init__(self, plan: bytes, module: FakeModule) -> None:
        head, _, onnx = plan.partition(b"\0")
        self._profiles = json.loads(head)["profiles"]
        self.net = OnnxBackend(onnx, threads=1)
        self._module = module
        self.failing = module.failing
        self._names = [*self.net.inputs, *self.net.outputs]
        self.num_io_tensors = len(self._names)

    def refuse(self, why: str) -> bool:
        self._module.log(why)
        return False

    def create_execution_context(self) -> _Context | None:
        if "create_execution_context" in self.failing:
            return None
        return _Context(self, self._module)

    def get_tensor_location(self, name: str) -> str:
        return "HOST" if "get_tensor_location" in self.failing else "DEVICE"

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name in self.net.inputs else "OUTPUT"

    def get_tensor_shape(self, name: str) -> Shape:
        spec = self.net.inputs.get(name) or self.net.outputs[name]
        return tuple(-1 if d is None else d for d in spec.shape)

    def get_tensor_dtype(self, name: str) -> Any:
        spec = self.net.inputs.get(name) or self.net.outputs[name]
        return "BFLOAT16" if "get_tensor_dtype" in self.failing else spec.dtype

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[Shape]:
        if name not in self._profiles:
            return [self.get_tensor_shape(name)] * 3
        return [tuple(shape) for shape in self._profiles[name]]


class _Runtime:
    def __init__(self, module: FakeModule) -> None:
        self._module = module

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
        if not self._module.cuda.gpu.is_current:
            raise AssertionError("TensorRT was called with no CUDA context")
        if b"\0" not in plan:
            self._module.log("Error Code 1: Serialization (magic tag does not match)")
            return None
        return _Engine(plan, self._module)


class _LoggerBase:
    Severity = SimpleNamespace(ERROR=1, INTERNAL_ERROR=0, WARNING=2, INFO=3)


class _Monitor:
    pass


class _Network:
    def __init__(self) -> None:
        self.onnx = b""
        self.inputs: list[SimpleNamespace] = []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, index: int) -> SimpleNamespace:
        return self.inputs[index]


class _Parser:
    num_errors = 0

    def __init__(self, network: _Network, logger: Any) -> None:
        self._network = network

    def parse(self, onnx: bytes) -> bool:
        self._network.onnx = onnx
        for name, spec in OnnxBackend(onnx, threads=1).inputs.items():
            shape = tuple(-1 if d is None else d for d in spec.shape)
            self._network.inputs.append(SimpleNamespace(name=name, shape=shape))
        return True


class _TimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content


class _Config:
    progress_monitor: Any = None

    def __init__(self) -> None:
        self.profiles: list[dict[str, list[Shape]]] = []
        self.timing: _TimingCache | None = None
        self.flags = {"TF32"}  # on unless it is cleared

    def clear_flag(self, flag: str) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: str, size: int) -> None:
        self.workspace = size

    def add_optimization_profile(self, profile: Any) -> int:
        self.profiles.append(profile.shapes)
        return 0

    def create_timing_cache(self, content: bytes) -> _TimingCache | None:
        return None if content.startswith(b"damaged") else _TimingCache(content)

    def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
        if cache.content.startswith(b"other gpu"):
            return False
        self.timing = cache
        return True


class _Builder:
    """A plan is the graph itself; `worsen`, where set, may change it first."""

    def __init__(self, module: FakeModule) -> None:
        self._module = module

    def create_network(self, flags: int) -> _Network:
        if flags != 1 << 1:
            raise AssertionError("the network must be strongly typed")
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config()

    def create_optimization_profile(self) -> Any:
        shapes: dict[str, list[Shape]] = {}
        return SimpleNamespace(
            shapes=shapes, set_shape=lambda name, *ranges: shapes.__setitem__(name, list(ranges))
        )

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        self._module.builds += 1
        monitor = config.progress_monitor
        if monitor is not None:
            monitor.phase_start("Building", None, 2)
            if not all(monitor.step_complete("Building", i) for i in range(2)):
                return None
        assert config.timing is not None
        assert config.flags == set()
        config.timing.content += b"+"
        onnx = network.onnx if self._module.worsen is None else self._module.worsen(network.onnx)
        return make_plan(onnx, config.profiles[0] if config.profiles else {})


class FakeModule:
    """The parts of `tensorrt` that are used. failing: names of calls that shall fail.

    uncapturable: the network does what no CUDA graph may hold. capturable: what TensorRT for RTX
    answers when asked; None where, as in TensorRT, it cannot be asked.
    """

    __version__ = "10.3.0"
    ILogger = _LoggerBase
    TensorIOMode = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
    TensorLocation = SimpleNamespace(DEVICE="DEVICE", HOST="HOST")
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    MemoryPoolType = SimpleNamespace(WORKSPACE="WORKSPACE")
    BuilderFlag = SimpleNamespace(TF32="TF32")
    IProgressMonitor = _Monitor
    OnnxParser = _Parser

    def __init__(self, cuda: HasGpu) -> None:
        self.cuda = cuda
        self.failing: set[str] = set()
        self.uncapturable = False
        self.output_block = 1
        self.capturable: bool | None = None
        self.builds = 0
        self.worsen: Callable[[bytes], bytes] | None = None
        self._logger: Any = None

    def Builder(self, logger: Any) -> _Builder:  # noqa: N802
        self._logger = logger
        if "Builder" in self.failing:
            self.log("CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return _Builder(self)

    def Runtime(self, logger: Any) -> _Runtime:  # noqa: N802
        self._logger = logger
        if "Runtime" in self.failing:
            self.log("CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return _Runtime(self)

    def log(self, text: str) -> None:
        self._logger.log(1, text)

    @staticmethod
    def nptype(kind: Any) -> Any:
        if kind == "BFLOAT16":
            raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
        return kind


def fake_gpu() -> tuple[TensorRT, FakeCuda, FakeModule]:
    """A TensorRT, its CUDA, and the module whose `failing` a test may fill."""
    cuda = FakeCuda()
    module = FakeModule(cuda)
    return adopt(module, "tensorrt"), cuda, module


def put_in(monkeypatch: pytest.MonkeyPatch) -> FakeModule:
    """A GPU in this machine, and one golden picture."""
    trt, cuda, module = fake_gpu()
    gpu = Gpu(trt, cuda)
    monkeypatch.setattr("jetson_face.factory.gpu.this_gpu", lambda: gpu)
    monkeypatch.setattr("jetson_face.factory.plans.golden_pictures", lambda: golden_pictures()[3:4])
    return module
