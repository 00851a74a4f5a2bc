"""YuNet's search from a frame's bytes, against the picture that OpenCV makes of them."""

from __future__ import annotations

import cv2
import numpy as np
import onnx
import pytest

from jetson_face.core.errors import ModelError
from jetson_face.detection.yunet_search import frame_graph
from jetson_face.inference.onnxruntime import OnnxBackend


def passes_on(opset: int = 13) -> bytes:
    """A network of any size that gives its picture back, in the place of YuNet."""
    kind, sizes = onnx.TensorProto.FLOAT, ["n", 3, "h", "w"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["input"], ["out"])],
        "same",
        [onnx.helper.make_tensor_value_info("input", kind, sizes)],
        [onnx.helper.make_tensor_value_info("out", kind, sizes)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    model.ir_version = 8
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("size", "small", "padded"),
    [
        ((320, 180), (192, 108), (128, 192)),  # as 1280x720 is searched
        ((320, 180), (320, 180), (192, 320)),  # not shrunk
        ((320, 180), (160, 90), (96, 160)),  # halved
        ((320, 180), (100, 56), (64, 128)),  # halved, and a little more
        ((181, 123), (65, 44), (64, 96)),  # odd sides
    ],
)
def test_the_frame_is_shrunk_as_opencv_does(
    size: tuple[int, int], small: tuple[int, int], padded: tuple[int, int]
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 4), np.uint8)
    pixels = cv2.GaussianBlur(noise, (0, 0), 2)
    network = OnnxBackend(frame_graph(passes_on(), size, small, padded))
    assert network.inputs["picture"].shape == (1, size[1], size[0], 4)
    (got,) = network.run({"picture": pixels[None]})["out"]
    network.close()
    assert got.shape == (3, *padded)
    wanted = pixels
    while wanted.shape[1] >= 2 * small[0] and wanted.shape[0] >= 2 * small[1]:
        half = (wanted.shape[1] // 2, wanted.shape[0] // 2)
        wanted = cv2.resize(wanted, half, interpolation=cv2.INTER_LINEAR)
    wanted = cv2.resize(wanted, small, interpolation=cv2.INTER_LINEAR)
    inside = got[:, : small[1], : small[0]]
    np.testing.assert_allclose(inside, wanted[..., :3].transpose(2, 0, 1), atol=2)
    assert not got[:, small[1] :].any()
    assert not got[:, :, small[0] :].any()


@pytest.mark.parametrize("size", [(320, 180), (181, 123)])
@pytest.mark.parametrize("small", [(192, 104), (100, 56), (65, 44), (160, 90)])
def test_several_frames_in_a_run_are_shrunk_as_one_is(
    size: tuple[int, int], small: tuple[int, int]
) -> None:
    padded = (-(-small[1] // 32) * 32, -(-small[0] // 32) * 32)
    frames = np.random.default_rng(1).integers(0, 256, (3, size[1], size[0], 4), np.uint8)
    one = OnnxBackend(frame_graph(passes_on(), size, small, padded))
    many = OnnxBackend(frame_graph(passes_on(), size, small, padded, many=True))
    assert many.inputs["picture"].shape == (None, size[1], size[0], 4)
    together = many.run({"picture": frames})["out"]
    alone = [one.run({"picture": frame[None]})["out"][0] for frame in frames]
    np.testing.assert_allclose(together, alone, atol=0.02)
    many.close()
    one.close()


def test_an_old_graph_is_refused() -> None:
    with pytest.raises(ModelError, match="too old"):
        frame_graph(passes_on(10), (320, 180), (192, 108), (128, 192))
