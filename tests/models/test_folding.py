"""SFace's and YuNet's files folded to FP32: the same answers as the files run as they are."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from jetson_face.core.errors import InputBrokenError, ModelError
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.models.built import network_file
from jetson_face.models.cards import load_card, resolve
from jetson_face.models.folding import Edition, fold, widened
from jetson_face.models.yunet_heads import join_heads


def _content(card: str) -> bytes:
    """The package's file; the package is not imported."""
    return resolve(load_card(card)).read_bytes()


def _as_it_is(content: bytes) -> bytes:
    """The file with one change: only `data` is asked for, not its own weights."""
    model = onnx.load_model_from_string(content)
    data = [value for value in model.graph.input if value.name == "data"]
    del model.graph.input[:]
    model.graph.input.extend(data)
    return bytes(model.SerializeToString())


def test_folded_it_answers_as_the_file_itself() -> None:
    content = _content("sface")
    folded = OnnxBackend(fold(content, "sface").SerializeToString())
    whole = OnnxBackend(_as_it_is(content))
    faces = np.random.default_rng(0).integers(0, 256, (3, 3, 112, 112)).astype(np.float32)
    theirs = np.concatenate([whole.run({"data": faces[i : i + 1]})["fc1"].copy() for i in range(3)])
    ours = folded.run({"data": faces})["fc1"]
    assert np.abs(theirs).max() > 0.5
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_folded_yunet_answers_as_opencv_does_with_the_file_itself() -> None:
    content = _content("yunet")
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, 640, 640)).astype(np.float32)
    net = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    net.setInput(picture)
    names = [value.name for value in onnx.load_model_from_string(content).graph.output]
    theirs = dict(zip(names, net.forward(names), strict=True))
    ours = OnnxBackend(fold(content, "yunet").SerializeToString()).run({"input": picture})
    assert ours.keys() == theirs.keys()
    assert len(ours) == 12
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name].ravel(), value.ravel(), atol=2e-5)


def test_folded_yunet_takes_several_pictures_of_any_size() -> None:
    backend = OnnxBackend(fold(_content("yunet"), "yunet").SerializeToString())
    pictures = np.random.default_rng(0).integers(0, 256, (3, 3, 96, 160)).astype(np.float32)
    together = backend.run({"input": pictures})
    assert together["kps_8"].shape == (3, 12 * 20, 10)
    for i in range(3):
        alone = backend.run({"input": pictures[i : i + 1]})
        for name, value in alone.items():
            np.testing.assert_allclose(together[name][i], value[0], rtol=1e-4, atol=1e-4)


def test_yunets_heads_are_one_pair_of_layers_a_stride() -> None:
    graph = fold(_content("yunet"), "yunet").graph
    held = {t.name: tuple(t.dims) for t in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    layers = [[held[name] for name in node.input[1:]] for node in convolutions[-6:]]
    assert layers == [[(16, 64, 1, 1), (16,)], [(16, 1, 3, 3), (16,)]] * 3
    assert len(convolutions) == 35  # 53, of which 24 were heads


def test_heads_that_are_built_otherwise_are_refused() -> None:
    folded = fold(_content("yunet"), "yunet")
    with pytest.raises(InputBrokenError, match="cls_8 is not made as this edition"):
        join_heads(folded, {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}, (8, 16, 32))


@pytest.mark.parametrize("channels", [2, 4])
def test_heads_of_another_width_are_refused(channels: int) -> None:
    value, node = helper.make_tensor_value_info, helper.make_node
    graph = helper.make_graph(
        [
            node("Conv", ["features", "w1", "b"], ["first"], kernel_shape=[1, 1]),
            node("Conv", ["first", "w2", "b"], ["second"], pads=[1, 1, 1, 1], group=2),
            node("Transpose", ["second"], ["rows"], perm=[0, 2, 3, 1]),
            node("Reshape", ["rows", "shape"], ["kps_8"]),
        ],
        "head",
        [value("features", TensorProto.FLOAT, ["N", 4, "H", "W"])],
        [value("kps_8", TensorProto.FLOAT, ["N", "cells", 2])],
        [
            numpy_helper.from_array(np.ones(shape, kind), name)
            for name, shape, kind in (
                ("w1", (2, 4, 1, 1), np.float32),
                ("w2", (2, 1, 3, 3), np.float32),
                ("b", (2,), np.float32),
                ("shape", (3,), np.int64),
            )
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if channels == 2:
        assert len(join_heads(model, {"kps": 2}, [8]).graph.node) == 5
        return
    with pytest.raises(InputBrokenError, match="kps_8 has layers of another shape"):
        join_heads(model, {"kps": channels}, [8])


def _wide(content: bytes) -> bytes:
    """The file as it was before its weights became 8-bit numbers: what a user may fetch."""
    model = onnx.load_model_from_string(content)
    held = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in [n for n in model.graph.node if n.op_type == "DequantizeLinear"]:
        told = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        values, scale, zero = (held[name] for name in node.input)
        held[node.output[0]] = widened(values, scale, zero, told)
        model.graph.node.remove(node)
    for node in [n for n in model.graph.node if n.op_type == "Reshape" and n.input[0] in held]:
        held[node.output[0]] = held[node.input[0]].reshape(held[node.input[1]])
        model.graph.node.remove(node)
    del model.graph.initializer[:]
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in held.items())
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("edition", get_args(Edition))
def test_the_files_with_plain_weights_fold_alike(edition: Edition) -> None:
    content = _content(edition)
    plain, quantised = fold(_wide(content), edition), fold(content, edition)
    ours = {t.name: numpy_helper.to_array(t) for t in plain.graph.initializer}
    for tensor in quantised.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(tensor), ours[tensor.name])


def test_a_network_is_folded_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = load_card("yunet")
    path = network_file(card, "fp32", tmp_path)
    assert path.parent == tmp_path
    monkeypatch.setattr("jetson_face.models.built.fold", lambda *_: pytest.fail("folded again"))
    assert network_file(card, "fp32", tmp_path) == path
    path.write_bytes(path.read_bytes()[:-1])  # a damaged file is not run
    with pytest.raises(pytest.fail.Exception):
        network_file(card, "fp32", tmp_path)


def test_a_file_that_cannot_be_folded_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(content: bytes, edition: str) -> None:
        raise InputBrokenError("YuNet: there is no network in the file")

    monkeypatch.setattr("jetson_face.models.built.fold", broken)
    with pytest.raises(ModelError, match=r"int8bq\.onnx: YuNet: there is no network"):
        network_file(load_card("yunet"), "fp32", tmp_path)


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
    folded = fold(content, "sface")
    assert [n.op_type for n in folded.graph.node] == ["Conv", "PRelu", "Flatten", "Gemm"]
    face = np.random.default_rng(2).normal(size=(1, 3, 112, 112)).astype(np.float32)
    theirs = OnnxBackend(content).run({"data": face})["fc1"].copy()
    ours = OnnxBackend(folded.SerializeToString()).run({"data": face})["fc1"]
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("content", [b"no network at all", b"", _tiny("Sigmoid")])
def test_another_file_is_refused(content: bytes) -> None:
    with pytest.raises(InputBrokenError, match="SFace"):
        fold(content, "sface")
