"""Everything about TensorRT that needs an NVIDIA GPU, in one run: one table and one JSON.

Run by tools/gpu_check.sh. A step that fails says exactly what was answered, and the rest goes on.
`--dry-run` goes through all of it with a simulated GPU, so that no minute of a real one is lost on
a mistake in here; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from gpu_measure import RATIO_MAX, flat_memory, measure, table, trtexec

from jetson_face import __version__
from jetson_face.config import Config, load_config
from jetson_face.factory import gpu as gpus
from jetson_face.factory.gpu import Gpu
from jetson_face.factory.plan_networks import networks_of
from jetson_face.factory.plans import Plans
from jetson_face.inference.cuda.base import CudaRuntime
from jetson_face.inference.cuda.driver import DriverRuntime
from jetson_face.inference.cuda.pycuda import PycudaRuntime
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.inference.tensorrt.bindings import load_tensorrt
from jetson_face.inference.tensorrt.key import NetworkSpec, key_of
from jetson_face.inference.tensorrt.runtime import TensorRTBackend

PRECISIONS = ("fp32", "fp16", "int8")
FLAT_RUNS = 10_000


class Book:
    """What was found, step by step; written after each, so that a run cut short leaves its part."""

    def __init__(self, path: Path, dry_run: bool) -> None:
        self._path = path
        self.data: dict[str, Any] = {"dry_run": dry_run, "steps": {}, "timings": []}

    def step(
        self, name: str, work: Callable[[], Any], keep: Callable[[Any], Any] = lambda x: x
    ) -> Any:
        """Run one step; an error is a result too. keep: what of the answer goes into the JSON."""
        print(f"== {name}", flush=True)
        began = time.monotonic()
        answer, error = None, None
        try:
            answer = work()
        except Exception as exc:
            error = f"{type(exc).__name__}: {exc}"
            traceback.print_exc()
        self.data["steps"][name] = {
            "ok": error is None,
            "seconds": round(time.monotonic() - began, 2),
            "error": error,
            "result": None if answer is None else keep(answer),
        }
        self.write()
        return answer

    def write(self) -> None:
        """To the JSON file."""
        self._path.write_text(json.dumps(self.data, indent=1), "utf-8")


def machine_facts() -> dict[str, Any]:
    """Machine, driver and versions."""
    smi = shutil.which("nvidia-smi")
    names = "name,driver_version,compute_cap,memory.total,clocks.max.sm,power.limit"
    query = [smi, f"--query-gpu={names}", "--format=csv,noheader"] if smi else None
    return {
        "jetson_face": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "nvidia_smi": subprocess.run(query, capture_output=True, text=True).stdout if query else "",
    }


def try_cuda(make: Callable[[], CudaRuntime]) -> dict[str, str]:
    """Memory, copies, a stream and a graph on the real driver; TensorRT plays no part."""
    cuda = make()
    with cuda.active():
        stream, memory = cuda.stream(), cuda.device_memory(1 << 20)
        source, target = cuda.pinned(1 << 20), cuda.pinned(1 << 20)

        def there_and_back() -> None:
            cuda.to_device(memory, source, stream)
            cuda.to_host(target, memory, stream)

        there_and_back()
        stream.synchronize()
        graph = cuda.capture(stream, there_and_back)
        for seed in range(3):
            source[:] = np.random.default_rng(seed).integers(0, 256, 1 << 20)
            graph.launch(stream)
            stream.synchronize()
            if not np.array_equal(source, target):
                raise RuntimeError("a replayed graph did not copy")
        graph.close()
        for block in (source, target):
            cuda.free_pinned(block)
        memory.free()
        stream.close()
    return {"access": cuda.access, "device": cuda.device, "capability": cuda.compute_capability}


def config_for(args: argparse.Namespace, precision: str) -> Config:
    """The configuration of one precision, with its own cache."""
    words = ["backend.type=tensorrt", f"backend.precision={precision}"]
    words += [f"engines.cache={args.cache}", f"engines.frame_size={list(frame_of(args))}"]
    words += [f"embedder.model={args.embedder}"] if args.embedder else []
    return load_config(args.config, [*words, *args.overrides])


def frame_of(args: argparse.Namespace) -> tuple[int, int]:
    """Width and height of the clip's frames, or of the clip that the bench makes."""
    if args.clip is None:
        return (640, 480) if args.dry_run else (1280, 720)
    clip = cv2.VideoCapture(str(args.clip))
    size = (
        int(clip.get(cv2.CAP_PROP_FRAME_WIDTH)),
        int(clip.get(cv2.CAP_PROP_FRAME_HEIGHT)),
    )
    clip.release()
    return size


