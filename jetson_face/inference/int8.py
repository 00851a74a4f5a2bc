"""INT8 by calibration: Q/DQ pairs in the ONNX file, where they do least harm.

Only the inputs of convolutions are rounded. Between convolution and ReLU nothing is, so no half of
the range is spent on numbers that ReLU drops; TensorRT fuses convolution, bias and ReLU from this
placement. Symmetric, zero points 0, weights by output channel, as TensorRT asks. Depth-wise
convolutions and the linear head stay as they are: they are a thousandth of the operations. So do
the first six convolutions of a deep network, a sixth of our SqueezeNet's operations: what they give
differs most in range between channels. Channels are brought nearer to one range before, and biases
make up for what is rounded away (`int8_balance`).
Measured against ONNX Runtime's own placement in engines/README.md, "INT8".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jetson_face.core.errors import EngineError
from jetson_face.core.types import F32
from jetson_face.inference.backend import Array
from jetson_face.inference.int8_balance import correct_biases, equalised, first_faces
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.inference.precision import read_model

LEVELS = 127
"""Steps of a signed byte on each side of zero."""
FIRST_KEPT = 6
"""Convolutions at the beginning of a network that are not rounded, where it has many more."""
SAMPLES_A_BATCH = 20_000
FACES_MIN = 16

Feeds = Iterable[Mapping[str, Array]]


def calibrate(
    onnx: bytes, feeds: Feeds, what: str, *, faces_min: int = FACES_MIN
) -> tuple[bytes, int]:
    """The fp32 graph with Q/DQ pairs, and how many faces the ranges come from.

    feeds: batches of the network's input, as they are when it runs. Raises EngineError on fewer
    than `faces_min` faces or a graph without convolutions, ModelError, MissingDependencyError.
    """
    model, faces = quantise(read_model(onnx, what), feeds, what, faces_min=faces_min)
    return bytes(model.SerializeToString()), faces


def quantise(model: Any, feeds: Feeds, what: str, *, faces_min: int = 1) -> tuple[Any, int]:
    """The ONNX model with Q/DQ pairs, as a new one, and the number of faces; see `calibrate`."""
    import onnx as module

    feeds = list(feeds)
    some = first_faces(feeds)
    model = equalised(module, model, some) if some else model
    out = module.ModelProto()
    out.CopyFrom(model)
    weights = {t.name: t for t in out.graph.initializer}
    chosen = [i for i, node in enumerate(out.graph.node) if rounds_well(module, node, weights)]
    if len(chosen) > 4 * FIRST_KEPT:
        chosen = chosen[FIRST_KEPT:]
    if not chosen:
        raise EngineError(f"{what}: has no fp32 convolution to quantise")
    tensors = list(dict.fromkeys(out.graph.node[i].input[0] for i in chosen))
    ranges, faces = find_ranges(module, model, tensors, feeds)
    if faces < faces_min:
        raise EngineError(
            f"{what}: {faces} faces are too few to calibrate on, {faces_min} are needed: "
            "give more pictures, of different people and light"
        )
    _rewrite(module, out.graph, chosen, ranges)
    correct_biases(module, model, out, some)
    module.checker.check_model(out, full_check=True)
    return out, faces


def rounds_well(module: Any, node: Any, weights: Mapping[str, Any]) -> bool:
    """Whether it is a convolution with fp32 kernels of its own that mixes all channels."""
    if node.op_type != "Conv" or node.input[1] not in weights:
        return False
    groups = next((a.i for a in node.attribute if a.name == "group"), 1)
    return bool(groups == 1 and weights[node.input[1]].data_type == module.TensorProto.FLOAT)


def find_ranges(
    module: Any, model: Any, tensors: Sequence[str], feeds: Feeds, levels: int = LEVELS
) -> tuple[dict[str, float], int]:
    """Clipping point (largest magnitude kept) of each tensor, by least squared rounding error with
    so many levels from zero to it, and how many faces were looked at."""
    probe = module.ModelProto()
    probe.CopyFrom(model)
    shown = {value.name for value in probe.graph.output}
    inputs = {value.name for value in probe.graph.input}
    probe.graph.output.extend(
        module.helper.make_tensor_value_info(t, module.TensorProto.FLOAT, None)
        for t in tensors
        if t not in shown | inputs
    )
    backend = OnnxBackend(probe.SerializeToString())
    rng = np.random.default_rng(0)
    kept: dict[str, list[F32]] = {t: [] for t in tensors}
    faces = 0
    for feed in feeds:
        faces += len(next(iter(feed.values())))
        seen = backend.run(feed) | dict(feed)
        for tensor in tensors:
            values = np.abs(seen[tensor].ravel())
            kept[tensor] += [rng.choice(values, SAMPLES_A_BATCH), values.max(keepdims=True)]
    backend.close()
    chosen = {t: best_range(np.concatenate(v), levels) for t, v in kept.items() if v}
    return chosen, faces


def best_range(magnitudes: F32, levels: int = LEVELS) -> float:
    """The clipping point in [0.3, 1] x maximum with the least squared error at so many levels."""
    top = max(float(magnitudes.max()), 1e-6)
    tried = top * np.linspace(0.3, 1.0, 36)
    errors = [float(((magnitudes - _rounded(magnitudes, t, levels)) ** 2).mean()) for t in tried]
    return float(tried[int(np.argmin(errors))])


def _rounded(magnitudes: F32, top: float, levels: int) -> F32:
    step = np.float32(top / levels)
    return np.asarray(np.minimum(np.round(magnitudes / step), levels) * step, np.float32)


def _rewrite(module: Any, graph: Any, chosen: Sequence[int], ranges: Mapping[str, float]) -> None:
    """Put the pairs before the first convolution that needs them."""
    weights = {t.name: t for t in graph.initializer}
    rounded: set[str] = set()
    nodes: list[Any] = []
    for i, node in enumerate(graph.node):
        if i in chosen:
            tensor, weight = node.input[0], node.input[1]
            if tensor not in rounded:
                nodes += activation_pair(module, graph, tensor, ranges[tensor] / LEVELS)
            if weight not in rounded:
                nodes.append(weight_pair(module, graph, weights[weight]))
            rounded |= {tensor, weight}
            node.input[0], node.input[1] = f"{tensor}_dq", f"{weight}_dq"
        nodes.append(node)
    take_nodes(graph, nodes)


def take_nodes(graph: Any, nodes: Sequence[Any]) -> None:
    """These nodes in place of the graph's own; weights that none of them reads are dropped."""
    ordered = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(ordered)
    used = {name for node in graph.node for name in node.input}
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)


