"""What a match depends on is where it is; layers come in order; the command leaves pictures."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from jetson_face.cli.main import main
from jetson_face.core.errors import ModelError
from jetson_face.core.types import F32, ImageU8
from jetson_face.evaluation.explain import filter_sheet, occlusion_map, strongest
from jetson_face.inference.onnx_layers import LayerView


def corner_embedder(crops: ImageU8) -> F32:
    """Looks at the upper left quarter alone: bright there is the first axis."""
    bright = crops[:, :16, :16].mean(axis=(1, 2, 3)) / 255
    out = np.stack([bright, np.sqrt(1 - bright**2)], axis=1)
    return np.asarray(out, np.float32)


def test_the_map_is_high_where_the_match_comes_from() -> None:
    crop = np.zeros((32, 32, 3), np.uint8)
    crop[:16, :16] = 255
    whole, falls = occlusion_map(crop, corner_embedder, np.array([1, 0], np.float32), steps=9)
    assert whole == pytest.approx(1)
    assert falls.shape == (32, 32)
    assert falls[4:12, 4:12].min() > 0.01
    np.testing.assert_allclose(falls[24:, 24:], 0, atol=1e-6)


def small_network(path: Path) -> F32:
    """Convolution, Relu, mean: two channels, the second one three times the first."""
    weights = np.zeros((2, 3, 3, 3), np.float32)
    weights[:, 0, 1, 1] = 1, 3
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["input", "w"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            helper.make_node("ReduceMean", ["p"], ["embedding"], axes=[2, 3], keepdims=0),
        ],
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return weights


def test_filters_and_maps_come_from_the_network_itself(tmp_path: Path) -> None:
    weights = small_network(tmp_path / "small.onnx")
    view = LayerView(tmp_path / "small.onnx")
    np.testing.assert_array_equal(view.filters, weights)
    picture = np.zeros((1, 3, 8, 8), np.float32)
    picture[0, 0, 2, 5] = 1
    maps = view.maps({"input": picture})
    view.close()
    assert list(maps) == ["00 Relu", "01 MaxPool"]
    assert maps["00 Relu"][1, 2, 5] == 3
    assert maps["01 MaxPool"].shape == (2, 4, 4)
    best = strongest(maps, each=1)
    assert best["00 Relu"][0][0] == 1
    (tmp_path / "bad.onnx").write_bytes(b"no graph")
    with pytest.raises(ModelError, match="not an ONNX"):
        LayerView(tmp_path / "bad.onnx")


def test_filters_are_laid_out_in_a_square() -> None:
    sheet = filter_sheet(np.random.default_rng(0).normal(size=(9, 3, 3, 3)).astype(np.float32))
    assert sheet.shape == (102, 102, 3)
    one = np.zeros((1, 3, 1, 2), np.float32)
    one[0, 0, 0, 1] = 1  # red at the right
    np.testing.assert_array_equal(filter_sheet(one)[4, 30], [0, 0, 255])


def test_the_command_leaves_an_occlusion_map(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = importlib.metadata.distribution("scikit-image").locate_file(
        "skimage/data/astronaut.png"
    )
    out = tmp_path / "out"
    words = ["explain", str(photo), "--out", str(out), "--steps", "3"]
    assert main([*words, "--set", "embedder.model=dlib_resnet"]) == 0
    picture = cv2.imread(str(out / "occlusion.png"))
    assert picture is not None
    assert picture.std() > 10
    assert "cosine to itself 1.000" in capsys.readouterr().out
    assert main(["explain", str(photo), "--steps", "1"]) == 2
    (tmp_path / "file").touch()
    assert main(["explain", str(photo), "--out", str(tmp_path / "file")]) == 15
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert "file/occlusion.png: cannot be written: Not a directory" in line