def check_precision(book: Book, args: argparse.Namespace, gpu: Gpu, precision: str) -> None:
    """Build, judge and time every network in one precision."""
    mine = book.step(
        f"{precision}: networks",
        lambda: Plans(config_for(args, precision), gpu.trt, gpu),
        keep=lambda made: list(made.networks),
    )
    for spec in [] if mine is None else mine.specs():
        if precision == "int8" and spec.precision != "int8":
            continue
        name = f"{precision}: {spec.name}"
        if book.step(f"{name}: build and parity", partial(_build, mine, spec)) is None:
            continue
        backend = book.step(
            f"{name}: open", partial(_open, mine, spec), keep=lambda opened: str(opened.info)
        )
        if backend is None:
            continue
        plan = mine.cache.load(key_of(spec, mine.machine))
        with closing(backend):
            time_it = partial(measure, backend, spec, args.seconds, gpu, plan)
            book.data["timings"] += book.step(f"{name}: time", time_it) or []
            flat = partial(flat_memory, gpu, backend, spec, args.runs)
            book.step(f"{name}: flat memory", flat)
        book.step(f"{name}: trtexec", partial(trtexec, plan, spec, args.seconds))


def _build(mine: Plans, spec: NetworkSpec) -> dict[str, Any]:
    with mine.cache.lock():
        result = mine.build(spec, force=True)
        report = mine.check(spec)
    print(report.table())
    return {
        "seconds": result.side_car.build_s,
        "bytes": result.side_car.plan_bytes,
        "parity": report.to_json(),
    }


def _open(mine: Plans, spec: NetworkSpec) -> TensorRTBackend:
    backend = mine.open(spec.name, autobuild=False)
    assert isinstance(backend, TensorRTBackend)
    return backend


def onnx_rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """ONNX Runtime on the CPU, for comparison."""
    rows = []
    for network in networks_of(config_for(args, "fp32")).values():
        with closing(OnnxBackend(network.reference, precision="fp32")) as backend:
            rows += measure(backend, network.spec, args.seconds)
    return rows


def fast_enough(book: Book) -> dict[str, float]:
    """The embedding in FP16 within twice TensorRT's own loop, at every batch."""
    found = {
        f"batch {row['batch']}": round(row["times_loop"], 3)
        for row in book.data["timings"]
        if row["network"] == "embed" and row["precision"] == "fp16" and "times_loop" in row
    }
    if not found:
        raise RuntimeError("the FP16 embedding was not timed")
    slow = {name: ratio for name, ratio in found.items() if ratio > RATIO_MAX}
    if slow:
        raise RuntimeError(f"slower than {RATIO_MAX} times TensorRT's own loop: {slow} of {found}")
    return found


def command(words: Sequence[str]) -> dict[str, Any]:
    """A command of this Python; the end of what it printed. Raises RuntimeError where it fails."""
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
    tail = (done.stdout + done.stderr)[-6000:]
    print(tail)
    if done.returncode:
        raise RuntimeError(f"exit code {done.returncode}: {tail[-1500:]}")
    return {"output": tail}


def contract(dry_run: bool) -> dict[str, Any]:
    """The back ends' contract suite; on a real GPU it must have run there, not been skipped."""
    which = ["-k", "Simulated or Libcuda or Pycuda"] if dry_run else ["-m", "gpu"]
    answer = command(["pytest", "-v", "-rs", "tests/inference", *which])
    last = answer["output"].strip().splitlines()[-1]
    if " passed" not in last or (not dry_run and "skipped" in last):
        raise RuntimeError(f"the contract suite did not run: {answer['output'][-800:]}")
    return answer


def end_to_end(args: argparse.Namespace, backend: str) -> dict[str, Any]:
    """Frames per second on a clip with the bench command; FP16 with TensorRT."""
    file = args.out / f"bench-{backend}.json"
    words = ["jetson_face", "bench", "--json", str(file), "--set", f"engines.cache={args.cache}"]
    words += ["--set", f"backend.type={backend}", "--repeats", "1" if args.dry_run else "3"]
    width, height = frame_of(args)
    words += ["--clip", str(args.clip)] if args.clip else ["--frame-size", f"{width}x{height}"]
    words += ["--set", f"engines.frame_size={[width, height]}"]
    words += ["--set", f"embedder.model={args.embedder}"] if args.embedder else []
    command(words)
    answer: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return answer


