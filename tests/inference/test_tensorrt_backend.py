"""The TensorRT back end on a simulated GPU: memory, shapes, graphs, and every refused call."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.core.errors import EngineError, ModelError
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.inference.tensorrt.runtime import TensorRTBackend
from tests.inference.fake_gpu import FakeCuda, FakeModule, fake_gpu, make_plan
from tests.inference.graphs import tiny_conv

ANY_SIZE = {"x": ((1, 3, 4, 4), (1, 3, 8, 8), (4, 3, 16, 16))}
FIXED = {"x": ((2, 3, 8, 8),) * 3}


def open_backend(
    profiles: Any = ANY_SIZE, onnx: bytes | None = None, **kwargs: Any
) -> tuple[TensorRTBackend, FakeCuda, FakeModule]:
    trt, cuda, module = fake_gpu()
    plan = make_plan(onnx or tiny_conv(), profiles)
    backend = TensorRTBackend(plan, trt=trt, cuda=cuda, what="tiny", precision="fp16", **kwargs)
    return backend, cuda, module


@pytest.fixture
def reference() -> Iterator[OnnxBackend]:
    backend = OnnxBackend(tiny_conv(), threads=1)
    yield backend
    backend.close()


def picture(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def test_specs_and_info_come_from_the_plan() -> None:
    backend, _, _ = open_backend()
    assert backend.inputs["x"].shape == (None, 3, None, None)
    assert backend.outputs["y"].shape == (None, 4, None, None)
    assert backend.inputs["x"].dtype == np.float32
    info = backend.info
    assert (info.name, info.version, info.device, info.precision) == (
        "tensorrt",
        "10.3.0",
        "Fake GPU",
        "fp16",
    )


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(4, 16), st.integers(4, 16)), min_size=1, max_size=6
    )
)
def test_any_sequence_of_shapes_answers_like_the_reference(
    shapes: list[tuple[int, int, int]],
) -> None:
    backend, cuda, _ = open_backend()
    reference = OnnxBackend(tiny_conv(), threads=1)
    taken = cuda.allocations
    for i, (n, h, w) in enumerate(shapes):
        x = picture(n, 3, h, w, seed=i)
        got = backend.run({"x": x})["y"]
        assert got.shape == (n, 4, h - 2, w - 2)
        if n:
            np.testing.assert_array_equal(got, reference.run({"x": x})["y"])
    assert cuda.allocations == taken
    backend.close()


def test_memory_is_taken_once_and_given_back() -> None:
    backend, cuda, _ = open_backend()
    assert cuda.allocations == 4  # pinned and device, input and output
    for i in range(1000):
        backend.run({"x": picture(1 + i % 4, 3, 8, 8)})
    assert cuda.allocations == 4
    backend.close()
    backend.close()
    assert cuda.memory == {}
    assert cuda.pinned_blocks == []
    with pytest.raises(ModelError, match=r"tiny: used after close\(\)"):
        backend.run({"x": picture(1, 3, 8, 8)})


def test_outputs_are_views_that_the_next_run_overwrites() -> None:
    backend, _, _ = open_backend()
    first = backend.run({"x": picture(1, 3, 8, 8, seed=1)})["y"]
    kept = first.copy()
    second = backend.run({"x": picture(1, 3, 8, 8, seed=2)})["y"]
    assert np.shares_memory(first, second)
    assert not np.array_equal(first, kept)


def test_inputs_of_any_strides_and_read_only(reference: OnnxBackend) -> None:
    backend, _, _ = open_backend()
    x = np.asfortranarray(picture(2, 3, 9, 7))
    x.flags.writeable = False
    wanted = reference.run({"x": x})["y"]
    np.testing.assert_array_equal(backend.run({"x": x})["y"], wanted)
    flipped = x[:, :, ::-1, ::-1]
    got = backend.run({"x": flipped})["y"]
    np.testing.assert_array_equal(got, reference.run({"x": flipped})["y"])


def test_the_caller_may_change_its_input_after_the_run(reference: OnnxBackend) -> None:
    backend, _, _ = open_backend()
    x = picture(1, 3, 8, 8)
    wanted = reference.run({"x": x})["y"].copy()
    got = backend.run({"x": x})["y"]
    x[:] = 0
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (picture(1, 3, 3, 8), r"'x' \(1, 3, 3, 8\) is outside what the plan was built for"),
        (picture(1, 3, 8, 17), r"\(1, 3, 4, 4\) to \(4, 3, 16, 16\): run jetson-face engines"),
        (picture(1, 4, 8, 8), "input 'x' wants float32"),
        (picture(1, 3, 8, 8).astype(np.float64), "input 'x' wants float32"),
        (picture(3, 8, 8), "input 'x' wants float32"),
        (picture(0, 3, 0, 8), "only the batch may be 0"),
    ],
    ids=["too small", "too large", "channels", "dtype", "rank", "empty picture"],
)
def test_wrong_inputs_are_refused_and_the_next_run_works(x: Any, message: str) -> None:
    backend, _, _ = open_backend()
    with pytest.raises(ModelError, match=message):
        backend.run({"x": x})
    with pytest.raises(ModelError, match="inputs are"):
        backend.run({"z": x})
    assert backend.run({"x": picture(1, 3, 8, 8)})["y"].shape == (1, 4, 6, 6)


def test_fixed_shapes_are_captured_into_one_graph(reference: OnnxBackend) -> None:
    backend, cuda, _ = open_backend(FIXED)
    for seed in range(5):
        x = picture(2, 3, 8, 8, seed=seed)
        got = backend.run({"x": x})["y"]
        np.testing.assert_array_equal(got, reference.run({"x": x})["y"])
    assert backend.graph_captured
    assert (len(cuda.gpu.executables), cuda.gpu.launches) == (1, 4)
    backend.close()
    assert cuda.gpu.clean


def test_a_plan_that_cannot_be_captured_runs_without_a_graph_and_says_so(
    reference: OnnxBackend, caplog: pytest.LogCaptureFixture
) -> None:
    backend, cuda, module = open_backend(FIXED)
    module.uncapturable = True
    for seed in range(3):
        x = picture(2, 3, 8, 8, seed=seed)
        got = backend.run({"x": x})["y"]
        np.testing.assert_array_equal(got, reference.run({"x": x})["y"])
    assert not backend.graph_captured
    (said,) = caplog.messages
    assert "runs without a CUDA graph" in said
    assert "operation not permitted when stream is capturing" in said
    backend.close()
    assert cuda.gpu.clean


@pytest.mark.parametrize("answer", [True, False])
def test_tensorrt_for_rtx_is_asked_before_a_capture(answer: bool) -> None:
    trt, cuda, module = fake_gpu()
    module.capturable = answer
    plan = make_plan(tiny_conv(), FIXED)
    backend = TensorRTBackend(plan, trt=trt, cuda=cuda, what="tiny", precision="fp16")
    for _ in range(2):
        backend.run({"x": picture(2, 3, 8, 8)})
    assert backend.graph_captured is answer
    backend.close()


@pytest.mark.parametrize(("profiles", "graph"), [(ANY_SIZE, True), (FIXED, False)])
def test_no_graph_where_shapes_vary_or_none_is_wanted(profiles: Any, graph: bool) -> None:
    backend, cuda, _ = open_backend(profiles, use_graph=graph)
    backend.run({"x": picture(2, 3, 8, 8)})
    assert not backend.graph_captured
    assert cuda.gpu.executables == {}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("Runtime", r"cannot start \(CUDA initialization failure with error: 35\)"),
        ("create_execution_context", "cannot make a context"),
        ("get_tensor_location", "wants in host memory"),
        ("set_input_shape", r"refused set_input_shape\('x', \(4, 3, 16, 16\)\)"),
        ("infer_shapes", r"cannot infer shapes: \['x'\]"),
        ("infer_shapes raises", r"cannot infer shapes \(Shape inference failed\)"),
        ("get_tensor_shape", "depends on the data"),
        ("set_tensor_address", "refused set_tensor_address"),
        ("get_tensor_dtype", "BFLOAT16, unknown to numpy"),
    ],
)
def test_every_refused_call_while_opening_frees_what_was_taken(call: str, message: str) -> None:
    trt, cuda, module = fake_gpu()
    module.failing.add(call)
    with pytest.raises(EngineError, match=message):
        TensorRTBackend(
            make_plan(tiny_conv(), ANY_SIZE), trt=trt, cuda=cuda, what="tiny", precision="fp16"
        )
    assert cuda.gpu.clean


def test_a_refused_execution_tells_tensorrts_words_and_the_next_run_works() -> None:
    backend, cuda, module = open_backend()
    module.failing.add("execute_async_v3")
    with pytest.raises(EngineError, match=r"refused execute_async_v3 \(Error Code 1: the fake"):
        backend.run({"x": picture(1, 3, 8, 8)})
    # The copy before it must not still read the buffer that the next run fills.
    assert not any(stream.queue for stream in cuda.gpu.streams.values())
    module.failing.clear()
    assert backend.run({"x": picture(1, 3, 8, 8)})["y"].any()


def test_a_failure_under_way_is_our_error_and_all_is_given_back() -> None:
    backend, cuda, _ = open_backend()
    cuda.gpu.refuse["synchronize"] = 700
    with pytest.raises(EngineError, match="CUDA answered 700"):
        backend.run({"x": picture(1, 3, 8, 8)})
    with pytest.raises(EngineError, match="CUDA answered 700"):
        backend.run({"x": picture(1, 3, 8, 8)})
    for stream in cuda.gpu.streams.values():
        stream.queue.clear()  # what a real driver does with a context that failed
    with pytest.raises(EngineError, match="CUDA answered 700"):
        backend.close()
    assert cuda.gpu.clean
    backend.close()


def test_a_refused_shape_is_not_remembered_as_set() -> None:
    backend, _, module = open_backend()
    backend.run({"x": picture(1, 3, 8, 8)})
    module.failing.add("set_input_shape")
    for _ in range(2):
        with pytest.raises(EngineError, match="refused set_input_shape"):
            backend.run({"x": picture(1, 3, 9, 9)})
    module.failing.clear()
    assert backend.run({"x": picture(1, 3, 9, 9)})["y"].shape == (1, 4, 7, 7)


def test_a_plan_of_another_tensorrt_is_refused_with_its_words() -> None:
    trt, cuda, _ = fake_gpu()
    with pytest.raises(EngineError, match=r"magic tag does not match.*engines build --force"):
        TensorRTBackend(b"other", trt=trt, cuda=cuda, what="tiny", precision="fp16")


def test_too_little_device_memory_frees_what_was_taken() -> None:
    trt, cuda, _ = fake_gpu()
    cuda.gpu.memory_left = 30_000
    with pytest.raises(EngineError, match=r"has no such bytes of device memory left"):
        TensorRTBackend(
            make_plan(tiny_conv(), ANY_SIZE), trt=trt, cuda=cuda, what="tiny", precision="fp16"
        )
    assert cuda.gpu.clean


def test_any_thread_may_run_and_close_it(reference: OnnxBackend) -> None:
    backend, cuda, _ = open_backend()
    x = picture(1, 3, 8, 8)
    found: list[Any] = []

    def work() -> None:
        found.append(backend.run({"x": x})["y"].copy())
        backend.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    np.testing.assert_array_equal(found[0], reference.run({"x": x})["y"])
    assert cuda.memory == {}


def test_two_back_ends_do_not_share_buffers(reference: OnnxBackend) -> None:
    trt, cuda, _ = fake_gpu()
    plan = make_plan(tiny_conv(), ANY_SIZE)
    a, b = (
        TensorRTBackend(plan, trt=trt, cuda=cuda, what="tiny", precision="fp16") for _ in range(2)
    )
    x, z = picture(1, 3, 8, 8, seed=1), picture(1, 3, 8, 8, seed=2)
    first = a.run({"x": x})["y"]
    b.run({"x": z})
    np.testing.assert_array_equal(first, reference.run({"x": x})["y"])
    a.close()
    assert b.run({"x": z})["y"].any()
