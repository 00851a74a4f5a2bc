"""Timings and memory of TensorRT plans, and the same plan run without our back end's code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from jetson_face.factory.gpu import Gpu
from jetson_face.factory.mtcnn import SEARCH
from jetson_face.factory.yunet import FRAME
from jetson_face.inference.backend import Array, Backend
from jetson_face.inference.cuda.base import Bytes, CudaRuntime
from jetson_face.inference.tensorrt.key import NetworkSpec
from jetson_face.inference.tensorrt.runtime import TensorRTBackend

BATCHES = {
    "pnet": (1,),
    "search": (1,),
    "rnet": (1, 16, 64),
    "onet": (1, 4, 16),
    "yunet": (1,),
    "yunet_frame": (1,),
    "yunet_tiles": (1, 4, 16),
    "embed": (1, 4, 16),
}
FLAT_MAX = 4 << 20
"""Bytes that many runs may add to the process."""
RATIO_MAX = 2.0
"""Our run over TensorRT's own loop."""


def run_times(run: Callable[[], Any], seconds: float) -> dict[str, float]:
    """Milliseconds of one call, after a warm-up: median, 95th percentile."""
    for _ in range(20):
        run()
    times: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until and len(times) < 5000:
        began = time.perf_counter()
        run()
        times.append((time.perf_counter() - began) * 1e3)
    return {
        "median_ms": float(np.median(times)),
        "p95_ms": float(np.percentile(times, 95)),
        "runs": len(times),
    }


def feed_of(spec: NetworkSpec, batch: int) -> dict[str, Array]:
    """Random input of the profile's usual size; a search takes the bytes of a frame."""
    rng = np.random.default_rng(0)
    kind = np.uint8 if spec.name in (SEARCH, FRAME) else np.float32
    return {
        name: rng.uniform(0, 255, (batch, *ranges.opt[1:])).astype(kind)
        for name, ranges in spec.profiles.items()
    }


class BareLoop:
    """TensorRT's own loop in Python: one context, enqueued back to back, one wait at the end.

    As trtexec does it: pinned buffers, copies in and out on the same stream, no wait between runs.
    Only the memory comes from `cuda`; the back end is not used.
    """

    def __init__(self, gpu: Gpu, plan: bytes, feed: Mapping[str, Array]) -> None:
        self._cuda: CudaRuntime = gpu.cuda
        module = gpu.trt.module
        self._stack = ExitStack()
        with gpu.cuda.active():
            self._engine = module.Runtime(gpu.trt.logger).deserialize_cuda_engine(plan)
            if self._engine is None:
                raise RuntimeError("TensorRT cannot load the plan")
            self._context = self._engine.create_execution_context()
            self._stream = gpu.cuda.stream()
            self._inputs: list[tuple[Any, Bytes]] = []
            self._outputs: list[tuple[Any, Bytes]] = []
            for name, value in feed.items():
                assert self._context.set_input_shape(name, value.shape)
            for i in range(self._engine.num_io_tensors):
                self._buffer(self._engine.get_tensor_name(i), module, feed)

    def _buffer(self, name: str, module: Any, feed: Mapping[str, Array]) -> None:
        shape = tuple(self._context.get_tensor_shape(name))
        dtype = np.dtype(module.nptype(self._engine.get_tensor_dtype(name)))
        size = int(np.prod(shape)) * dtype.itemsize
        room = size if name in feed else max(size, self._context.get_max_output_size(name))
        device = self._cuda.device_memory(room)
        self._stack.callback(device.free)
        host = self._cuda.pinned(size)
        self._stack.callback(self._cuda.free_pinned, host)
        assert self._context.set_tensor_address(name, device.address)
        if name in feed:
            host.view(dtype).reshape(shape)[...] = feed[name]
            self._inputs.append((device, host))
        else:
            self._outputs.append((device, host))

    def _once(self, copies: bool) -> None:
        for device, host in self._inputs if copies else ():
            self._cuda.to_device(device, host, self._stream)
        assert self._context.execute_async_v3(self._stream.handle)
        for device, host in self._outputs if copies else ():
            self._cuda.to_host(host, device, self._stream)

    def milliseconds(self, seconds: float, *, copies: bool, each_wait: bool = False) -> float:
        """One run. each_wait: wait for each, as a caller that wants the answer must."""
        with self._cuda.active():
            for _ in range(10):
                self._once(copies)
            self._stream.synchronize()
            count, began = 0, time.perf_counter()
            while time.perf_counter() - began < seconds:
                for _ in range(20):
                    self._once(copies)
                    if each_wait:
                        self._stream.synchronize()
                self._stream.synchronize()
                count += 20
            return (time.perf_counter() - began) * 1e3 / count

    def close(self) -> None:
        """Give everything back."""
        with self._cuda.active():
            self._context = None
            self._stack.close()
            self._stream.close()
            self._engine = None


