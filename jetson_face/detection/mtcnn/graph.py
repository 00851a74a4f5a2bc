"""The three MTCNN networks as ONNX graphs: from the package's files to the cache.

The way: `models.cards` finds a network's file, `weights` reads its arrays, of the shapes that
`layers` says, `build_graph` writes them as a graph by `writer`, and `built_file` keeps that.

Graph inputs are raw pixels, float32 0 to 255, BGR, NCHW: the weights were trained on RGB scaled by
(x - 127.5) / 128, and since the first convolution has no padding, both the scaling and the channel
order fold into its weights exactly. The fully connected layers were trained on features laid out
width first; their rows are reordered to NCHW here, so that no transpose is left in the graph.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jetson_face.core.types import F32
from jetson_face.detection.mtcnn.layers import NETS, SHAPES, Net, Shape, pooled, weight_shapes
from jetson_face.detection.mtcnn.weights import read_arrays
from jetson_face.detection.mtcnn.writer import GraphWriter
from jetson_face.models.built import built_file
from jetson_face.models.cards import ModelCard, resolve

BUILDER = 2
"""Counts changes of the graphs made here: part of the cache's key."""


def ensure_mtcnn(card: ModelCard, cache: Path) -> dict[Net, Path]:
    """The three ONNX files in `cache`, built from the card's weights where they are not there yet.

    Files found are checked against the SHA-256 written beside them; one that does not fit is built
    again. The `onnx` package is needed, and imported, only to build.
    Raises ModelError, MissingDependencyError, OutputError.
    """
    return {net: _ensure(card, net, cache) for net in NETS}


def _ensure(card: ModelCard, net: Net, cache: Path) -> Path:
    file = resolve(card, net)
    source = card.package[net].sha256 if net in card.package else file.name
    key = hashlib.sha256(f"{source}/{BUILDER}".encode()).hexdigest()[:12]

    def build() -> bytes:
        return build_graph(net, read_arrays(file.read_bytes(), weight_shapes(net)))

    return built_file(cache / f"mtcnn-{net}-{key}.onnx", {"card": card.name, "part": net}, build)


def build_graph(net: Net, weights: Sequence[F32]) -> bytes:
    """One network as a serialised ONNX model, from the package's arrays in file order.

    Input `image`: (N, 3, H, W). Outputs, P-Net: `offsets` (N, 4, h, w), `scores` (N, 1, h, w);
    R-Net and O-Net: `offsets` (N, 4), `scores` (N, 1), and O-Net's `points` (N, 10). Offsets are
    x1, y1, x2, y2 as shares of the box; scores the probability of a face; points the five x, then
    the five y. Raises MissingDependencyError.
    """
    graph = GraphWriter()
    shape, rest = SHAPES[net], list(weights)
    kernel, bias = _fold_pixels(rest[0], rest[1])
    rest[:2] = [kernel, bias]
    x, side, channels = "image", shape.side or 0, 3
    last = None if shape.dense else shape.convs[-1]
    for i, conv in enumerate(shape.convs):
        kernel, bias, slope, *rest = rest
        if conv is last:
            _add_map_heads(graph, x, (kernel, bias, slope.reshape(-1)), rest)
            break
        x = graph.conv_prelu(f"conv{i + 1}", x, kernel, bias, slope.reshape(-1), conv.pool)
        side, channels = side - conv.kernel + 1, conv.filters
        if conv.pool is not None:
            side = pooled(side, *conv.pool)
    if shape.dense:
        _add_dense_heads(graph, x, shape, rest, side, channels)
    side_name = (shape.side, shape.side) if shape.side else ("H", "W")
    cells = [] if shape.dense else ["h", "w"]
    return graph.model(
        f"mtcnn_{net}",
        {"image": ["N", 3, *side_name]},
        {name: ["N", 1 if name == "scores" else size, *cells] for name, size in shape.heads},
    )


def _add_map_heads(
    graph: GraphWriter, x: str, layer: tuple[F32, F32, F32], heads: Sequence[F32]
) -> None:
    """P-Net's last layer and its two heads, for every cell.

    PReLU(y) = a y + (1 - a) relu(y), and the heads are linear: what they make of a y is one
    convolution of the layer's input with few filters, cheaper than PReLU itself would be.
    """
    kernel, bias, slope = layer
    offsets, offsets_bias, scores, scores_bias = heads
    head = np.concatenate([offsets[0, 0], _difference(scores[0, 0])], axis=1)
    head_bias = np.concatenate([offsets_bias, _difference(scores_bias)])
    y = graph.relu_conv("conv3", x, kernel, bias)
    bent = graph.conv(
        "heads_bent", y, (head * (1 - slope)[:, None])[None, None], np.zeros_like(head_bias)
    )
    through = head * slope[:, None]
    straight = graph.conv("heads_straight", x, kernel @ through, bias @ through + head_bias)
    both = graph.node("Add", "heads", [bent, straight])
    graph.split(both, {"offsets": 4, "logits": 1})
    graph.probability("scores", "logits")


def _add_dense_heads(
    graph: GraphWriter, x: str, shape: Shape, weights: Sequence[F32], side: int, channels: int
) -> None:
    """R- and O-Net's fully connected layer and heads."""
    matrix, bias, slope, *rest = weights
    x = graph.node("Flatten", "flatten", [x], axis=1)
    x = graph.dense("dense", x, _reorder(matrix, side, channels), bias)
    x = graph.node("PRelu", "prelu", [x, graph.weight("prelu.slope", slope)])
    for name, _ in shape.heads:
        matrix, bias, *rest = rest
        if name == "scores":
            graph.dense("logits", x, _difference(matrix), _difference(bias))
            graph.probability("scores", "logits")
        else:
            graph.dense(name, x, matrix, bias)


def _difference(value: F32) -> F32:
    """Softmax of two is the sigmoid of their difference: (..., 2) to (..., 1)."""
    return np.asarray(value[..., 1:] - value[..., :1], np.float32)


def _fold_pixels(kernel: F32, bias: F32) -> tuple[F32, F32]:
    """First layer for raw BGR pixels: W (x - 127.5) / 128 + b = (W / 128) x + (b - ...)."""
    wide = kernel.astype(np.float64)
    folded = wide[:, :, ::-1] / 128
    shifted = bias - wide.sum(axis=(0, 1, 2)) * 127.5 / 128
    return folded.astype(np.float32), shifted.astype(np.float32)


def _reorder(matrix: F32, side: int, channels: int) -> F32:
    """Rows of a dense layer from (width, height, channel) to (channel, height, width) order."""
    rows = matrix.reshape(side, side, channels, -1).transpose(2, 1, 0, 3)
    return np.ascontiguousarray(rows.reshape(side * side * channels, -1))
