"""What the TensorRT back end asks of CUDA: memory, copies, streams and captured graphs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


class Stream(Protocol):
    """Work in order; handle: the driver's pointer, for TensorRT."""

    @property
    def handle(self) -> int: ...
    def synchronize(self) -> object: ...
    def close(self) -> None: ...


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
    """One GPU. Every call but the first four is made inside `active()`, by any thread.

    access: what reaches the driver, `pycuda` or `libcuda`. allocations: how many blocks of memory
    were ever taken. Copies return at once: source and target must live, and the source must not
    change, until the stream is synchronised; pinned memory and the streams of a runtime live until
    they are freed, not until nobody holds them. Streams do not wait for the default stream.
    Raises EngineError whatever the driver answers but success, also for what its objects do; only
    where pycuda cannot free, as after an error that sticks, it warns on standard error instead.
    """

    @property
    def access(self) -> str: ...
    @property
    def device(self) -> str: ...
    @property
    def compute_capability(self) -> str: ...
    @property
    def allocations(self) -> int: ...
    def active(self) -> AbstractContextManager[None]: ...
    def stream(self) -> Stream: ...
    def device_memory(self, size: int) -> DeviceMemory: ...
    def pinned(self, size: int) -> Bytes: ...
    def free_pinned(self, memory: Bytes) -> None: ...
    def to_device(self, target: DeviceMemory, source: Bytes, stream: Stream) -> None: ...
    def to_host(self, target: Bytes, source: DeviceMemory, stream: Stream) -> None: ...
    def capture(self, stream: Stream, enqueue: Callable[[], None]) -> Graph: ...
