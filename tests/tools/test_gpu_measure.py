"""What tools/gpu_check.sh measures, on a simulated GPU: nothing left behind, leaks found."""

from __future__ import annotations

import gpu_measure
import numpy as np
import pytest

from jetson_face.factory.gpu import Gpu
from jetson_face.inference.tensorrt.builder import ShapeRange
from jetson_face.inference.tensorrt.key import NetworkSpec
from jetson_face.inference.tensorrt.runtime import TensorRTBackend
from tests.inference.fake_gpu import FakeCuda, fake_gpu, make_plan
from tests.inference.graphs import tiny_conv

RANGE = ShapeRange.batch((3, 8, 8), 16)
SPEC = NetworkSpec("embed", tiny_conv(side=8), "fp16", {"x": RANGE})
PLAN = make_plan(SPEC.onnx, {"x": (RANGE.min, RANGE.opt, RANGE.max)})


def opened() -> tuple[Gpu, FakeCuda, TensorRTBackend]:
    trt, cuda, _ = fake_gpu()
    backend = TensorRTBackend(PLAN, trt=trt, cuda=cuda, what="embed", precision="fp16")
    return Gpu(trt, cuda), cuda, backend


def test_rows_for_each_batch_and_nothing_left_on_the_device() -> None:
    gpu, cuda, backend = opened()
    rows = gpu_measure.measure(backend, SPEC, 0.01, gpu, PLAN)
    assert [row["batch"] for row in rows] == [1, 4, 16]
    for row in rows:
        for name in ("median_ms", "bare_ms", "loop_ms", "wait_ms", "times_loop"):
            assert row[name] > 0
    assert "fp16" in gpu_measure.table(rows)
    backend.close()
    assert cuda.gpu.clean


def test_the_bare_loop_gives_the_plans_answer() -> None:
    gpu, cuda, backend = opened()
    feed = gpu_measure.feed_of(SPEC, 4)
    wanted = backend.run(feed)["y"].copy()
    loop = gpu_measure.BareLoop(gpu, PLAN, feed)
    loop.milliseconds(0.001, copies=True)
    ((_, host),) = loop._outputs
    np.testing.assert_array_equal(host.view(np.float32).reshape(wanted.shape), wanted)
    loop.close()
    backend.close()
    assert cuda.gpu.clean


def test_memory_that_grows_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, cuda, backend = opened()
    found = gpu_measure.flat_memory(gpu, backend, SPEC, 30)
    assert (found["runs"], found["allocations"]) == (30, 0)
    run = backend.run

    def leaky(feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        cuda.allocations += 1
        return run(feeds)

    monkeypatch.setattr(backend, "run", leaky)
    with pytest.raises(RuntimeError, match=r"memory is not flat: .*'allocations': 30"):
        gpu_measure.flat_memory(gpu, backend, SPEC, 30)
    backend.close()


def test_without_trtexec_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_measure.shutil.which", lambda *args, **kwargs: None)
    assert gpu_measure.trtexec(PLAN, SPEC, 1) == {
        "found": False,
        "why": "no trtexec on PATH or in /usr/src/tensorrt/bin",
    }
