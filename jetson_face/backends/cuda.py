"""What the TensorRT back end asks of CUDA: memory, copies, streams and captured graphs."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from jetson_face.errors import EngineError, MissingDependencyError

Bytes = NDArray[np.uint8]


class Stream(Protocol):
    """Work in order; handle: the driver's pointer, for TensorRT."""

    @property
    def handle(self) -> int: ...
    def synchronize(self) -> object: ...


class DeviceMemory(Protocol):
    """A block of device memory; its address does not change until it is freed."""

    @property
    def address(self) -> int: ...
    def free(self) -> None: ...


class Graph(Protocol):
    """Captured work that one call launches."""

    def launch(self, stream: Stream) -> None: ...
    def close(self) -> None: ...


class CudaRuntime(Protocol):
    """One GPU. Every call but the first three is made inside `active()`.

    allocations: how many blocks of memory were ever taken. Copies return at once: source and
    target must live, and the source must not change, until the stream is synchronised.
    Raises EngineError whatever the driver answers but success.
    """

    @property
    def device(self) -> str: ...
    @property
    def compute_capability(self) -> str: ...
    def active(self) -> AbstractContextManager[None]: ...
    @property
    def allocations(self) -> int: ...
    def stream(self) -> Stream: ...
    def device_memory(self, size: int) -> DeviceMemory: ...
    def pinned(self, size: int) -> Bytes: ...
    def free_pinned(self, memory: Bytes) -> None: ...
    def to_device(self, target: DeviceMemory, source: Bytes, stream: Stream) -> None: ...
    def to_host(self, target: Bytes, source: DeviceMemory, stream: Stream) -> None: ...
    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph: ...


class _Memory:
    def __init__(self, allocation: Any) -> None:
        self._allocation = allocation
        self.address = int(allocation)

    def free(self) -> None:
        self._allocation.free()


class PycudaRuntime:
    """`CudaRuntime` over pycuda, on the GPU's primary context.

    The context is made current around each use and left again, so that any thread may call; it is
    the primary one, shared with whatever else in the process uses CUDA.
    Raises MissingDependencyError without pycuda, EngineError without a working GPU.
    """

    def __init__(self, index: int = 0) -> None:
        self._driver = _import_pycuda()
        self._allocations = 0
        with self._checked("cannot start: is the NVIDIA driver installed?"):
            self._driver.init()
            count = int(self._driver.Device.count())
            if index >= count:
                raise EngineError(f"CUDA finds {count} GPUs, number {index} was asked for")
            gpu = self._driver.Device(index)
            self._context = gpu.retain_primary_context()
            self.device = str(gpu.name())
            self.compute_capability = "{}.{}".format(*gpu.compute_capability())

    @property
    def allocations(self) -> int:
        """Blocks of memory ever taken."""
        return self._allocations

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the context current on this thread for the block."""
        with self._checked("cannot make its context current"):
            self._context.push()
        try:
            yield
        finally:
            self._driver.Context.pop()

    def stream(self) -> Stream:
        """A new stream."""
        with self._checked("cannot make a stream"):
            return self._driver.Stream()  # type: ignore[no-any-return]

    def device_memory(self, size: int) -> DeviceMemory:
        """`size` bytes of device memory."""
        self._allocations += 1
        with self._checked(f"has no {size} bytes of device memory left"):
            return _Memory(self._driver.mem_alloc(size))

    def pinned(self, size: int) -> Bytes:
        """`size` bytes of page-locked host memory."""
        self._allocations += 1
        with self._checked(f"has no {size} bytes of page-locked memory left"):
            return self._driver.pagelocked_empty(size, np.uint8)  # type: ignore[no-any-return]

    def free_pinned(self, memory: Bytes) -> None:
        """Give `pinned` memory back; views of it must not be used any more."""
        base: Any = memory.base
        base.free()

    def to_device(self, target: DeviceMemory, source: Bytes, stream: Stream) -> None:
        """Copy, asynchronously."""
        with self._checked("cannot copy to the device"):
            self._driver.memcpy_htod_async(target.address, source, stream)

    def to_host(self, target: Bytes, source: DeviceMemory, stream: Stream) -> None:
        """Copy, asynchronously."""
        with self._checked("cannot copy from the device"):
            self._driver.memcpy_dtoh_async(target, source.address, stream)

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph:
        """What `enqueue` puts on the stream, as a graph; nothing runs yet."""
        return capture_graph(ctypes.CDLL("libcuda.so.1"), stream, enqueue)

    @contextmanager
    def _checked(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._driver.Error as exc:
            raise EngineError(f"CUDA {what} ({exc})") from exc


_CAPTURE_THREAD_LOCAL = 1


class _DriverGraph:
    """A graph of the driver API: pycuda has none."""

    def __init__(self, cuda: Any, executable: ctypes.c_void_p) -> None:
        self._cuda, self._executable = cuda, executable

    def launch(self, stream: Stream) -> None:
        _call(self._cuda, "cuGraphLaunch", self._executable, ctypes.c_void_p(stream.handle))

    def close(self) -> None:
        _call(self._cuda, "cuGraphExecDestroy", self._executable)


def capture_graph(cuda: Any, stream: Stream, enqueue: Callable[[], None]) -> Graph:
    """Capture with the driver API. cuda: libcuda. Raises EngineError, or what `enqueue` raises."""
    handle = ctypes.c_void_p(stream.handle)
    graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
    _call(cuda, "cuStreamBeginCapture_v2", handle, ctypes.c_int(_CAPTURE_THREAD_LOCAL))
    try:
        enqueue()
    except BaseException:
        # The stream must leave capture mode; what the driver thinks of it now adds nothing.
        cuda.cuStreamEndCapture(handle, ctypes.byref(graph))
        raise
    _call(cuda, "cuStreamEndCapture", handle, ctypes.byref(graph))
    try:
        _call(
            cuda,
            "cuGraphInstantiateWithFlags",
            ctypes.byref(executable),
            graph,
            ctypes.c_ulonglong(0),
        )
    finally:
        _call(cuda, "cuGraphDestroy", graph)
    return _DriverGraph(cuda, executable)


def _call(cuda: Any, name: str, *args: Any) -> None:
    code = int(getattr(cuda, name)(*args))
    if code != 0:
        raise EngineError(f"CUDA driver: {name} answered error {code}")


def _import_pycuda() -> Any:
    try:
        import pycuda.driver as driver
    except ModuleNotFoundError as exc:
        raise MissingDependencyError(
            "pycuda is not installed: pip install 'jetson-face[jetson]' (it compiles against CUDA: "
            "put nvcc on PATH first)"
        ) from exc
    except ImportError as exc:  # as where libcuda.so.1 is missing
        raise EngineError(f"pycuda cannot be loaded ({exc}): is the NVIDIA driver here?") from exc
    return driver