def measure(
    backend: Backend,
    spec: NetworkSpec,
    seconds: float,
    gpu: Gpu | None = None,
    plan: bytes = b"",
) -> list[dict[str, Any]]:
    """One row for each batch; with a GPU also what TensorRT takes without us.

    bare_ms: kernels only, back to back. loop_ms: with copies, one wait at the end. wait_ms: with
    copies, a wait for each: what a caller can reach at best. times_loop: ours over loop_ms.
    """
    rows = []
    for batch in BATCHES[spec.name]:
        feed = feed_of(spec, batch)
        row: dict[str, Any] = {"network": spec.name, "batch": batch}
        row |= {"runner": backend.info.name, "precision": backend.info.precision}
        row |= run_times(lambda feed=feed: backend.run(feed), seconds)  # type: ignore[misc]
        row["per_second"] = batch / row["median_ms"] * 1e3
        if gpu is not None:
            loop = BareLoop(gpu, plan, feed)
            row["bare_ms"] = loop.milliseconds(seconds / 2, copies=False)
            row["loop_ms"] = loop.milliseconds(seconds / 2, copies=True)
            row["wait_ms"] = loop.milliseconds(seconds / 2, copies=True, each_wait=True)
            loop.close()
            row["times_loop"] = row["median_ms"] / row["loop_ms"]
        rows.append(row)
    return rows


def trtexec(plan: bytes, spec: NetworkSpec, seconds: float) -> dict[str, Any]:
    """What NVIDIA's own program says of this plan; says so where it is not installed."""
    folders = ["/usr/src/tensorrt/bin", os.environ.get("PATH", "")]
    program = shutil.which("trtexec", path=os.pathsep.join(folders))
    if program is None:
        return {"found": False, "why": "no trtexec on PATH or in /usr/src/tensorrt/bin"}
    shapes = ",".join(f"{n}:{'x'.join(map(str, r.opt))}" for n, r in spec.profiles.items())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plan"
        path.write_bytes(plan)
        words = [program, f"--loadEngine={path}", f"--shapes={shapes}"]
        words += [f"--duration={max(1, round(seconds))}", "--iterations=50", "--warmUp=200"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    said = done.stdout + done.stderr
    if done.returncode:
        return {"found": True, "shapes": shapes, "error": said[-800:]}
    rate = re.search(r"Throughput: ([\d.]+) qps", said)
    time_ms = re.search(r"GPU Compute Time: .*?median = ([\d.]+) ms", said)
    return {
        "found": True,
        "shapes": shapes,
        "runs_per_second": float(rate[1]) if rate else None,
        "gpu_compute_median_ms": float(time_ms[1]) if time_ms else None,
    }


def flat_memory(gpu: Gpu, backend: TensorRTBackend, spec: NetworkSpec, runs: int) -> dict[str, Any]:
    """Many runs: blocks of memory taken, growth of the process, growth on the device.

    Raises RuntimeError where it is not flat.
    """
    feeds = [feed_of(spec, batch) for batch in BATCHES[spec.name]]
    for feed in feeds * min(50, max(1, runs // 2)):
        backend.run(feed)
    taken, before, device = gpu.cuda.allocations, resident_bytes(), device_mib()
    for i in range(runs):
        backend.run(feeds[i % len(feeds)])
    found: dict[str, Any] = {
        "runs": runs,
        "allocations": gpu.cuda.allocations - taken,
        "process_growth_bytes": resident_bytes() - before,
        "device_growth_mib": None if device is None else (device_mib() or 0) - device,
    }
    if found["allocations"] or found["process_growth_bytes"] > FLAT_MAX:
        raise RuntimeError(f"memory is not flat: {found}")
    return found


def resident_bytes() -> int:
    """Of this process, now."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def device_mib() -> int | None:
    """Memory in use on the GPU, by anybody; None where nvidia-smi does not say, as on a Jetson."""
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return None
    words = [smi, "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    said = subprocess.run(words, capture_output=True, text=True).stdout.split()
    return int(said[0]) if said and said[0].isdecimal() else None


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The timings as text."""
    lines = [
        f"{'network':<12}{'runner':<14}{'prec.':<7}{'batch':>5}{'median ms':>11}{'p95 ms':>9}"
        f"{'items/s':>10}{'kernels':>9}{'loop':>9}{'waiting':>9}{'x loop':>8}"
    ]
    for row in rows:
        bare = ""
        if "loop_ms" in row:
            bare = f"{row['bare_ms']:9.3f}{row['loop_ms']:9.3f}{row['wait_ms']:9.3f}"
            bare += f"{row['times_loop']:8.2f}"
        lines.append(
            f"{row['network']:<12}{row['runner']:<14}{row['precision']:<7}{row['batch']:>5}"
            f"{row['median_ms']:>11.3f}{row['p95_ms']:>9.3f}{row['per_second']:>10.0f}{bare}"
        )
    return "\n".join(lines)
