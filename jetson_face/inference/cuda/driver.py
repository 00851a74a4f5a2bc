"""CUDA through the driver's own library, libcuda, without anything to compile.

Signatures after NVIDIA's "CUDA Driver API" reference: a pointer, a stream, a graph and a context
are 64 bits, a device is an int, every call answers a CUresult.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_ulonglong, c_void_p
from functools import lru_cache
from typing import Any

import numpy as np

from jetson_face.core.errors import EngineError
from jetson_face.inference.cuda.base import Bytes, DeviceMemory, Graph, Stream

LIBRARY = "libcuda.so.1"
_NON_BLOCKING = 1
_CAPTURE_THREAD_LOCAL = 1
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_OUT = POINTER(c_void_p)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cuInit": (c_uint,),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (c_char_p, c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDevicePrimaryCtxRetain": (_OUT, c_int),
    "cuCtxPushCurrent_v2": (c_void_p,),
    "cuCtxPopCurrent_v2": (_OUT,),
    "cuStreamCreate": (_OUT, c_uint),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemHostAlloc": (_OUT, c_size_t, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, _OUT),
    "cuGraphInstantiateWithFlags": (_OUT, c_void_p, c_ulonglong),
    "cuGraphDestroy": (c_void_p,),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
}


class Driver:
    """libcuda with its signatures; `call` raises EngineError whatever it answers but success."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._functions: dict[str, Any] = {}
        self.bind(_SIGNATURES)

    def bind(self, signatures: Mapping[str, tuple[Any, ...]]) -> None:
        """Add functions: names and types of arguments. Raises EngineError where one is missing."""
        for name, arguments in signatures.items():
            try:
                function = getattr(self._library, name)
            except AttributeError as exc:
                raise EngineError(
                    f"the NVIDIA driver has no {name}: it is older than CUDA 11.4, update it"
                ) from exc
            function.argtypes, function.restype = arguments, c_int
            self._functions[name] = function

    def answer(self, name: str, *args: Any) -> int:
        """The CUresult, 0 for success."""
        return int(self._functions[name](*args))

    def call(self, name: str, *args: Any, what: str = "") -> None:
        """what: in words, what could not be done then."""
        code = self.answer(name, *args)
        if code != 0:
            said = f"{name} answered error {code} {self._name_of(code)}".rstrip()
            raise EngineError(f"CUDA {what} ({said})" if what else f"CUDA driver: {said}")

    def _name_of(self, code: int) -> str:
        text = c_char_p()
        known = self.answer("cuGetErrorName", code, ctypes.byref(text)) == 0 and text.value
        return text.value.decode("ascii", "replace") if known and text.value else ""


@lru_cache(maxsize=1)
def load_driver() -> Driver:
    """The driver of this machine. Raises EngineError where there is none."""
    try:
        return Driver(ctypes.CDLL(LIBRARY))
    except OSError as exc:
        raise EngineError(f"CUDA cannot start: is the NVIDIA driver installed? ({exc})") from exc


class _Stream:
    def __init__(self, driver: Driver, handle: int) -> None:
        self._driver, self.handle = driver, handle

    def synchronize(self) -> None:
        self._driver.call(
            "cuStreamSynchronize", self.handle, what="reports a failure of work under way"
        )

    def close(self) -> None:
        self._driver.call("cuStreamDestroy_v2", self.handle, what="cannot end a stream")


class _Memory:
    def __init__(self, driver: Driver, address: int) -> None:
        self._driver, self.address = driver, address

    def free(self) -> None:
        self._driver.call("cuMemFree_v2", self.address, what="cannot free device memory")


