"""TensorRT back end: tensor-name API, buffers taken once, every answer checked."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from jetson_face.core.errors import EngineError, ModelError
from jetson_face.inference.backend import Array, BackendInfo, TensorSpec, check_feeds
from jetson_face.inference.cuda.base import Bytes, CudaRuntime, DeviceMemory, Graph
from jetson_face.inference.tensorrt.bindings import TensorRT

log = logging.getLogger(__name__)

Shape = tuple[int, ...]
Shapes = tuple[Shape, ...]


@dataclass(slots=True, eq=False)
class _Slot:
    """One tensor's memory, sized for its largest shape, and the part that the last run used."""

    name: str
    dtype: np.dtype[Any]
    host: Bytes
    device: DeviceMemory
    used: Bytes
    view: Array

    def reshape(self, shape: Shape) -> None:
        size = math.prod(shape) * self.dtype.itemsize
        if size > self.host.size:
            raise EngineError(f"tensor {self.name!r} {shape} is larger than its buffer")
        self.used = self.host[:size]
        self.view = self.used.view(self.dtype).reshape(shape)


class TensorRTBackend:
    """Runs one plan.

    All memory, pinned and on the device, is taken in the constructor for the largest shapes of the
    plan's profile; a run takes none, unless its batch is above the profile's: then it is run in
    pieces and the outputs are fresh arrays. Otherwise outputs are views of pinned buffers that the
    next `run` overwrites. Where all shapes are fixed, copies and kernels are captured into one CUDA
    graph after the first run; where that is refused, a warning says so and it runs without.
    `close` frees everything; outputs must not be read after it.

    Order of one run: copy into pinned memory, then on one stream copy to the device, kernels, copy
    back, then wait for the stream: nothing is under way when `run` returns or raises.

    plan: checked bytes from the cache. precision: for `info`. Raises EngineError where the plan
    cannot be used here, on any failed call, and on shapes outside the profile.
    """

    def __init__(
        self,
        plan: bytes,
        *,
        trt: TensorRT,
        cuda: CudaRuntime,
        what: str,
        precision: str,
        use_graph: bool = True,
    ) -> None:
        self._trt, self._cuda, self._what = trt, cuda, what
        self._graph: Graph | None = None
        self._shapes: Shapes | None = None
        self.info = BackendInfo(trt.flavour, trt.version, cuda.device, precision)
        self._slots: dict[str, _Slot] = {}
        with self._using(), ExitStack() as owned:
            # Let go in reverse: the stream falls idle, memory goes, then context, engine, runtime.
            owned.callback(self._forget)
            self._open_plan(plan)
            self._names = self._tensor_names()
            self._ranges = {name: self._range_of(name) for name in self._names[0]}
            self.inputs = MappingProxyType({n: self._spec(n) for n in self._names[0]})
            self.outputs = MappingProxyType({n: self._spec(n) for n in self._names[1]})
            self._stream = cuda.stream()
            owned.callback(self._stream.close)
            largest = tuple(high for _, high in self._ranges.values())
            for name, shape in self._set_shapes(largest).items():
                self._slots[name] = self._allocate(name, shape, owned)
            self._feed_slots = [self._slots[n] for n in self._names[0]]
            self._result_slots = [self._slots[n] for n in self._names[1]]
            for slot in self._slots.values():
                self._check(
                    self._context.set_tensor_address(slot.name, slot.device.address),
                    f"set_tensor_address({slot.name!r})",
                )
            owned.callback(self._stream.synchronize)
            self._owned = owned.pop_all()
        self._batch_max = self._find_batch_max()
        self._use_graph = use_graph and all(low == high for low, high in self._ranges.values())
        self._open = True

    @property
    def graph_captured(self) -> bool:
        """Runs are launches of a captured graph from now on."""
        return self._graph is not None

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The network's outputs; views that the next run overwrites.

        Raises ModelError for feeds that do not fit, EngineError where TensorRT or CUDA fails.
        """
        if not self._open:
            raise ModelError(f"{self._what}: used after close()")
        check_feeds(self.inputs, feeds)
        shapes = tuple(feeds[name].shape for name in self._names[0])
        batch = shapes[0][0] if shapes[0] else 1
        if self._batch_max is not None and (batch == 0 or batch > self._batch_max):
            if any(shape[0] != batch for shape in shapes):
                raise ModelError(f"{self._what}: inputs differ in batch: {list(shapes)}")
            return self._run_empty(shapes) if batch == 0 else self._run_pieces(feeds, batch)
        self._check_ranges(shapes)
        with self._using():
            return self._run_once(feeds, shapes)

    def close(self) -> None:
        """Free memory, context and plan; harmless a second time. Raises EngineError."""
        if not self._open:
            return
        self._open = False
        with self._cuda.active():
            self._owned.close()  # all of it, even where one call fails

    def _open_plan(self, plan: bytes) -> None:
        try:
            self._runtime = self._trt.module.Runtime(self._trt.logger)
        except TypeError as exc:  # what pybind11 makes of a null pointer
            raise EngineError(
                f"{self._what}: TensorRT cannot start ({self._errors() or exc}): is the NVIDIA "
                "driver new enough for it?"
            ) from exc
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(
                f"{self._what}: this TensorRT cannot load the plan ({self._errors()}): run "
                "jetson-face engines build --force"
            )
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(
                f"{self._what}: TensorRT cannot make a context ({self._errors()}): is enough "
                "device memory free?"
            )

    def _forget(self) -> None:
        """A context must not outlive its engine, nor an engine its runtime."""
        self._graph = None
        for slot in self._slots.values():
            slot.used = slot.host = np.empty(0, np.uint8)
            slot.view = np.empty(0, slot.dtype)
        self._slots, self._feed_slots, self._result_slots = {}, [], []
        self._context = None
        self._engine = None
        self._runtime = None

    def _run_once(self, feeds: Mapping[str, Array], shapes: Shapes) -> dict[str, Array]:
        if shapes != self._shapes:
            self._reshape(shapes)
        for slot in self._feed_slots:
            np.copyto(slot.view, feeds[slot.name], casting="no")
        try:
            if self._graph is not None:
                self._graph.launch(self._stream)
            else:
                self._enqueue()
        finally:
            # Also after a refusal: the next run writes to memory that a copy may still read.
            self._stream.synchronize()
        if self._use_graph and self._graph is None:
            self._try_capture()
        return {slot.name: slot.view for slot in self._result_slots}

    def _enqueue(self) -> None:
        for slot in self._feed_slots:
            self._cuda.to_device(slot.device, slot.used, self._stream)
        self._check(self._context.execute_async_v3(self._stream.handle), "execute_async_v3")
        for slot in self._result_slots:
            self._cuda.to_host(slot.used, slot.device, self._stream)

    def _try_capture(self) -> None:
        """After the first run, which does work that must not be captured; not tried twice."""
        self._use_graph = False
        capturable = getattr(self._context, "is_stream_capturable", None)  # TensorRT for RTX only
        if capturable is not None and not capturable(self._stream.handle):
            log.info("%s: TensorRT does not let this plan be captured: no CUDA graph", self._what)
            return
        try:
            self._graph = self._cuda.capture(self._stream, self._enqueue)
        except EngineError as exc:
            log.warning("%s: runs without a CUDA graph, which is slower: %s", self._what, exc)
            return
        self._owned.callback(self._graph.close)

    def _reshape(self, shapes: Shapes) -> None:
        self._shapes = None  # half done is not done
        for name, shape in self._set_shapes(shapes).items():
            self._slots[name].reshape(shape)
        self._shapes = shapes

    def _set_shapes(self, shapes: Shapes) -> dict[str, Shape]:
        """Tell the context the inputs' shapes; all tensors' shapes."""
        for name, shape in zip(self._names[0], shapes, strict=True):
            self._check(
                self._context.set_input_shape(name, shape), f"set_input_shape({name!r}, {shape})"
            )
        try:
            missing = self._context.infer_shapes()
        except RuntimeError as exc:
            raise EngineError(
                f"{self._what}: TensorRT cannot infer shapes ({self._errors() or exc})"
            ) from exc
        if missing:
            raise EngineError(f"{self._what}: TensorRT cannot infer shapes: {list(missing)}")
        sizes = dict(zip(self._names[0], shapes, strict=True))
        for name in self._names[1]:
            sizes[name] = tuple(self._context.get_tensor_shape(name))
            if min(sizes[name], default=0) < 0:
                raise EngineError(
                    f"{self._what}: output {name!r} {sizes[name]} depends on the data, which is "
                    "not supported"
                )
        return sizes

    def _run_pieces(self, feeds: Mapping[str, Array], batch: int) -> dict[str, Array]:
        """A batch above the profile's, in pieces of the largest that the plan takes."""
        assert self._batch_max is not None
        whole: dict[str, Array] = {}
        for start in range(0, batch, self._batch_max):
            piece = {n: a[start : start + self._batch_max] for n, a in feeds.items()}
            for name, part in self.run(piece).items():
                if name not in whole:
                    whole[name] = np.empty((batch, *part.shape[1:]), part.dtype)
                whole[name][start : start + len(part)] = part
        return whole

    def _run_empty(self, shapes: Shapes) -> dict[str, Array]:
        """Outputs of no item: their other dimensions are those of a batch of one."""
        if any(0 in shape[1:] for shape in shapes):
            raise ModelError(f"{self._what}: empty inputs {list(shapes)}: only the batch may be 0")
        one = tuple((1, *shape[1:]) for shape in shapes)
        self._check_ranges(one)
        with self._using():
            self._reshape(one)
        return {
            slot.name: np.empty((0, *slot.view.shape[1:]), slot.dtype)
            for slot in self._result_slots
        }

    def _check_ranges(self, shapes: Shapes) -> None:
        for (name, (low, high)), shape in zip(self._ranges.items(), shapes, strict=True):
            if not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
                raise ModelError(
                    f"{self._what}: input {name!r} {shape} is outside what the plan was built for, "
                    f"{low} to {high}: run jetson-face engines build with a configuration that "
                    "fits, as detector.max_side_px"
                )

    def _tensor_names(self) -> tuple[list[str], list[str]]:
        """Inputs and outputs. All must live on the device: those of shapes do not."""
        every = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        for name in every:
            if self._engine.get_tensor_location(name) != self._trt.module.TensorLocation.DEVICE:
                raise EngineError(
                    f"{self._what}: tensor {name!r} is a shape that TensorRT wants in host memory, "
                    "which is not supported: give the network its shapes as constants"
                )
        as_input = self._trt.module.TensorIOMode.INPUT
        inputs = [n for n in every if self._engine.get_tensor_mode(n) == as_input]
        return inputs, [n for n in every if n not in inputs]

    def _spec(self, name: str) -> TensorSpec:
        shape = tuple(None if d < 0 else int(d) for d in self._engine.get_tensor_shape(name))
        kind = self._engine.get_tensor_dtype(name)
        try:
            return TensorSpec(np.dtype(self._trt.module.nptype(kind)), shape)
        except TypeError as exc:
            raise EngineError(f"{self._what}: tensor {name!r} is {kind}, unknown to numpy") from exc

    def _range_of(self, name: str) -> tuple[Shape, Shape]:
        shape = tuple(self._engine.get_tensor_shape(name))
        if min(shape, default=0) >= 0:
            return shape, shape
        low, _, high = self._engine.get_tensor_profile_shape(name, 0)
        return tuple(low), tuple(high)

    def _find_batch_max(self) -> int | None:
        """The largest batch, where every input's and output's first dimension is one."""
        specs = [*self.inputs.values(), *self.outputs.values()]
        if not all(spec.shape and spec.shape[0] is None for spec in specs):
            return None
        return min(high[0] for _, high in self._ranges.values())

    def _allocate(self, name: str, shape: Shape, owned: ExitStack) -> _Slot:
        """Memory for the largest shape; TensorRT may want an output's a little larger than that."""
        spec = self.inputs.get(name) or self.outputs[name]
        size = max(1, math.prod(shape) * spec.dtype.itemsize)
        if name in self.outputs:
            size = max(size, int(self._context.get_max_output_size(name)))
        device = self._cuda.device_memory(size)
        owned.callback(device.free)
        host = self._cuda.pinned(size)
        owned.callback(self._cuda.free_pinned, host)
        return _Slot(name, spec.dtype, host, device, host[:0], np.empty(0, spec.dtype))

    def _check(self, answer: Any, what: str) -> None:
        if not answer:
            raise EngineError(f"{self._what}: TensorRT refused {what} ({self._errors()})")

    @contextmanager
    def _using(self) -> Iterator[None]:
        """The CUDA context current, and TensorRT's errors at hand."""
        with self._cuda.active(), self._trt.journal.watch() as errors:
            self._errors = errors
            yield
