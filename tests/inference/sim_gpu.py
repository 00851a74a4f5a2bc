"""A GPU that is not there: its memory, contexts, streams and graphs as the CUDA driver rules them.

Three faces of it are what the product talks to: `FakeCuda` (fake_gpu.py), a libcuda with C
signatures and a pycuda (fake_driver.py). Work waits on its stream until that is synchronised, so
that a buffer changed or freed too early gives a wrong answer here too. What a real driver answers
with an error raises `Refused` with that error's number; what a real one would let pass and then
crash on, or silently answer wrong, raises AssertionError.

Its limits, so that nobody takes a green test for more than it is:

- No kernel runs. Numbers come from ONNX Runtime, so that rounding, FP16, INT8 and everything else
  that a GPU computes otherwise are not shown; the parity gate is what judges them on a board.
- Nothing is asynchronous but by the rules: work runs when its stream is synchronised, in order, on
  the calling thread. Races between a copy and a kernel of two streams cannot be seen.
- Addresses have no alignment, memory has no fragments, and is the GPU's alone: on a Jetson it is
  the system's, and the builder, the camera and the desktop take from it.
- Threads: contexts are a stack for each thread, as the driver's, but the driver's own locks, and
  TensorRT's rule of one thread a context, are not played.
- An error does not stick here: after CUDA_ERROR_ILLEGAL_ADDRESS (700) a real context refuses every
  call until the process ends, also those that free. libcuda/standin.c plays that, for both ways to
  CUDA (tools/test_pycuda.sh).
- Whether a capture is refused, which calls end one, and what a launch costs, is after the driver's
  documentation, not seen.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Work = Callable[[], None]
Bytes = NDArray[np.uint8]

INVALID_VALUE, OUT_OF_MEMORY, NO_DEVICE, INVALID_CONTEXT = 1, 2, 100, 201
INVALID_HANDLE, CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED = 400, 900, 901
NAMES = {
    INVALID_VALUE: "CUDA_ERROR_INVALID_VALUE",
    OUT_OF_MEMORY: "CUDA_ERROR_OUT_OF_MEMORY",
    NO_DEVICE: "CUDA_ERROR_NO_DEVICE",
    INVALID_CONTEXT: "CUDA_ERROR_INVALID_CONTEXT",
    INVALID_HANDLE: "CUDA_ERROR_INVALID_HANDLE",
    CAPTURE_UNSUPPORTED: "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED",
    CAPTURE_INVALIDATED: "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
}
CONTEXT = 0x7F00_0000_1000
NON_BLOCKING = 1


class Refused(Exception):  # noqa: N818
    """The driver answers with an error."""

    def __init__(self, code: int) -> None:
        super().__init__(NAMES.get(code, str(code)))
        self.code = code


@dataclass(eq=False)
class SimStream:
    """captured: what is being recorded, None outside a capture. valid: the capture may end well."""

    queue: list[Work] = field(default_factory=list)
    captured: list[Work] | None = None
    valid: bool = True


class SimGpu:
    """One device. refuse: codes to answer with, by the name of a method."""

    name = "Fake GPU"
    capability = (8, 7)

    def __init__(self) -> None:
        self.count = 1
        self.refuse: dict[str, int] = {}
        self.memory: dict[int, Bytes] = {}
        self.host: dict[int, Bytes] = {}
        self.streams: dict[int, SimStream] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.executables: dict[int, list[Work]] = {}
        self.launches = 0
        self.memory_left = 1 << 40
        self._next = 0x7F12_3400_0000  # above 32 bits: a handle cut to an int is noticed
        self._local = threading.local()

    # contexts: a stack for each thread
    @property
    def _stack(self) -> list[int]:
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        stack: list[int] = self._local.stack
        return stack

    @property
    def is_current(self) -> bool:
        """Has this thread a context?"""
        return bool(self._stack)

    def push(self, context: int) -> None:
        self._maybe_refuse("push")
        if context != CONTEXT:
            raise Refused(INVALID_CONTEXT)
        self._stack.append(context)

    def pop(self) -> int:
        if not self._stack:
            raise Refused(INVALID_CONTEXT)
        return self._stack.pop()

    def _maybe_refuse(self, name: str) -> None:
        if name in self.refuse:
            raise Refused(self.refuse[name])

    def _enter(self, name: str, *, unsafe_in_capture: bool = False) -> None:
        self._maybe_refuse(name)
        if not self.is_current:
            raise Refused(INVALID_CONTEXT)
        if unsafe_in_capture:
            for stream in self.streams.values():
                if stream.captured is not None:
                    stream.valid = False
                    raise Refused(CAPTURE_UNSUPPORTED)

    def handle(self) -> int:
        """A number that was not given before."""
        self._next += 0x1000
        return self._next

    # memory
    def alloc(self, size: int) -> int:
        self._enter("alloc", unsafe_in_capture=True)
        self._take(size)
        address = self.handle() + (self.handle() << 4)
        self.memory[address] = np.full(size, 0xEE, np.uint8)
        return address

    def host_alloc(self, size: int) -> Bytes:
        self._enter("host_alloc", unsafe_in_capture=True)
        self._take(size)
        block = np.full(size, 0xDD, np.uint8)
        self.host[block.ctypes.data] = block
        return block

    def _take(self, size: int) -> None:
        if size == 0:
            raise Refused(INVALID_VALUE)
        if size > self.memory_left:
            raise Refused(OUT_OF_MEMORY)
        self.memory_left -= size

    def free(self, address: int) -> None:
        self._enter("free", unsafe_in_capture=True)
        self._idle("device memory")
        if self.memory.pop(address, None) is None:
            raise Refused(INVALID_VALUE)

    def host_free(self, address: int) -> None:
        self._enter("host_free", unsafe_in_capture=True)
        self._idle("page-locked memory")
        if self.host.pop(address, None) is None:
            raise Refused(INVALID_VALUE)

    def _idle(self, what: str) -> None:
        if any(stream.queue for stream in self.streams.values()):
            raise AssertionError(f"{what} was freed with work under way")

    # streams
    def stream_create(self, flags: int) -> int:
        self._enter("stream_create")
        if flags != NON_BLOCKING:
            raise AssertionError("a stream that waits for the default one breaks captures")
        made = self.handle()
        self.streams[made] = SimStream()
        return made

    def _stream(self, handle: int) -> SimStream:
        if handle not in self.streams:
            raise Refused(INVALID_HANDLE)
        return self.streams[handle]

    def stream_destroy(self, handle: int) -> None:
        self._enter("stream_destroy")
        self._stream(handle)
        del self.streams[handle]

    def synchronize(self, handle: int) -> None:
        self._enter("synchronize")
        stream = self._stream(handle)
        if stream.captured is not None:
            stream.valid = False
            raise Refused(CAPTURE_UNSUPPORTED)
        queue, stream.queue = stream.queue, []
        for work in queue:
            work()

    def is_capturing(self, handle: int) -> bool:
        return self._stream(handle).captured is not None

    def invalidate(self, handle: int) -> None:
        """Something on the stream was done that must not be captured."""
        self._stream(handle).valid = False

    def put(self, handle: int, work: Work) -> None:
        """Work for the stream, or for the graph that is captured from it."""
        self._enter("put")
        stream = self._stream(handle)
        (stream.queue if stream.captured is None else stream.captured).append(work)

    def copy_in(self, target: int, source: int, size: int, handle: int) -> None:
        """source: an address in this process."""
        self._maybe_refuse("copy_in")
        block = self.block(target, size)
        self._pinned(source, size)
        self.put(handle, lambda: _move(block.ctypes.data, source, size))

    def copy_out(self, target: int, source: int, size: int, handle: int) -> None:
        """target: an address in this process."""
        self._maybe_refuse("copy_out")
        block = self.block(source, size)
        self._pinned(target, size)
        self.put(handle, lambda: _move(target, block.ctypes.data, size))

    def block(self, address: int, size: int) -> Bytes:
        """`size` bytes of device memory."""
        if address not in self.memory or size > len(self.memory[address]):
            raise Refused(INVALID_VALUE)
        return self.memory[address]

    def _pinned(self, address: int, size: int) -> None:
        inside = any(a <= address and address + size <= a + len(b) for a, b in self.host.items())
        if not inside:
            raise AssertionError("an asynchronous copy from or to memory that is not page-locked")

    # graphs
    def begin_capture(self, handle: int, mode: int) -> None:
        self._enter("begin_capture")
        stream = self._stream(handle)
        if mode != 1:
            raise AssertionError("the capture must not stop other threads: thread-local mode")
        if stream.queue:
            raise AssertionError("a capture began with work under way")
        if stream.captured is not None:
            raise Refused(CAPTURE_UNSUPPORTED)
        stream.captured, stream.valid = [], True

    def end_capture(self, handle: int) -> int:
        stream = self._stream(handle)
        captured, stream.captured = stream.captured, None
        self._enter("end_capture")
        if captured is None:
            raise Refused(INVALID_VALUE)
        if not stream.valid:
            raise Refused(CAPTURE_INVALIDATED)
        graph = self.handle()
        self.graphs[graph] = captured
        return graph

    def instantiate(self, graph: int) -> int:
        self._enter("instantiate")
        made = self.handle()
        self.executables[made] = list(self.graphs[graph])
        return made

    def graph_destroy(self, graph: int) -> None:
        del self.graphs[graph]

    def launch(self, executable: int, handle: int) -> None:
        self._enter("launch")
        if executable not in self.executables:
            raise Refused(INVALID_HANDLE)
        self.launches += 1
        self._stream(handle).queue.extend(self.executables[executable])

    def executable_destroy(self, executable: int) -> None:
        self._enter("executable_destroy")
        if self.executables.pop(executable, None) is None:
            raise Refused(INVALID_HANDLE)

    @property
    def clean(self) -> bool:
        """Everything that was taken was given back."""
        return not (self.memory or self.host or self.streams or self.graphs or self.executables)


def _move(target: int, source: int, size: int) -> None:
    ctypes.memmove(target, source, size)
