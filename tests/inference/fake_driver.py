"""A libcuda with C signatures, and a pycuda, over the simulated GPU.

The C signatures are stated here a second time, from NVIDIA's driver API reference and
independently of the product's: each function is a real C function pointer, so that a number passed
too short, a forgotten pointer or a wrong order of arguments fails as it would on a board.
pycuda behaves as its 2026.1 sources do: objects belong to the context that was current when they
were made, and warn instead of freeing where another one is.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_ulonglong, c_void_p
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from jetson_face.inference.cuda.driver import Driver
from tests.inference.sim_gpu import CONTEXT, INVALID_CONTEXT, NAMES, NO_DEVICE, Refused, SimGpu

PTR = POINTER(c_void_p)


class FakeLibcuda:
    """What `ctypes.CDLL("libcuda.so.1")` gives; missing: functions that an old driver lacks."""

    def __init__(self, gpu: SimGpu, missing: tuple[str, ...] = ()) -> None:
        self.gpu = gpu
        self.calls: list[str] = []
        self.broken: list[str] = []
        self._names = [c_char_p(text.encode()) for text in NAMES.values()]
        for name, (types, work) in self._table().items():
            if name not in missing:
                setattr(self, name, self._pointer(name, types, work))

    def _pointer(self, name: str, types: tuple[Any, ...], work: Callable[..., Any]) -> Any:
        def call(*args: Any) -> int:
            self.calls.append(name)
            try:
                work(*args)
            except Refused as refused:
                return refused.code
            except AssertionError as error:  # ctypes would only print it
                self.broken.append(str(error))
                return 999
            return 0

        return ctypes.CFUNCTYPE(c_int, *types)(call)

    def _table(self) -> dict[str, tuple[tuple[Any, ...], Callable[..., Any]]]:
        gpu = self.gpu

        def put(target: Any, value: int) -> None:
            target[0] = value

        def init(flags: int) -> None:
            gpu._maybe_refuse("init")
            if not gpu.count:
                raise Refused(NO_DEVICE)

        def name_of(buffer: int, size: int, device: int) -> None:
            text = gpu.name.encode()[: size - 1] + b"\0"
            ctypes.memmove(buffer, text, len(text))

        def attribute(target: Any, which: int, device: int) -> None:
            put(target, gpu.capability[{75: 0, 76: 1}[which]])

        def retain(target: Any, device: int) -> None:
            put(target, CONTEXT)

        def error_name(code: int, target: Any) -> None:
            target[0] = self._names[list(NAMES).index(code)] if code in NAMES else None

        return {
            "cuInit": ((c_uint,), init),
            "cuDeviceGetCount": ((POINTER(c_int),), lambda out: put(out, gpu.count)),
            "cuDeviceGet": ((POINTER(c_int), c_int), put),
            "cuDeviceGetName": ((c_void_p, c_int, c_int), name_of),
            "cuDeviceGetAttribute": ((POINTER(c_int), c_int, c_int), attribute),
            "cuDevicePrimaryCtxRetain": ((PTR, c_int), retain),
            "cuCtxPushCurrent_v2": ((c_void_p,), gpu.push),
            "cuCtxPopCurrent_v2": ((PTR,), lambda out: put(out, gpu.pop())),
            "cuStreamCreate": ((PTR, c_uint), lambda out, f: put(out, gpu.stream_create(f))),
            "cuStreamSynchronize": ((c_void_p,), gpu.synchronize),
            "cuStreamDestroy_v2": ((c_void_p,), gpu.stream_destroy),
            "cuMemAlloc_v2": ((POINTER(c_uint64), c_size_t), lambda o, n: put(o, gpu.alloc(n))),
            "cuMemFree_v2": ((c_uint64,), gpu.free),
            "cuMemHostAlloc": (
                (PTR, c_size_t, c_uint),
                lambda out, n, flags: put(out, gpu.host_alloc(n).ctypes.data),
            ),
            "cuMemFreeHost": ((c_void_p,), gpu.host_free),
            "cuMemcpyHtoDAsync_v2": ((c_uint64, c_void_p, c_size_t, c_void_p), gpu.copy_in),
            "cuMemcpyDtoHAsync_v2": ((c_void_p, c_uint64, c_size_t, c_void_p), gpu.copy_out),
            "cuStreamBeginCapture_v2": ((c_void_p, c_int), gpu.begin_capture),
            "cuStreamEndCapture": ((c_void_p, PTR), lambda s, o: put(o, gpu.end_capture(s))),
            "cuGraphInstantiateWithFlags": (
                (PTR, c_void_p, c_ulonglong),
                lambda out, graph, flags: put(out, gpu.instantiate(graph)),
            ),
            "cuGraphDestroy": ((c_void_p,), gpu.graph_destroy),
            "cuGraphLaunch": ((c_void_p, c_void_p), gpu.launch),
            "cuGraphExecDestroy": ((c_void_p,), gpu.executable_destroy),
            "cuGetErrorName": ((c_int, POINTER(c_char_p)), error_name),
        }


class FakePycuda(ModuleType):
    """`pycuda.driver`."""

    class Error(Exception):
        pass

    class LogicError(Error):
        pass

    def __init__(self, gpu: SimGpu) -> None:
        super().__init__("pycuda.driver")
        self.gpu = gpu
        self.warnings: list[str] = []
        self.Context = SimpleNamespace(pop=lambda: self.said("pop", gpu.pop))
        self.Device = self._device_class()

    def said(self, what: str, call: Callable[..., Any], *args: Any) -> Any:
        """What pycuda makes of the driver's answer."""
        try:
            return call(*args)
        except Refused as refused:
            raise self.LogicError(f"{what} failed: {refused}") from refused

    def _device_class(self) -> Any:
        driver = self

        class Device:
            def __init__(self, index: int) -> None:
                assert 0 <= index < driver.gpu.count

            @staticmethod
            def count() -> int:
                return driver.gpu.count

            def name(self) -> str:
                return driver.gpu.name

            def compute_capability(self) -> tuple[int, int]:
                return driver.gpu.capability

            def retain_primary_context(self) -> Any:
                push = driver.gpu.push
                return SimpleNamespace(push=lambda: driver.said("push", push, CONTEXT))

        return Device

    def init(self) -> None:
        self.said("init", self.gpu._maybe_refuse, "init")

    def Stream(self, flags: int = 0) -> Any:  # noqa: N802
        return _PycudaStream(self, flags)

    def mem_alloc(self, size: int) -> Any:
        return _DeviceAllocation(self, size)

    def pagelocked_empty(self, shape: int, dtype: Any) -> Any:
        assert dtype is np.uint8
        return np.asarray(_HostAllocation(self, shape))

    def memcpy_htod_async(self, dest: int, src: Any, stream: Any = None) -> None:
        assert isinstance(dest, int)
        where = (dest, src.ctypes.data, src.nbytes, stream.handle)
        self.said("memcpy_htod_async", self.gpu.copy_in, *where)

    def memcpy_dtoh_async(self, dest: Any, src: int, stream: Any = None) -> None:
        assert isinstance(src, int)
        assert dest.flags.writeable
        where = (dest.ctypes.data, src, dest.nbytes, stream.handle)
        self.said("memcpy_dtoh_async", self.gpu.copy_out, *where)


