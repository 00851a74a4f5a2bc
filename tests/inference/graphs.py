"""Small ONNX graphs to build plans from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def model(
    nodes: Sequence[Any],
    inputs: dict[str, list[Any]],
    outputs: dict[str, list[Any]],
    weights: dict[str, Any],
) -> bytes:
    """A checked fp32 model."""
    sides = [
        [helper.make_tensor_value_info(k, TensorProto.FLOAT, v) for k, v in side.items()]
        for side in (inputs, outputs)
    ]
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()]
    graph = helper.make_graph(list(nodes), "test", sides[0], sides[1], stored)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def tiny_conv(seed: int = 0, *, side: int | None = None) -> bytes:
    """x (n, 3, h, w) -> y (n, 4, h - 2, w - 2): convolution and ReLU; any size unless `side`."""
    rng = np.random.default_rng(seed)
    hw: list[Any] = ["h", "w"] if side is None else [side, side]
    out: list[Any] = ["oh", "ow"] if side is None else [side - 2, side - 2]
    return model(
        [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Relu", ["c"], ["y"])],
        {"x": ["n", 3, *hw]},
        {"y": ["n", 4, *out]},
        {"w": rng.normal(0, 0.2, (4, 3, 3, 3)).astype(np.float32)},
    )


def squeezenet(seed: int = 0, dim: int = 128, side: int = 112) -> bytes:
    """SqueezeNet-shaped: fire modules, a global mean, a dense layer; random weights."""
    rng = np.random.default_rng(seed)
    nodes: list[Any] = []
    weights: dict[str, Any] = {}

    def conv(name: str, x: str, cin: int, cout: int, k: int, stride: int = 1) -> str:
        scale = np.sqrt(2 / (cin * k * k))
        weights[f"{name}.w"] = rng.normal(0, scale, (cout, cin, k, k)).astype(np.float32)
        weights[f"{name}.b"] = rng.normal(0, 0.1, cout).astype(np.float32)
        pads = [k // 2] * 4
        nodes.append(
            helper.make_node(
                "Conv",
                [x, f"{name}.w", f"{name}.b"],
                [name],
                name=name,
                strides=[stride] * 2,
                pads=pads,
            )
        )
        nodes.append(helper.make_node("Relu", [name], [f"{name}.relu"], name=f"{name}.relu"))
        return f"{name}.relu"

    def fire(name: str, x: str, cin: int, squeeze: int, expand: int) -> str:
        s = conv(f"{name}.squeeze", x, cin, squeeze, 1)
        a = conv(f"{name}.one", s, squeeze, expand, 1)
        b = conv(f"{name}.three", s, squeeze, expand, 3)
        nodes.append(
            helper.make_node("Concat", [a, b], [f"{name}.out"], name=f"{name}.out", axis=1)
        )
        return f"{name}.out"

    def pool(name: str, x: str) -> str:
        nodes.append(
            helper.make_node("MaxPool", [x], [name], name=name, kernel_shape=[3, 3], strides=[2, 2])
        )
        return name

    x = pool("pool1", conv("conv1", "input", 3, 64, 3, 2))
    x = pool("pool3", fire("fire3", fire("fire2", x, 64, 16, 64), 128, 16, 64))
    x = pool("pool5", fire("fire5", fire("fire4", x, 128, 32, 128), 256, 32, 128))
    x = fire("fire7", fire("fire6", x, 256, 48, 192), 384, 48, 192)
    x = fire("fire9", fire("fire8", x, 384, 64, 256), 512, 64, 256)
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["mean"], name="mean"))
    nodes.append(helper.make_node("Flatten", ["mean"], ["flat"], name="flat"))
    weights["fc.w"] = rng.normal(0, 0.05, (512, dim)).astype(np.float32)
    weights["fc.b"] = np.zeros(dim, np.float32)
    nodes.append(helper.make_node("Gemm", ["flat", "fc.w", "fc.b"], ["embedding"], name="fc"))
    return model(nodes, {"input": ["n", 3, side, side]}, {"embedding": ["n", dim]}, weights)
