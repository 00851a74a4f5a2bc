"""Everything about TensorRT that needs an NVIDIA GPU, in one run: one table and one JSON.

Run by tools/gpu_check.sh. A step that fails says exactly what was answered, and the rest goes on.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from jetson_face import __version__
from jetson_face.backends.base import Array, Backend
from jetson_face.backends.onnx import OnnxBackend
from jetson_face.backends.tensorrt import TensorRTBackend
from jetson_face.config import Config, load_config
from jetson_face.engine.key import NetworkSpec
from jetson_face.plans import Gpu, Plans, networks_of, this_gpu

PRECISIONS = ("fp32", "fp16", "int8")
BATCHES = {"pnet": (1,), "rnet": (1, 16, 64), "onet": (1, 4, 16), "embed": (1, 4, 16)}
FLAT_RUNS = 10_000
FLAT_MAX = 4 << 20
"""Bytes that 10,000 runs may add to the process or the device."""


class Book:
    """What was found, step by step."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {"steps": {}}

    def step(self, name: str, work: Callable[[], Any]) -> Any:
        """Run one step; an error is a result too."""
        print(f"== {name}", flush=True)
        began = time.monotonic()
        try:
            answer, error = work(), None
        except Exception as exc:
            answer, error = None, f"{type(exc).__name__}: {exc}"
            traceback.print_exc()
        self.data["steps"][name] = {
            "ok": error is None,
            "seconds": round(time.monotonic() - began, 2),
            "error": error,
            "result": answer,
        }
        return answer


def machine_facts() -> dict[str, Any]:
    """Machine, driver and versions."""
    smi = shutil.which("nvidia-smi")
    names = "name,driver_version,memory.total,clocks.max.sm,power.limit"
    query = [smi, f"--query-gpu={names}", "--format=csv,noheader"] if smi else None
    return {
        "jetson_face": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "nvidia_smi": subprocess.run(query, capture_output=True, text=True).stdout if query else "",
    }


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
    """Random input of the profile's usual size."""
    rng = np.random.default_rng(0)
    return {
        name: rng.uniform(0, 255, (batch, *ranges.opt[1:])).astype(np.float32)
        for name, ranges in spec.profiles.items()
    }


def bare_loop(gpu: Gpu, backend: TensorRTBackend, seconds: float) -> float:
    """Milliseconds a run of TensorRT alone: enqueued back to back, no copies, one wait at the end.

    The shapes are those of the back end's last run.
    """
    context, stream = backend._context, backend._stream
    with gpu.cuda.active():
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            for _ in range(50):
                context.execute_async_v3(stream.handle)
            stream.synchronize()
            count += 50
        return (time.perf_counter() - began) * 1e3 / count


def measure(
    backend: Backend, spec: NetworkSpec, seconds: float, gpu: Gpu | None = None
) -> list[dict[str, Any]]:
    """One row for each batch."""
    rows = []
    for batch in BATCHES[spec.name]:
        feed = feed_of(spec, batch)
        row: dict[str, Any] = {"network": spec.name, "batch": batch}
        row |= {"runner": backend.info.name, "precision": backend.info.precision}
        row |= run_times(lambda feed=feed: backend.run(feed), seconds)  # type: ignore[misc]
        row["per_second"] = batch / row["median_ms"] * 1e3
        if gpu is not None and isinstance(backend, TensorRTBackend):
            row["bare_ms"] = bare_loop(gpu, backend, seconds)
            row["times_bare"] = row["median_ms"] / row["bare_ms"]
        rows.append(row)
    return rows


def flat_memory(gpu: Gpu, backend: TensorRTBackend, spec: NetworkSpec) -> dict[str, Any]:
    """10,000 runs: blocks of memory taken, and growth of the process."""
    feeds = [feed_of(spec, batch) for batch in BATCHES[spec.name]]
    for feed in feeds * 50:
        backend.run(feed)
    taken = gpu.cuda.allocations
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    for i in range(FLAT_RUNS):
        backend.run(feeds[i % len(feeds)])
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before
    found = {"runs": FLAT_RUNS, "allocations": gpu.cuda.allocations - taken, "peak_growth": grown}
    if found["allocations"] or grown > FLAT_MAX:
        raise RuntimeError(f"memory is not flat: {found}")
    return found


def config_for(args: argparse.Namespace, precision: str) -> Config:
    """The configuration of one precision, with its own cache."""
    words = ["backend.type=tensorrt", f"backend.precision={precision}"]
    words += [f"engines.cache={args.cache}"]
    words += [f"embedder.model={args.embedder}"] if args.embedder else []
    return load_config(args.config, [*words, *args.overrides])