def activation_pair(
    module: Any, graph: Any, tensor: str, scale: float, kind: type[np.integer[Any]] = np.int8
) -> list[Any]:
    """The nodes that round a tensor to bytes of that kind around 0, and back."""
    extra = [f"{tensor}_scale", f"{tensor}_zero"]
    make, array = module.helper.make_node, module.numpy_helper.from_array
    graph.initializer.append(array(np.array(scale, np.float32), extra[0]))
    graph.initializer.append(array(np.array(0, kind), extra[1]))
    return [
        make("QuantizeLinear", [tensor, *extra], [f"{tensor}_q"], f"{tensor}_quantise"),
        make("DequantizeLinear", [f"{tensor}_q", *extra], [f"{tensor}_dq"], f"{tensor}_dequantise"),
    ]


def weight_pair(module: Any, graph: Any, weight: Any) -> Any:
    """The node that gives kernels back, which are kept as bytes with a scale for each channel."""
    values = module.numpy_helper.to_array(weight)
    top = np.abs(values).reshape(len(values), -1).max(axis=1)
    scale = (np.maximum(top, 1e-12) / LEVELS).astype(np.float32)
    per_channel = scale.reshape(-1, *[1] * (values.ndim - 1))
    steps = np.round(values / per_channel).clip(-LEVELS, LEVELS).astype(np.int8)
    name, array = weight.name, module.numpy_helper.from_array
    parts = [f"{name}_q", f"{name}_scale", f"{name}_zero"]
    for part, content in zip(parts, (steps, scale, np.zeros(len(values), np.int8)), strict=True):
        graph.initializer.append(array(content, part))
    return module.helper.make_node(
        "DequantizeLinear", parts, [f"{name}_dq"], f"{name}_dequantise", axis=0
    )
