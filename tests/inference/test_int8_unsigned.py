"""INT8 for processors: what is rounded, what it costs, and that ONNX Runtime computes in bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch

from jetson_face.core.errors import ModelError
from jetson_face.inference.int8_unsigned import (
    FIRST_KEPT,
    LEVELS,
    quantise_unsigned,
    with_unsigned_pairs,
)
from jetson_face.inference.onnxruntime import OnnxBackend, fused
from jetson_face.models.cards import UNSIGNED, load_card, resolve
from jetson_face.training import export
from jetson_face.training.net import SqueezeNetFace
from tests.inference.graphs import tiny_conv

FACES = np.concatenate([export.golden_input(4), -export.golden_input(2)])
FEEDS = [{export.INPUT: FACES}]


@pytest.fixture(scope="module")
def plain() -> Any:
    torch.manual_seed(0)
    return export.to_onnx(SqueezeNetFace(act="relu").eval())


@pytest.fixture(scope="module")
def rounded(plain: Any) -> Any:
    return with_unsigned_pairs(plain, FEEDS)


@pytest.fixture(scope="module")
def joined(plain: Any) -> bytes:
    made = quantise_unsigned(plain, FEEDS)
    assert made is not None
    return made


def test_onnx_runtime_computes_all_but_the_first_convolutions_in_bytes(
    rounded: Any, joined: bytes
) -> None:
    ran = [node.op_type for node in onnx.load_model_from_string(joined).graph.node]
    fires = sum(node.op_type == "Concat" for node in rounded.graph.node)
    assert ran.count("QLinearConv") == 3 * fires > 20  # a squeeze and two expansions
    assert sum("Conv" in kind for kind in ran) == 3 * fires + FIRST_KEPT + 1  # and the head's own


def test_nothing_that_may_be_negative_is_rounded(plain: Any, rounded: Any) -> None:
    outputs = {name for node in plain.graph.node for name in node.output}
    names = {n.input[0] for n in rounded.graph.node if n.op_type == "QuantizeLinear"}
    probe = onnx.ModelProto()
    probe.CopyFrom(plain)
    shown = sorted(names & outputs)
    assert shown
    for name in shown:
        probe.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    backend = OnnxBackend(probe.SerializeToString())
    seen = backend.run(FEEDS[0])
    backend.close()
    assert all(seen[name].min() >= 0 for name in shown)
    zeros = [t for t in rounded.graph.initializer if t.name.endswith("_zero")]
    unsigned = [t for t in zeros if t.data_type == onnx.TensorProto.UINT8]
    assert len(unsigned) == len(names)
    assert not any(onnx.numpy_helper.to_array(t).any() for t in zeros)


def test_the_whole_range_of_a_byte_is_used(plain: Any, rounded: Any) -> None:
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in rounded.graph.initializer}
    steps = [n for n in rounded.graph.node if n.op_type == "QuantizeLinear"]
    scales = {node.input[0]: float(stored[node.input[1]]) for node in steps}
    probe = onnx.ModelProto()
    probe.CopyFrom(rounded)
    for node in steps:
        probe.graph.output.append(onnx.helper.make_empty_tensor_value_info(node.input[0]))
    backend = OnnxBackend(probe.SerializeToString())
    seen = backend.run(FEEDS[0])
    backend.close()
    for name, scale in scales.items():
        assert 0.25 < scale * LEVELS / float(seen[name].max()) < 1.2


def test_sums_stay_as_they_are(rounded: Any) -> None:
    makers = {out: node for node in rounded.graph.node for out in node.output}
    sums = [node for node in rounded.graph.node if node.op_type == "Add"]
    assert sums
    for node in sums:
        kinds = {makers[name].op_type for name in node.input}
        assert kinds <= {"Concat", "Add", "MaxPool", "DequantizeLinear"}
        assert "Concat" in kinds


def test_joined_operators_answer_the_same(rounded: Any, joined: bytes) -> None:
    pairs = export.run_onnx(rounded.SerializeToString(), FACES)
    assert np.array_equal(pairs, export.run_onnx(joined, FACES))


def test_the_answers_stay_close(plain: Any, joined: bytes) -> None:
    whole = export.run_onnx(plain.SerializeToString(), FACES)
    bytes_ = export.run_onnx(joined, FACES)
    assert (whole * bytes_).sum(1).min() > 0.99
    assert not np.array_equal(whole, bytes_)


def test_what_ships_answers_as_the_fp32_network() -> None:
    card = load_card("squeezenet_face")
    whole = export.run_onnx(resolve(card).read_bytes(), FACES)
    bytes_ = export.run_onnx(resolve(card, UNSIGNED).read_bytes(), FACES)
    assert (whole * bytes_).sum(1).min() > 0.98


@pytest.mark.parametrize("act", ["prelu", "leaky"])
def test_of_a_network_without_relu_there_is_none(act: str) -> None:
    torch.manual_seed(0)
    assert quantise_unsigned(export.to_onnx(SqueezeNetFace(act=act).eval()), FEEDS) is None


def test_a_file_that_cannot_be_loaded_is_told() -> None:
    with pytest.raises(ModelError, match="<bytes>: cannot be loaded"):
        fused(b"nothing")


def test_of_too_small_a_network_there_is_none() -> None:
    model = onnx.load_model_from_string(tiny_conv())
    feeds = [{"x": np.zeros((1, 3, 8, 8), np.float32)}]
    assert quantise_unsigned(model, feeds) is None