def check_precision(
    book: Book, args: argparse.Namespace, gpu: Gpu, precision: str
) -> list[dict[str, Any]]:
    """Build, judge and time every network in one precision."""
    rows: list[dict[str, Any]] = []
    plans = book.step(
        f"{precision}: networks", lambda: _Kept(Plans(config_for(args, precision), gpu.trt, gpu))
    )
    if plans is None:
        return rows
    book.data["steps"][f"{precision}: networks"]["result"] = list(plans.it.networks)
    for spec in plans.it.specs():
        if precision == "int8" and spec.precision != "int8":
            continue
        name = f"{precision}: {spec.name}"
        built = book.step(f"{name}: build and parity", lambda s=spec: _build(plans.it, s))  # type: ignore[misc]
        if built is not None:
            rows += book.step(f"{name}: time", lambda s=spec: _time(plans.it, gpu, s, args)) or []  # type: ignore[misc]
    return rows


class _Kept:
    """Carries a value that is not for the JSON."""

    def __init__(self, it: Plans) -> None:
        self.it = it


def _build(plans: Plans, spec: NetworkSpec) -> dict[str, Any]:
    with plans.cache.lock():
        result = plans.build(spec, force=True)
        report = plans.check(spec)
    print(report.table())
    return {
        "seconds": result.side_car.build_s,
        "bytes": result.side_car.plan_bytes,
        "parity": report.to_json(),
    }


def _time(plans: Plans, gpu: Gpu, spec: NetworkSpec, args: argparse.Namespace) -> Any:
    backend = plans.open(spec.name, autobuild=False)
    assert isinstance(backend, TensorRTBackend)
    with closing(backend):
        rows = measure(backend, spec, args.seconds, gpu)
        print({"memory": flat_memory(gpu, backend, spec)})
        return rows


def onnx_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """ONNX Runtime on the CPU, for comparison."""
    rows = []
    for network in networks_of(config_for(args, "fp32")).values():
        with closing(OnnxBackend(network.reference, precision="fp32")) as backend:
            rows += measure(backend, network.spec, args.seconds)
    return rows


def command(words: Sequence[str]) -> dict[str, Any]:
    """A command of this Python; the end of what it printed. Raises RuntimeError where it fails."""
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
    tail = (done.stdout + done.stderr)[-6000:]
    print(tail)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {tail[-1500:]}")
    return {"output": tail}


def end_to_end(args: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Frames per second on a clip with the bench command, FP16."""
    file = out / "bench.json"
    words = ["jetson_face", "bench", "--json", str(file), "--set", f"engines.cache={args.cache}"]
    words += ["--set", "backend.type=tensorrt", "--repeats", "3"]
    words += ["--clip", str(args.clip)] if args.clip else []
    words += ["--set", f"embedder.model={args.embedder}"] if args.embedder else []
    command(words)
    answer: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return answer


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The timings as text."""
    lines = [
        f"{'network':<8}{'runner':<14}{'prec.':<7}{'batch':>5}{'median ms':>11}{'p95 ms':>9}"
        f"{'items/s':>10}{'bare ms':>9}{'x bare':>8}"
    ]
    for row in rows:
        bare = f"{row['bare_ms']:9.3f}{row['times_bare']:8.2f}" if "bare_ms" in row else ""
        lines.append(
            f"{row['network']:<8}{row['runner']:<14}{row['precision']:<7}{row['batch']:>5}"
            f"{row['median_ms']:>11.3f}{row['p95_ms']:>9.3f}{row['per_second']:>10.0f}{bare}"
        )
    return "\n".join(lines)


def main() -> int:
    """0 where every step worked."""
    parser = argparse.ArgumentParser(description="All checks that need an NVIDIA GPU.")
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu_check.json")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the plans")
    parser.add_argument("--clip", type=Path, help="a video for the end-to-end figures")
    parser.add_argument("--embedder", help="a model card's name or path")
    parser.add_argument("-c", "--config", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=2, help="for each timing")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    book = Book()
    rows: list[dict[str, Any]] = []
    book.step("machine", machine_facts)
    book.step("doctor", lambda: command(["jetson_face", "doctor"]))
    rows += book.step("onnxruntime: time", lambda: onnx_rows(args)) or []
    gpu = book.step("gpu", lambda: _describe(book))
    if gpu is not None:
        for precision in PRECISIONS:
            rows += check_precision(book, args, this_gpu(), precision)
        book.step("contract suite", lambda: command(["pytest", "-m", "gpu", "tests/backends"]))
        book.step("end to end", lambda: end_to_end(args, args.out))
    book.data["timings"] = rows
    (args.out / "gpu_check.json").write_text(json.dumps(book.data, indent=1), "utf-8")
    print(table(rows))
    failed = [name for name, step in book.data["steps"].items() if not step["ok"]]
    for name in failed:
        print(f"FAILED {name}: {book.data['steps'][name]['error']}")
    print(f"{len(book.data['steps']) - len(failed)} steps worked, {len(failed)} failed")
    return 1 if failed else 0


def _describe(book: Book) -> dict[str, str]:
    machine = this_gpu().machine
    return {
        "tensorrt": f"{machine.flavour} {machine.version}",
        "device": machine.device,
        "compute_capability": machine.compute_capability,
    }


if __name__ == "__main__":
    sys.exit(main())
