"""What the conversions do to a graph's answers, and what TensorRT makes of the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from jetson_face.core.errors import EngineError
from jetson_face.inference.int8 import best_range, calibrate
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.inference.precision import prepare, to_fp16
from jetson_face.inference.tensorrt.bindings import TensorRT
from jetson_face.inference.tensorrt.build import EngineBuilder
from jetson_face.inference.tensorrt.builder import BuildOptions, ShapeRange, compile_plan
from jetson_face.inference.tensorrt.cache import EngineCache
from jetson_face.inference.tensorrt.key import NetworkSpec
from jetson_face.inference.tensorrt.parity import tensor_parity
from tests.inference.graphs import model, squeezenet, tiny_conv

SIDE = 48
NET = squeezenet(side=SIDE)
RANGE = {"input": ShapeRange.batch((3, SIDE, SIDE), 4)}


def faces(batches: int, size: int = 4, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Something with the spectrum of pictures rather than noise."""
    rng = np.random.default_rng(seed)
    for _ in range(batches):
        coarse = rng.normal(0, 1, (size, 3, 6, 6)).astype(np.float32)
        yield {"input": np.kron(coarse, np.ones((8, 8), np.float32))}


@pytest.fixture(scope="module")
def small_int8() -> bytes:
    graph, count = calibrate(tiny_conv(side=SIDE), small_faces(4), "tiny")
    assert count == 16
    return graph


def small_faces(batches: int) -> Iterator[dict[str, Any]]:
    for feed in faces(batches):
        yield {"x": feed["input"]}


def worst(onnx_bytes: bytes, precision: str) -> float:
    """Least cosine of a converted SqueezeNet's answers to the fp32 one's."""
    a, b = OnnxBackend(NET, threads=1), OnnxBackend(onnx_bytes, threads=1)
    report = tensor_parity("embed", precision, a, b, list(faces(2, seed=5)))
    return min(row.measured for row in report.rows)


def test_fp16_answers_alike_and_keeps_fp32_ends() -> None:
    half = to_fp16(NET, "embed")
    assert 0.999 < worst(half, "fp16") < 1
    assert len(half) < 0.6 * len(NET)
    graph = onnx.load_model_from_string(half).graph
    ends = [*graph.input, *graph.output]
    assert {v.type.tensor_type.elem_type for v in ends} == {onnx.TensorProto.FLOAT}
    assert to_fp16(half, "embed") == half


