"""INT8 for processors: what ONNX Runtime computes in bytes from one convolution to the next.

A convolution runs in bytes there only where its input and what ReLU makes of its output are both
rounded; with its input alone, as TensorRT wants it (`int8`), it is computed in fp32. After ReLU
nothing is negative, so an unsigned byte has twice the levels of a signed one; kernels stay signed
(U8S8, "Quantize ONNX models" of ONNX Runtime's documentation). Processors with VNNI multiply such
bytes four at a time; those with AVX2 alone add pairs of them in 16 bits, which end at 32,767 and
hardly ever get there. Sums and joined channels stay fp32: rounding those loses more and gains
nothing. Measured in engines/README.md, "INT8".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jetson_face.inference.int8 import (
    Feeds,
    activation_pair,
    find_ranges,
    rounds_well,
    take_nodes,
    weight_pair,
)
from jetson_face.inference.int8_balance import correct_biases, equalised, first_faces
from jetson_face.inference.onnxruntime import fused

LEVELS = 255
"""Steps of an unsigned byte from zero."""
FIRST_KEPT = 2
"""Convolutions at the beginning that are not rounded: the picture is signed, and what the first
gives differs most in range between channels."""


def quantise_unsigned(model: Any, feeds: Feeds) -> bytes | None:
    """The fp32 ONNX model in unsigned bytes, as ONNX Runtime computes it: it loads as fast as the
    fp32 one, where a file with pairs takes three times as long. None: see `with_unsigned_pairs`.

    feeds: batches of the network's input, as they are when it runs. Raises ModelError,
    MissingDependencyError.
    """
    paired = with_unsigned_pairs(model, feeds)
    return None if paired is None else fused(paired.SerializeToString())


def with_unsigned_pairs(model: Any, feeds: Feeds) -> Any | None:
    """The fp32 ONNX model with Q/DQ pairs that round to unsigned bytes, as a new one; None where no
    convolution follows a ReLU, as with PReLU."""
    import onnx as module

    feeds = list(feeds)
    some = first_faces(feeds)
    model = equalised(module, model, some) if some else model
    out = module.ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    chosen = [node for node in graph.node if rounds_well(module, node, weights)][FIRST_KEPT:]
    tensors = _never_negative(graph, chosen)
    kernels = {node.input[1] for node in chosen if node.input[0] in tensors}
    if not kernels:
        return None
    ranges, _ = find_ranges(module, model, tensors, feeds, LEVELS)
    nodes = [weight_pair(module, graph, weights[name]) for name in sorted(kernels)]
    for node in graph.node:
        given = [f"{name}_dq" if name in ranges or name in kernels else name for name in node.input]
        node.input[:] = given
        nodes.append(node)
        for name in node.output:
            if name in ranges:
                scale = ranges[name] / LEVELS
                nodes += activation_pair(module, graph, name, scale, np.uint8)
    take_nodes(graph, nodes)
    correct_biases(module, model, out, some)
    module.checker.check_model(out, full_check=True)
    return out


def _never_negative(graph: Any, chosen: list[Any]) -> list[str]:
    """What the chosen convolutions read and what ReLU makes of what they give, in order, without
    what may be negative."""
    positive: set[str] = set()
    for node in graph.node:
        keeps = node.op_type in ("Add", "Concat", "MaxPool", "Identity")
        if node.op_type == "Relu" or (keeps and positive.issuperset(node.input)):
            positive.add(node.output[0])
    read = {node.input[0] for node in chosen}
    given = {node.output[0] for node in chosen}
    after = {n.output[0] for n in graph.node if n.op_type == "Relu" and n.input[0] in given}
    made = [name for node in graph.node for name in node.output]
    return [name for name in made if name in (read | after) & positive]
