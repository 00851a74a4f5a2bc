"""ONNX graphs, node by node, in the forms that ONNX Runtime and TensorRT run fast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jetson_face.core.types import F32
from jetson_face.util.optional import needs

OPSET = 17
_BLOCK = 16
"""Channels of a block in ONNX Runtime's layout (AVX-512; half of it elsewhere)."""


class GraphWriter:
    """Collects nodes and weights; every node's output has the node's name.

    Raises MissingDependencyError.
    """

    def __init__(self) -> None:
        with needs("building networks needs the onnx package: pip install 'jetson-face[pc]'"):
            import onnx
        self.onnx: Any = onnx
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def model(
        self, name: str, inputs: Mapping[str, list[Any]], outputs: Mapping[str, list[Any]]
    ) -> bytes:
        """Everything collected, checked, as a serialised model of float32 tensors."""
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        sides = [
            [helper.make_tensor_value_info(key, kind, dims) for key, dims in side.items()]
            for side in (inputs, outputs)
        ]
        made = helper.make_model(
            helper.make_graph(self.nodes, name, *sides, self.weights),
            opset_imports=[helper.make_opsetid("", OPSET)],
            producer_name="jetson-face",
        )
        made.ir_version = 8  # what opset 17 came with: older runtimes refuse newer numbers
        self.onnx.checker.check_model(made, full_check=True)
        return bytes(made.SerializeToString())

    def node(self, kind: str, name: str, inputs: list[str], **attributes: Any) -> str:
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def weight(self, name: str, value: F32) -> str:
        array = np.ascontiguousarray(value, np.float32)
        self.weights.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def conv(self, name: str, x: str, kernel: F32, bias: F32) -> str:
        w = self.weight(f"{name}.weight", kernel.transpose(3, 2, 0, 1))
        return self.node("Conv", name, [x, w, self.weight(f"{name}.bias", bias)])

    def conv_prelu(
        self,
        name: str,
        x: str,
        kernel: F32,
        bias: F32,
        slope: F32,
        pool: tuple[int, bool] | None,
    ) -> str:
        """Convolution, PReLU and max pooling, written as convolutions with ReLU.

        ONNX Runtime's PRelu took longer than all convolutions of P-Net together, and forced the
        data out of the blocked layout that they run in. With y the convolution and a the slope:
        PReLU(y) = relu(y) - a relu(-y), one 1x1 convolution of twice the channels. Before a pool,
        where a >= 0 makes PReLU monotone, so that it may follow the pool; where a < 0 it is
        max(y, a y), so that both are pooled, and max(u, v) = v + relu(u - v).
        """
        count = len(slope)
        eye = np.eye(count, dtype=np.float32)
        if pool is None:
            both = np.concatenate([kernel, -kernel], axis=3)
            y = self.relu_conv(f"{name}_both", x, both, np.concatenate([bias, -bias]))
            mix = np.concatenate([eye, -eye * slope])
            return self.conv(f"{name}_prelu", y, mix[None, None], np.zeros(count, np.float32))
        falls = np.flatnonzero(slope < 0)
        # Channels of nothing up to a whole block: the pool leaves the blocked layout otherwise.
        spare = -(count + len(falls)) % _BLOCK
        kernel = np.concatenate([kernel, kernel[..., falls] * slope[falls]], axis=3)
        kernel = np.pad(kernel, ((0, 0), (0, 0), (0, 0), (0, spare)))
        bias = np.pad(np.concatenate([bias, bias[falls] * slope[falls]]), (0, spare))
        y = self.pool(f"{name}_pool", self.conv(name, x, kernel, bias), *pool)
        u = np.pad(eye, ((0, len(falls) + spare), (0, 0)))
        v = np.pad(np.concatenate([eye * np.maximum(slope, 0), eye[falls]]), ((0, spare), (0, 0)))
        # A slope above 1 makes PReLU the smaller of the two: min(u, v) = v - relu(v - u).
        sign = np.where(slope > 1, -1, 1).astype(np.float32)
        zero = np.zeros(count, np.float32)
        rise = self.relu_conv(f"{name}_rise", y, ((u - v) * sign)[None, None], zero)
        if (sign < 0).any():
            rise = self.conv(f"{name}_sign", rise, (eye * sign)[None, None], zero)
        base = self.conv(f"{name}_base", y, v[None, None], zero)
        return self.node("Add", f"{name}_prelu", [base, rise])

    def relu_conv(self, name: str, x: str, kernel: F32, bias: F32) -> str:
        return self.node("Relu", f"{name}_relu", [self.conv(name, x, kernel, bias)])

    def probability(self, name: str, x: str) -> str:
        """1 / (1 + exp(-x)), rounded as a softmax of two rounds.

        ONNX Runtime's Sigmoid is an approximation that reaches 1.0 earlier, which makes ties among
        clear faces that the order of suppression then decides.
        """
        negative = self.node("Neg", f"{name}_negative", [x])
        power = self.node("Exp", f"{name}_power", [negative])
        one = self.weight(f"{name}_one", np.ones(1, np.float32))
        whole = self.node("Add", f"{name}_whole", [power, one])
        return self.node("Reciprocal", name, [whole])

    def split(self, x: str, sizes: Mapping[str, int]) -> None:
        parts = self.onnx.numpy_helper.from_array(np.array(list(sizes.values()), np.int64), "sizes")
        self.weights.append(parts)
        self.nodes.append(
            self.onnx.helper.make_node("Split", [x, "sizes"], list(sizes), name="split", axis=1)
        )

    def pool(self, name: str, x: str, kernel: int, partial: bool) -> str:
        return self.node(
            "MaxPool",
            name,
            [x],
            kernel_shape=[kernel, kernel],
            strides=[2, 2],
            ceil_mode=int(partial),
        )

    def dense(self, name: str, x: str, matrix: F32, bias: F32) -> str:
        w = self.weight(f"{name}.weight", matrix)
        return self.node("Gemm", name, [x, w, self.weight(f"{name}.bias", bias)])