def test_a_normalisation_stays_in_fp32(trt: TensorRT) -> None:
    """As PyTorch's exporter writes it; the vector's length is beyond fp16's largest number."""
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["wide"]),
        helper.make_node("Cast", ["wide"], ["v"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceL2", ["v"], ["length"], axes=[1], keepdims=1),
        helper.make_node("Clip", ["length", "least"], ["safe"]),
        helper.make_node("Shape", ["v"], ["shape"]),
        helper.make_node("Expand", ["safe", "shape"], ["spread"]),
        helper.make_node("Div", ["v", "spread"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(0, 300, (8, 16)), "least": np.array(1e-12)}
    graph = model(
        nodes,
        {"x": ["n", 8]},
        {"y": ["n", 16]},
        {name: value.astype(np.float32) for name, value in weights.items()},
    )
    half = to_fp16(graph, "tail")
    x = rng.normal(0, 10, (3, 8)).astype(np.float32)
    got = OnnxBackend(half, threads=1).run({"x": x})["y"]
    wanted = OnnxBackend(graph, threads=1).run({"x": x})["y"]
    np.testing.assert_allclose(got, wanted, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)
    compile_plan(trt, half, "tail", {"x": ShapeRange.batch((8,), 4)}, BuildOptions(64, "8.6"))


def test_int8_is_what_tensorrt_takes(
    small_int8: bytes, make_builder: Callable[..., EngineBuilder], cache: EngineCache
) -> None:
    a, b = OnnxBackend(tiny_conv(side=SIDE), threads=1), OnnxBackend(small_int8, threads=1)
    report = tensor_parity("tiny", "int8", a, b, list(small_faces(2)))
    assert 0.99 < report.rows[0].measured < 1
    spec = NetworkSpec("tiny", small_int8, "int8", {"x": ShapeRange.batch((3, SIDE, SIDE), 4)})
    with cache.lock():
        assert make_builder().build(spec).side_car.key.precision == "int8"


@pytest.mark.slow
def test_a_whole_network_in_int8(
    make_builder: Callable[..., EngineBuilder], cache: EngineCache
) -> None:
    graph, _ = calibrate(NET, faces(8), "embed")
    assert 0.98 < worst(graph, "int8") < 1
    with cache.lock():
        make_builder().build(NetworkSpec("embed", graph, "int8", RANGE))


def test_too_few_faces_are_refused() -> None:
    for batches in (0, 3):
        with pytest.raises(EngineError, match=rf"{4 * batches} faces are too few .*16 are needed"):
            calibrate(tiny_conv(side=SIDE), small_faces(batches), "tiny")


def test_precision_and_graph_must_agree(small_int8: bytes) -> None:
    assert prepare(tiny_conv(), "tiny", "fp32") == tiny_conv()
    assert prepare(small_int8, "tiny", "int8") == small_int8
    for graph, precision, message in (
        (tiny_conv(), "int8", "engines calibrate"),
        (small_int8, "fp32", "the graph is quantised"),
        (tiny_conv(), "fp8", "unknown precision"),
    ):
        with pytest.raises(EngineError, match=message):
            prepare(graph, "tiny", precision)


def test_int8_rounds_the_inputs_of_convolutions_and_nothing_else() -> None:
    """Unnamed nodes, a shared input, and a depth-wise convolution that stays as it is."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["left"]),
        helper.make_node("Conv", ["x", "b"], ["right"]),
        helper.make_node("Add", ["left", "right"], ["sum"]),
        helper.make_node("Conv", ["sum", "deep"], ["y"], group=4),
    ]
    shapes = {"a": (4, 3, 1, 1), "b": (4, 3, 1, 1), "deep": (4, 1, 1, 1)}
    weights = {name: rng.normal(0, 1, shape).astype(np.float32) for name, shape in shapes.items()}
    graph = model(nodes, {"x": ["n", 3, 8, 8]}, {"y": ["n", 4, 8, 8]}, weights)
    feeds = [{"x": rng.normal(0, 1, (16, 3, 8, 8)).astype(np.float32)}]
    made, faces = calibrate(graph, feeds, "two")
    assert faces == 16
    found = onnx.load_model_from_string(made).graph
    kinds = [node.op_type for node in found.node]
    assert kinds.count("QuantizeLinear") == 1
    assert kinds.count("DequantizeLinear") == 3
    assert [n.input[1] for n in found.node if n.op_type == "Conv"] == ["a_dq", "b_dq", "deep"]
    stored = {t.name: numpy_helper.to_array(t) for t in found.initializer}
    assert not any(stored[name].any() for name in stored if name.endswith("_zero"))
    assert stored["a_q"].dtype == np.int8
    assert stored["a_scale"].shape == (4,)
    steps = weights["a"] / stored["a_scale"].reshape(4, 1, 1, 1)
    assert np.abs(stored["a_q"] - steps).max() <= 0.5  # the nearest step
    assert np.abs(stored["a_q"]).reshape(4, -1).max(axis=1).tolist() == [127] * 4  # all of int8
    assert set(stored).isdisjoint({"a", "b"})
    a, b = OnnxBackend(graph, threads=1), OnnxBackend(made, threads=1)
    assert tensor_parity("two", "int8", a, b, feeds).rows[0].measured > 0.999


def test_the_clipping_point_cuts_an_outlier_but_not_a_flat_range() -> None:
    flat = np.linspace(0, 1, 1000, dtype=np.float32)
    assert best_range(flat) == pytest.approx(1.0, abs=0.021)
    dense = np.abs(np.random.default_rng(0).normal(0, 1, 200_000)).astype(np.float32)
    assert best_range(np.append(dense, np.float32(12.0))) < 8.0


def test_a_graph_without_convolutions_is_refused() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    graph = model(nodes, {"x": ["n", 3]}, {"y": ["n", 3]}, {})
    with pytest.raises(EngineError, match="relu: has no fp32 convolution to quantise"):
        calibrate(graph, [{"x": np.zeros((16, 3), np.float32)}], "relu")


def test_single_nodes_stay_in_fp32_by_their_output() -> None:
    half = onnx.load_model_from_string(to_fp16(NET, "embed", fp32_ops=("conv1",))).graph
    kinds = {t.name: t.data_type for t in half.initializer}
    assert kinds["conv1.w"] == onnx.TensorProto.FLOAT
    assert kinds["fire2.squeeze.w__fp16"] == onnx.TensorProto.FLOAT16
