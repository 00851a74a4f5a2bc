"""CUDA through pycuda."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from jetson_face.core.errors import EngineError, MissingDependencyError
from jetson_face.inference.cuda.base import Bytes, DeviceMemory, Graph, Stream
from jetson_face.inference.cuda.driver import capture_graph, load_driver
from jetson_face.util.optional import pip_install

_NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING: work elsewhere on the default stream would break a capture."""
Checked = Callable[[str], Any]


class PycudaBrokenError(EngineError):
    """pycuda is installed, but cannot be imported."""


class _Memory:
    def __init__(self, allocation: Any, checked: Checked) -> None:
        self._allocation, self._checked = allocation, checked
        self.address = int(allocation)

    def free(self) -> None:
        with self._checked("cannot free device memory"):
            self._allocation.free()


class _Stream:
    """pycuda's stream, `inner` for its own calls; it destroys the driver's when nobody holds it,
    so `close` lets it go."""

    def __init__(self, inner: Any, checked: Checked) -> None:
        self.inner, self._checked = inner, checked
        self.handle = int(inner.handle)

    def synchronize(self) -> None:
        with self._checked("reports a failure of work under way"):
            self.inner.synchronize()

    def close(self) -> None:
        self.inner = None


class PycudaRuntime:
    """`CudaRuntime` over pycuda, on the GPU's primary context.

    The context is made current around each use and left again, so that any thread may call; it is
    the primary one, shared with whatever else in the process uses CUDA (TensorRT itself does).
    pycuda frees nothing from a thread that has another or no context, it only warns: everything is
    freed explicitly inside `active()`.
    Raises MissingDependencyError without pycuda, PycudaBrokenError, EngineError without a working
    GPU.
    """

    access = "pycuda"

    def __init__(self, index: int = 0) -> None:
        self._driver = _import_pycuda()
        self.allocations = 0
        with self._checked("cannot start: is the NVIDIA driver installed?"):
            self._driver.init()
            count = int(self._driver.Device.count())
            if index >= count:
                raise EngineError(f"CUDA finds {count} GPUs, number {index} was asked for")
            gpu = self._driver.Device(index)
            self._context = gpu.retain_primary_context()
            self.device = str(gpu.name())
            self.compute_capability = "{}.{}".format(*gpu.compute_capability())

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the context current on this thread for the block."""
        with self._checked("cannot make its context current"):
            self._context.push()
        try:
            yield
        finally:
            with self._checked("cannot leave its context"):
                self._driver.Context.pop()

    def stream(self) -> Stream:
        """A new stream."""
        with self._checked("cannot make a stream"):
            return _Stream(self._driver.Stream(_NON_BLOCKING), self._checked)

    def device_memory(self, size: int) -> DeviceMemory:
        """`size` bytes of device memory."""
        self.allocations += 1
        with self._checked(f"has no {size} bytes of device memory left"):
            return _Memory(self._driver.mem_alloc(size), self._checked)

    def pinned(self, size: int) -> Bytes:
        """`size` bytes of page-locked host memory."""
        self.allocations += 1
        with self._checked(f"has no {size} bytes of page-locked memory left"):
            return self._driver.pagelocked_empty(size, np.uint8)  # type: ignore[no-any-return]

    def free_pinned(self, memory: Bytes) -> None:
        """Give `pinned` memory back; views of it must not be used any more."""
        base: Any = memory.base
        with self._checked("cannot free page-locked memory"):
            base.free()

    def to_device(self, target: DeviceMemory, source: Bytes, stream: Stream) -> None:
        """Copy, asynchronously."""
        with self._checked("cannot copy to the device"):
            self._driver.memcpy_htod_async(target.address, source, _inner(stream))

    def to_host(self, target: Bytes, source: DeviceMemory, stream: Stream) -> None:
        """Copy, asynchronously."""
        with self._checked("cannot copy from the device"):
            self._driver.memcpy_dtoh_async(target, source.address, _inner(stream))

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph:
        """What `enqueue` puts on the stream, as a graph; nothing runs yet.

        pycuda has no graphs: the driver is called directly.
        """
        return capture_graph(load_driver(), stream, enqueue)

    @contextmanager
    def _checked(self, what: str) -> Iterator[None]:
        try:
            yield
        except self._driver.Error as exc:
            raise EngineError(f"CUDA {what} ({exc})") from exc


def _inner(stream: Stream) -> Any:
    assert isinstance(stream, _Stream)
    return stream.inner


def _import_pycuda() -> Any:
    try:
        import pycuda.driver as driver
    except ModuleNotFoundError as exc:
        if exc.name not in ("pycuda", "pycuda.driver"):
            raise PycudaBrokenError(f"pycuda cannot be loaded ({exc})") from exc
        raise MissingDependencyError(
            f"pycuda is not installed: {pip_install('pycuda')} (it compiles against CUDA: "
            "put nvcc on PATH first)"
        ) from exc
    except Exception as exc:  # compiled for another CUDA, numpy or Python, it raises anything
        raise PycudaBrokenError(f"pycuda cannot be loaded ({exc})") from exc
    return driver
