"""INT8 as Q/DQ pairs where they do least harm: at the inputs of the convolutions.

Between convolution and ReLU nothing is rounded, so no half of the range is spent on numbers that
ReLU drops; TensorRT fuses convolution, bias and ReLU from this placement. Symmetric, zero points
0, weights by output channel, as TensorRT asks. Depth-wise convolutions and the linear head stay
as they are: they are a thousandth of the operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from jetson_face.backends.onnx import OnnxBackend

F32 = npt.NDArray[np.float32]
LEVELS = 127
SAMPLES_A_BATCH = 20_000


def quantise(model: onnx.ModelProto, name: str, batches: Sequence[F32]) -> onnx.ModelProto:
    """The graph with Q/DQ pairs; ``batches`` are calibration faces for its input ``name``.

    Raises:
        ValueError: no batch, or no convolution to quantise.
    """
    out = onnx.ModelProto()
    out.CopyFrom(model)
    weights = {t.name: t for t in out.graph.initializer}
    convolutions = [n for n in out.graph.node if n.op_type == "Conv" and _group(n) == 1]
    if not convolutions or not batches:
        raise ValueError("quantising needs convolutions and calibration faces")
    ranges = calibrate(model, name, list(dict.fromkeys(n.input[0] for n in convolutions)), batches)
    before: dict[str, list[Any]] = {}
    for tensor, top in ranges.items():
        first = next(n.name for n in convolutions if n.input[0] == tensor)
        before.setdefault(first, []).extend(_activation_pair(out.graph, tensor, top / LEVELS))
    for node in convolutions:
        before.setdefault(node.name, []).append(_weight_pair(out.graph, weights[node.input[1]]))
        node.input[0] += "_dq"
        node.input[1] += "_dq"
    ordered = [m for n in out.graph.node for m in (*before.get(n.name, ()), n)]
    del out.graph.node[:]
    out.graph.node.extend(ordered)
    onnx.checker.check_model(out, full_check=True)
    return out


def _group(node: Any) -> int:
    return next((a.i for a in node.attribute if a.name == "group"), 1)


def calibrate(
    model: onnx.ModelProto, name: str, tensors: Sequence[str], batches: Sequence[F32]
) -> dict[str, float]:
    """Clipping range (largest magnitude kept) of each tensor, by least squared rounding error."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    inner = [t for t in tensors if t != name]
    probe.graph.output.extend(
        helper.make_tensor_value_info(t, TensorProto.FLOAT, None) for t in inner
    )
    backend = OnnxBackend(probe.SerializeToString())
    rng = np.random.default_rng(0)
    kept: dict[str, list[F32]] = {t: [] for t in tensors}
    for batch in batches:
        seen = backend.run({name: batch}) | {name: batch}
        for tensor in tensors:
            values = np.abs(seen[tensor].ravel())
            kept[tensor] += [rng.choice(values, SAMPLES_A_BATCH), values.max(keepdims=True)]
    backend.close()
    return {t: best_range(np.concatenate(values)) for t, values in kept.items()}


def best_range(magnitudes: F32) -> float:
    """The clipping point in [0.3, 1] x maximum with the least squared error at 127 levels."""
    top = max(float(magnitudes.max()), 1e-6)
    tried = top * np.linspace(0.3, 1.0, 36)
    errors = [float(((magnitudes - _rounded(magnitudes, t)) ** 2).mean()) for t in tried]
    return float(tried[int(np.argmin(errors))])


def _rounded(magnitudes: F32, top: float) -> F32:
    step = np.float32(top / LEVELS)
    return np.asarray(np.minimum(np.round(magnitudes / step), LEVELS) * step, np.float32)


def _activation_pair(graph: Any, tensor: str, scale: float) -> list[Any]:
    extra = [f"{tensor}_scale", f"{tensor}_zero"]
    graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(scale, np.float32), extra[0]),
            numpy_helper.from_array(np.array(0, np.int8), extra[1]),
        ]
    )
    return [
        helper.make_node("QuantizeLinear", [tensor, *extra], [f"{tensor}_q"], f"{tensor}_quantise"),
        helper.make_node(
            "DequantizeLinear", [f"{tensor}_q", *extra], [f"{tensor}_dq"], f"{tensor}_dequantise"
        ),
    ]


def _weight_pair(graph: Any, weight: Any) -> Any:
    values = numpy_helper.to_array(weight)
    top = np.abs(values).reshape(len(values), -1).max(axis=1)
    scale = (np.maximum(top, 1e-12) / LEVELS).astype(np.float32)
    steps = np.round(values / scale[:, None, None, None]).clip(-LEVELS, LEVELS).astype(np.int8)
    name = weight.name
    graph.initializer.remove(weight)
    graph.initializer.extend(
        [
            numpy_helper.from_array(steps, f"{name}_q"),
            numpy_helper.from_array(scale, f"{name}_scale"),
            numpy_helper.from_array(np.zeros(len(values), np.int8), f"{name}_zero"),
        ]
    )
    return helper.make_node(
        "DequantizeLinear",
        [f"{name}_q", f"{name}_scale", f"{name}_zero"],
        [f"{name}_dq"],
        f"{name}_dequantise",
        axis=0,
    )