class DriverRuntime:
    """`CudaRuntime` over libcuda, on the GPU's primary context, which it holds until the end of
    the process. Raises EngineError without a working GPU.
    """

    access = "libcuda"

    def __init__(self, index: int = 0, driver: Driver | None = None) -> None:
        self._driver = driver or load_driver()
        self.allocations = 0
        call, count, gpu, context = self._driver.call, c_int(), c_int(), c_void_p()
        call("cuInit", 0, what="cannot start: is the NVIDIA driver installed?")
        call("cuDeviceGetCount", ctypes.byref(count), what="cannot count its GPUs")
        if index >= count.value:
            raise EngineError(f"CUDA finds {count.value} GPUs, number {index} was asked for")
        call("cuDeviceGet", ctypes.byref(gpu), index, what=f"cannot open GPU {index}")
        name = ctypes.create_string_buffer(256)
        call("cuDeviceGetName", name, len(name), gpu, what="cannot name its GPU")
        self.device = name.value.decode("utf-8", "replace")
        parts = [self._attribute(which, gpu) for which in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR)]
        self.compute_capability = "{}.{}".format(*parts)
        call("cuDevicePrimaryCtxRetain", ctypes.byref(context), gpu, what="has no context")
        self._context = context.value

    def _attribute(self, which: int, gpu: c_int) -> int:
        value = c_int()
        self._driver.call("cuDeviceGetAttribute", ctypes.byref(value), which, gpu)
        return value.value

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make the context current on this thread for the block."""
        what = "cannot make its context current"
        self._driver.call("cuCtxPushCurrent_v2", self._context, what=what)
        try:
            yield
        finally:
            left = c_void_p()
            self._driver.call(
                "cuCtxPopCurrent_v2", ctypes.byref(left), what="cannot leave its context"
            )

    def stream(self) -> Stream:
        """A new stream."""
        made = c_void_p()
        self._driver.call(
            "cuStreamCreate", ctypes.byref(made), _NON_BLOCKING, what="cannot make a stream"
        )
        return _Stream(self._driver, int(made.value or 0))

    def device_memory(self, size: int) -> DeviceMemory:
        """`size` bytes of device memory."""
        self.allocations += 1
        made, what = c_uint64(), f"has no {size} bytes of device memory left"
        self._driver.call("cuMemAlloc_v2", ctypes.byref(made), size, what=what)
        return _Memory(self._driver, made.value)

    def pinned(self, size: int) -> Bytes:
        """`size` bytes of page-locked host memory."""
        self.allocations += 1
        made, what = c_void_p(), f"has no {size} bytes of page-locked memory left"
        self._driver.call("cuMemHostAlloc", ctypes.byref(made), size, 0, what=what)
        block = (ctypes.c_uint8 * size).from_address(int(made.value or 0))
        return np.ctypeslib.as_array(block)

    def free_pinned(self, memory: Bytes) -> None:
        """Give `pinned` memory back; views of it must not be used any more."""
        address = memory.ctypes.data
        self._driver.call("cuMemFreeHost", address, what="cannot free page-locked memory")

    def to_device(self, target: DeviceMemory, source: Bytes, stream: Stream) -> None:
        """Copy, asynchronously. source: contiguous."""
        where = (target.address, source.ctypes.data, source.nbytes, stream.handle)
        self._driver.call("cuMemcpyHtoDAsync_v2", *where, what="cannot copy to the device")

    def to_host(self, target: Bytes, source: DeviceMemory, stream: Stream) -> None:
        """Copy, asynchronously. target: contiguous."""
        where = (target.ctypes.data, source.address, target.nbytes, stream.handle)
        self._driver.call("cuMemcpyDtoHAsync_v2", *where, what="cannot copy from the device")

    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph:
        """What `enqueue` puts on the stream, as a graph; nothing runs yet."""
        return capture_graph(self._driver, stream, enqueue)


class _DriverGraph:
    def __init__(self, driver: Driver, executable: c_void_p) -> None:
        self._driver, self._executable = driver, executable

    def launch(self, stream: Stream) -> None:
        self._driver.call("cuGraphLaunch", self._executable, stream.handle)

    def close(self) -> None:
        self._driver.call("cuGraphExecDestroy", self._executable)


def capture_graph(driver: Driver, stream: Stream, enqueue: Callable[[], None]) -> Graph:
    """What `enqueue` puts on the stream. Raises EngineError, or what `enqueue` raises.

    The stream is out of capture mode again whatever happens.
    """
    graph, executable = c_void_p(), c_void_p()
    driver.call("cuStreamBeginCapture_v2", stream.handle, _CAPTURE_THREAD_LOCAL)
    try:
        enqueue()
    except BaseException:
        # What the driver thinks of the cut-off capture adds nothing; half a graph is not kept.
        if driver.answer("cuStreamEndCapture", stream.handle, ctypes.byref(graph)) == 0 and graph:
            driver.answer("cuGraphDestroy", graph)
        raise
    driver.call("cuStreamEndCapture", stream.handle, ctypes.byref(graph))
    try:
        driver.call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, 0)
    finally:
        driver.call("cuGraphDestroy", graph)
    return _DriverGraph(driver, executable)
