"""A GPU and a TensorRT that are not there, so that the real back end's logic runs on any machine.

Device memory is numpy's; work waits on its stream until that is synchronised, so that a buffer
changed or freed too early gives a wrong answer here too. The plan's network runs in ONNX Runtime.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np

from jetson_face.backends.cuda import Bytes, DeviceMemory, Graph, Stream
from jetson_face.backends.onnx import OnnxBackend
from jetson_face.backends.trt_module import TensorRT, adopt
from jetson_face.errors import EngineError

Shape = tuple[int, ...]
Work = Callable[[], None]


class FakeMemory:
    def __init__(self, cuda: FakeCuda, size: int) -> None:
        self._cuda = cuda
        self.address = cuda.next_address
        cuda.next_address += 1 << 20
        cuda.memory[self.address] = np.full(size, 0xEE, np.uint8)

    def free(self) -> None:
        self._cuda.require_active()
        del self._cuda.memory[self.address]


class FakeStream:
    def __init__(self, cuda: FakeCuda, handle: int) -> None:
        self._cuda, self.handle = cuda, handle
        self.queue: list[Work] = []

    def synchronize(self) -> None:
        self._cuda.require_active()
        queue, self.queue = self.queue, []
        for work in queue:
            work()


class FakeGraph:
    def __init__(self, cuda: FakeCuda, queue: Sequence[Work]) -> None:
        self._cuda, self._queue = cuda, list(queue)
        self.launches = 0

    def launch(self, stream: Stream) -> None:
        self.launches += 1
        self._cuda.streams[stream.handle].queue.extend(self._queue)

    def close(self) -> None:
        self._cuda.graphs.remove(self)


class FakeCuda:
    """Implements `CudaRuntime`, and counts."""

    device = "Fake GPU"
    compute_capability = "8.7"

    def __init__(self) -> None:
        self.memory: dict[int, Bytes] = {}
        self.pinned_blocks: list[Bytes] = []
        self.streams: dict[int, FakeStream] = {}
        self.graphs: list[FakeGraph] = []
        self.next_address = 1 << 32
        self.allocations = 0
        self.memory_left = 1 << 40
        self._active = 0

    @contextmanager
    def active(self) -> Iterator[None]:
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1

    def require_active(self) -> None:
        if not self._active:
            raise AssertionError("CUDA was used outside its context")

    def stream(self) -> FakeStream:
        self.require_active()
        made = FakeStream(self, 7000 + len(self.streams))
        self.streams[made.handle] = made
        return made

    def _take(self, size: int) -> None:
        self.require_active()
        if size > self.memory_left:
            raise EngineError(f"CUDA has no {size} bytes of device memory left")
        self.memory_left -= size
        self.allocations += 1

    def device_memory(self, size: int) -> FakeMemory:
        self._take(size)
        return FakeMemory(self, size)

    def pinned(self, size: int) -> Bytes:
        self._take(size)
        block = np.full(size, 0xDD, np.uint8)
        self.pinned_blocks.append(block)
        return block

    def free_pinned(self, memory: Bytes) -> None:
        self.require_active()
        self.pinned_blocks = [b for b in self.pinned_blocks if b is not memory]

    def to_device(self, target: DeviceMemory, source: Bytes, stream: Stream) -> None:
        self.require_active()

        def copy() -> None:
            self.memory[target.address][: source.size] = source

        self.streams[stream.handle].queue.append(copy)

    def to_host(self, target: Bytes, source: DeviceMemory, stream: Stream) -> None:
        self.require_active()

        def copy() -> None:
            target[:] = self.memory[source.address][: target.size]

        self.streams[stream.handle].queue.append(copy)

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph:
        queue = self.streams[stream.handle].queue
        if queue:
            raise AssertionError("capture began with work under way")
        enqueue()
        graph = FakeGraph(self, queue)
        queue.clear()
        self.graphs.append(graph)
        return graph


def make_plan(onnx: bytes, profiles: Mapping[str, Sequence[Shape]] | None = None) -> bytes:
    """A plan for the fake: profiles are (min, opt, max) of each dynamic input."""
    return json.dumps({"profiles": profiles or {}}).encode() + b"\0" + onnx


class _Context:
    def __init__(self, engine: _Engine, cuda: FakeCuda) -> None:
        self._engine, self._cuda = engine, cuda
        self.shapes: dict[str, Shape] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        low, _, high = self._engine.get_tensor_profile_shape(name, 0)
        if any(not a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
            return self._engine.refuse(f"{name}: {shape} outside {low} to {high}")
        self.shapes[name] = tuple(shape)
        return "set_input_shape" not in self._engine.failing

    def infer_shapes(self) -> list[str]:
        missing = [n for n in self._engine.net.inputs if n not in self.shapes]
        return [*missing, "x"] if "infer_shapes" in self._engine.failing else missing

    def get_tensor_shape(self, name: str) -> Shape:
        if name in self.shapes:
            return self.shapes[name]
        if "get_tensor_shape" in self._engine.failing:
            return (-1, *self._shape_of(name)[1:])
        return self._shape_of(name)

    def _shape_of(self, name: str) -> Shape:
        net = self._engine.net
        zeros = {n: np.zeros(s, net.inputs[n].dtype) for n, s in self.shapes.items()}
        return tuple(net.run(zeros)[name].shape)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return "set_tensor_address" not in self._engine.failing

    def execute_async_v3(self, handle: int) -> bool:
        net, shapes = self._engine.net, dict(self.shapes)
        if "execute_async_v3" in self._engine.failing:
            return self._engine.refuse("Error Code 1: the fake refuses")
        if self.addresses.keys() != {*net.inputs, *net.outputs}:
            return self._engine.refuse("not every address is set")

        def work() -> None:
            feeds = {}
            for name, shape in shapes.items():
                raw, dtype = self._cuda.memory[self.addresses[name]], net.inputs[name].dtype
                size = int(np.prod(shape)) * dtype.itemsize
                feeds[name] = raw[:size].view(dtype).reshape(shape).copy()
            for name, value in net.run(feeds).items():
                data = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
                self._cuda.memory[self.addresses[name]][: data.size] = data

        self._cuda.streams[handle].queue.append(work)
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
        return _Context(self, self._module.cuda)

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
        config.timing.content += b"+"
        onnx = network.onnx if self._module.worsen is None else self._module.worsen(network.onnx)
        return make_plan(onnx, config.profiles[0] if config.profiles else {})


class FakeModule:
    """The parts of `tensorrt` that are used. failing: names of calls that shall fail."""

    __version__ = "10.3.0"
    ILogger = _LoggerBase
    TensorIOMode = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    MemoryPoolType = SimpleNamespace(WORKSPACE="WORKSPACE")
    IProgressMonitor = _Monitor
    OnnxParser = _Parser

    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.failing: set[str] = set()
        self.builds = 0
        self.worsen: Callable[[bytes], bytes] | None = None
        self._logger: Any = None

    def Builder(self, logger: Any) -> _Builder:  # noqa: N802
        return _Builder(self)

    def Runtime(self, logger: Any) -> _Runtime:  # noqa: N802
        self._logger = logger
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
