"""Channels brought to one range before rounding, and biases that make up for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from jetson_face.core.types import F32
from jetson_face.inference import int8, int8_balance
from jetson_face.inference.int8_balance import correct_biases, equalised, first_faces
from jetson_face.inference.onnxruntime import OnnxBackend

FACES = np.random.default_rng(1).normal(size=(24, 3, 8, 8)).astype(np.float32)
FEEDS = [{"x": FACES[:10]}, {"x": FACES[10:]}]
UNEVEN = np.array([4.0, 1.0, 0.2, 0.05], np.float32)


def network(*, bypass: bool = False, reader_groups: int = 1) -> onnx.ModelProto:
    """Convolution of four channels of very unlike range, ReLU, and a convolution that reads it."""
    rng = np.random.default_rng(2)
    held = {
        "w1": rng.normal(size=(4, 3, 3, 3)) * UNEVEN[:, None, None, None] * 0.2,
        "b1": rng.normal(size=4) * UNEVEN * 0.1,
        "w2": rng.normal(size=(4, 4 // reader_groups, 3, 3)),
        "b2": rng.normal(size=4) * 0.1,
    }
    if reader_groups == 1:
        held["w2"] = held["w2"] / UNEVEN[:, None, None]
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1] * 4),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1] * 4, group=reader_groups),
        node("Add", ["c2", "r1" if bypass else "c2"], ["y"]),
    ]
    value, kind = helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "uneven",
        [value("x", kind, ["n", 3, 8, 8])],
        [value("y", kind, ["n", 4, 8, 8])],
        [numpy_helper.from_array(a.astype(np.float32), n) for n, a in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def shown(model: onnx.ModelProto, name: str) -> F32:
    """What a tensor is, over all faces."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    if name != "y":
        info = helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        probe.graph.output.append(info)
    backend = OnnxBackend(probe.SerializeToString())
    return np.asarray(backend.run({"x": FACES})[name], np.float32)


def rounded(model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch, **without: Any) -> F32:
    for name, instead in without.items():
        monkeypatch.setattr(int8, name, instead)
    made, _ = int8.quantise(model, FEEDS, "test")
    return shown(made, "y")


def test_unlike_channels_come_nearer_and_the_answer_stays() -> None:
    model = network()
    even = equalised(onnx, model, FEEDS)
    np.testing.assert_allclose(shown(even, "y"), shown(model, "y"), atol=1e-4)
    before, after = (shown(m, "r1").max((0, 2, 3)) for m in (model, even))
    assert after.max() / after.min() == pytest.approx(np.sqrt(before.max() / before.min()), rel=0.2)
    assert after.max() == pytest.approx(before.max(), rel=0.01)


@pytest.mark.parametrize("more", [{"bypass": True}, {"reader_groups": 4}])
def test_what_is_read_by_others_too_stays(more: dict[str, Any]) -> None:
    model = network(**more)
    assert equalised(onnx, model, FEEDS).SerializeToString() == model.SerializeToString()


def test_biases_make_up_for_means_that_rounding_moved() -> None:
    model = network()
    made, _ = int8.quantise(model, FEEDS, "test")
    off = onnx.ModelProto()
    off.CopyFrom(made)
    for tensor in off.graph.initializer:
        if tensor.name in ("b1", "b2"):
            values = numpy_helper.to_array(tensor) + np.float32(0.3)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    wanted = shown(model, "c2").mean((0, 2, 3))
    assert np.abs(shown(off, "c2").mean((0, 2, 3)) - wanted).min() > 0.1
    correct_biases(onnx, model, off, FEEDS)
    for name in ("c1", "c2"):
        means = shown(off, name).mean((0, 2, 3))
        np.testing.assert_allclose(means, shown(model, name).mean((0, 2, 3)), atol=1e-3)


def test_a_bias_that_two_share_becomes_two() -> None:
    model = network()
    weights = {t.name: t for t in model.graph.initializer}
    model.graph.initializer.remove(weights["b2"])
    model.graph.node.insert(0, helper.make_node("Identity", ["b1"], ["b2"]))
    made, _ = int8.quantise(model, FEEDS, "test")
    onnx.checker.check_model(made, full_check=True)
    for name in ("c1", "c2"):
        means = shown(made, name).mean((0, 2, 3))
        np.testing.assert_allclose(means, shown(model, name).mean((0, 2, 3)), atol=1e-3)


@pytest.mark.parametrize("left_out", ["equalised", "correct_biases"])
def test_both_bring_the_answer_nearer(left_out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    wanted = shown(model, "y")
    error = np.abs(rounded(model, monkeypatch) - wanted)
    nothing = {
        "equalised": lambda _module, model, _feeds: model,
        "correct_biases": lambda *_: None,
    }
    alone = np.abs(rounded(model, monkeypatch, **{left_out: nothing[left_out]}) - wanted)
    if left_out == "equalised":
        assert error.mean() < 0.7 * alone.mean()
    else:
        assert error.mean() < alone.mean()


def test_a_few_whole_feeds_are_enough() -> None:
    assert first_faces(FEEDS, 1) == FEEDS[:1]
    assert first_faces(FEEDS, 10) == FEEDS[:1]
    assert first_faces(FEEDS, 11) == FEEDS
    assert first_faces([], 11) == []
    assert int8_balance.FACES >= int8.FACES_MIN