def without_gpu(args: argparse.Namespace) -> dict[str, Any]:
    """What can be shown where TensorRT does not run: its builder, for another GPU."""
    trt = load_tensorrt()
    mine = Plans(config_for(args, "fp16"), trt, None, compute_capability=args.other)
    found = {"tensorrt": f"{trt.flavour} {trt.version}", "for": args.other}
    with mine.cache.lock():
        for spec in mine.specs():
            result = mine.build(spec, force=True)
            found[spec.name] = (
                f"{result.side_car.build_s:.1f} s, {result.side_car.plan_bytes} bytes"
            )
    return found


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="All checks that need an NVIDIA GPU.")
    parser.add_argument("--out", type=Path, required=True, help="folder for gpu_check.json")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the plans")
    parser.add_argument("--clip", type=Path, help="a video for the end-to-end figures")
    parser.add_argument("--embedder", help="a model card's name or path")
    parser.add_argument("-c", "--config", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--seconds", type=float, help="for each timing; default 2, dry 0.02")
    parser.add_argument("--runs", type=int, help=f"for flat memory; default {FLAT_RUNS}, dry 100")
    parser.add_argument("--precisions", help="as in fp16,int8; default all, dry fp16,int8")
    parser.add_argument("--other", default="8.6", help="what to build for where none runs")
    parser.add_argument("--dry-run", action="store_true", help="with a simulated GPU")
    args = parser.parse_args()
    args.seconds = args.seconds or (0.02 if args.dry_run else 2)
    args.precisions = args.precisions or ("fp16,int8" if args.dry_run else ",".join(PRECISIONS))
    args.runs = args.runs or (100 if args.dry_run else FLAT_RUNS)
    return args


def simulate() -> list[tuple[str, Callable[[], CudaRuntime]]]:
    """A GPU in this machine that is not there, from the tests."""
    from jetson_face.inference.cuda.driver import Driver
    from tests.inference.fake_driver import FakeLibcuda
    from tests.inference.fake_gpu import fake_gpu
    from tests.inference.sim_gpu import SimGpu

    trt, cuda, _ = fake_gpu()
    gpu = Gpu(trt, cuda)
    gpus.this_gpu = lambda: gpu  # type: ignore[assignment]
    return [("libcuda", lambda: DriverRuntime(driver=Driver(FakeLibcuda(SimGpu()))))]


def main() -> int:
    """0 where every step worked."""
    args = parse()
    args.out.mkdir(parents=True, exist_ok=True)
    book = Book(args.out / "gpu_check.json", args.dry_run)
    accesses: list[tuple[str, Callable[[], CudaRuntime]]]
    accesses = [("libcuda", DriverRuntime), ("pycuda", PycudaRuntime)]
    if args.dry_run:
        accesses = simulate()
    book.step("machine", machine_facts)
    book.step("doctor", lambda: command(["jetson_face", "doctor"]))
    for name, make in accesses:
        book.step(f"cuda: {name}", partial(try_cuda, make))
    book.data["timings"] += book.step("onnxruntime: time", lambda: onnx_rows(args)) or []
    gpu = book.step("gpu", gpus.this_gpu, keep=lambda found: str(found.machine))
    if gpu is None:
        book.step("tensorrt: builds for another GPU", lambda: without_gpu(args))
    else:
        for precision in args.precisions.split(","):
            check_precision(book, args, gpu, precision)
        book.step("embedding: within twice TensorRT's own loop", lambda: fast_enough(book))
        book.step("contract suite", lambda: contract(args.dry_run))
    book.step("end to end: onnxruntime", lambda: end_to_end(args, "onnxruntime"))
    if gpu is not None and not args.dry_run:
        book.step("end to end: tensorrt", lambda: end_to_end(args, "tensorrt"))
    return finish(book)


def finish(book: Book) -> int:
    """The table, and what failed."""
    book.write()
    print(table(book.data["timings"]))
    steps = book.data["steps"]
    failed = [name for name, step in steps.items() if not step["ok"]]
    for name in failed:
        print(f"FAILED {name}: {steps[name]['error']}")
    print(f"{len(steps) - len(failed)} steps worked, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