class _Owned:
    """Frees itself when nobody holds it, but only where its context is current."""

    def __init__(self, driver: FakePycuda) -> None:
        self._driver, self._valid = driver, False
        if not driver.gpu.is_current:
            raise FakePycuda.LogicError(f"no currently active context? ({INVALID_CONTEXT})")

    def _release(self) -> None:
        raise NotImplementedError

    def free(self) -> None:
        if not self._valid:
            raise FakePycuda.LogicError("free failed: invalid handle")
        self._valid = False
        if not self._driver.gpu.is_current:
            self._driver.warnings.append(f"{type(self).__name__} could not be cleaned up")
            return
        try:
            self._release()
        except Refused as refused:  # pycuda itself was seen to: tools/test_pycuda.sh
            self._driver.warnings.append(f"a clean-up operation failed: {refused}")

    def __del__(self) -> None:
        if self._valid:
            self.free()


class _PycudaStream(_Owned):
    def __init__(self, driver: FakePycuda, flags: int) -> None:
        super().__init__(driver)
        self.handle = driver.said("cuStreamCreate", driver.gpu.stream_create, flags)
        self._valid = True

    def _release(self) -> None:
        self._driver.gpu.stream_destroy(self.handle)

    def synchronize(self) -> None:
        self._driver.said("cuStreamSynchronize", self._driver.gpu.synchronize, self.handle)


class _DeviceAllocation(_Owned):
    def __init__(self, driver: FakePycuda, size: int) -> None:
        super().__init__(driver)
        self._address = driver.said("cuMemAlloc", driver.gpu.alloc, size)
        self._valid = True

    def __int__(self) -> int:
        return int(self._address)

    def _release(self) -> None:
        self._driver.gpu.free(self._address)


class _HostAllocation(_Owned):
    """numpy's array over it keeps it as `base`, as pycuda's does."""

    def __init__(self, driver: FakePycuda, size: int) -> None:
        super().__init__(driver)
        self._block = driver.said("cuMemHostAlloc", driver.gpu.host_alloc, size)
        self._valid = True

    @property
    def __array_interface__(self) -> dict[str, Any]:
        return dict(self._block.__array_interface__)

    def _release(self) -> None:
        self._driver.gpu.host_free(self._block.ctypes.data)


def install_pycuda(monkeypatch: pytest.MonkeyPatch, gpu: SimGpu) -> FakePycuda:
    """Make `import pycuda.driver` find the fake, and libcuda's graph calls the fake library."""
    driver, package = FakePycuda(gpu), ModuleType("pycuda")
    package.driver = driver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    libcuda = Driver(FakeLibcuda(gpu))
    monkeypatch.setattr("jetson_face.inference.cuda.pycuda.load_driver", lambda: libcuda)
    return driver
