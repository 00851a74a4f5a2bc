"""The three MTCNN networks as ONNX graphs (Zhang, Zhang, Li, Qiao 2016, figure 2).

Graph inputs are raw pixels, float32 0 to 255, BGR, NCHW: the weights were trained on RGB scaled by
(x - 127.5) / 128, and since the first convolution has no padding, both the scaling and the channel
order fold into its weights exactly. The fully connected layers were trained on features laid out
width first; their rows are reordered to NCHW here, so that no transpose is left in the graph.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jetson_face.core.errors import MissingDependencyError, ModelError
from jetson_face.core.types import F32
from jetson_face.detection.mtcnn.weights import read_arrays
from jetson_face.models.cards import ModelCard, check_sha256, resolve
from jetson_face.util.files import write_all

log = logging.getLogger(__name__)

Net = Literal["pnet", "rnet", "onet"]
NETS: tuple[Net, ...] = ("pnet", "rnet", "onet")
OPSET = 17
_BLOCK = 16
"""Channels of a block in ONNX Runtime's layout (AVX-512; half of it elsewhere)."""
BUILDER = 2
"""Counts changes of the graphs made here: part of the cache's key."""


@dataclass(frozen=True, slots=True)
class _Conv:
    kernel: int
    filters: int
    pool: tuple[int, bool] | None
    """Max pooling behind it, stride 2: kernel, and whether an incomplete last window counts."""


@dataclass(frozen=True, slots=True)
class _Shape:
    side: int | None
    """Input side, pixels; None: any height and width."""
    convs: tuple[_Conv, ...]
    dense: int
    """Width of the fully connected layer; 0: 1x1 convolutions instead."""
    heads: tuple[tuple[str, int], ...]


_SHAPES: Mapping[Net, _Shape] = {
    "pnet": _Shape(
        None,
        (_Conv(3, 10, (2, True)), _Conv(3, 16, None), _Conv(3, 32, None)),
        0,
        (("offsets", 4), ("scores", 2)),
    ),
    "rnet": _Shape(
        24,
        (_Conv(3, 28, (3, True)), _Conv(3, 48, (3, False)), _Conv(2, 64, None)),
        128,
        (("offsets", 4), ("scores", 2)),
    ),
    "onet": _Shape(
        48,
        (
            _Conv(3, 32, (3, True)),
            _Conv(3, 64, (3, False)),
            _Conv(3, 64, (2, True)),
            _Conv(2, 128, None),
        ),
        256,
        (("offsets", 4), ("points", 10), ("scores", 2)),
    ),
}


def ensure_mtcnn(card: ModelCard, cache: Path) -> dict[Net, Path]:
    """The three ONNX files in `cache`, built from the card's weights where they are not there yet.

    Files found are checked against the SHA-256 written beside them; one that does not fit is built
    again. The `onnx` package is needed, and imported, only to build.
    Raises ModelError, MissingDependencyError, OutputError.
    """
    return {net: _ensure(card, net, cache) for net in NETS}


def _ensure(card: ModelCard, net: Net, cache: Path) -> Path:
    weights = resolve(card, net)
    key = hashlib.sha256(
        f"{card.package[net].sha256 if net in card.package else weights.name}/{BUILDER}".encode()
    ).hexdigest()[:12]
    return cached_graph(
        cache / f"mtcnn-{net}-{key}.onnx",
        {"card": card.name, "part": net},
        lambda: build_graph(net, read_arrays(weights.read_bytes(), weight_shapes(net))),
    )


def cached_graph(path: Path, facts: Mapping[str, str], build: Callable[[], bytes]) -> Path:
    """`path`, built where it is not there or not as the record beside it says. Raises OutputError.

    facts: what the record says besides the SHA-256.
    """
    record = path.with_suffix(".json")
    try:
        check_sha256(path, str(json.loads(record.read_text("utf-8"))["sha256"]))
        return path
    except FileNotFoundError:
        pass
    except (ModelError, ValueError, KeyError, TypeError) as exc:
        log.warning("engine_rebuilt file=%s reason=%s", path, exc)
    data = build()
    made = {"sha256": hashlib.sha256(data).hexdigest(), **facts}
    write_all({path: data, record: json.dumps(made, indent=1)}, _full_cache)
    return path


def _full_cache(exc: OSError) -> str:
    return f"{exc.strerror}; free space or set engines.cache to a folder that can be written"


def weight_shapes(net: Net) -> list[tuple[int, ...]]:
    """Shapes of the package's arrays in file order: kernel, bias, slope per layer, then heads."""
    shape = _SHAPES[net]
    found: list[tuple[int, ...]] = []
    channels, side = 3, shape.side or 0
    for conv in shape.convs:
        found += [(conv.kernel, conv.kernel, channels, conv.filters), (conv.filters,)]
        found += [(1, 1, conv.filters)]
        channels = conv.filters
        side -= conv.kernel - 1
        if conv.pool is not None:
            side = _pooled(side, *conv.pool)
    width = channels
    if shape.dense:
        found += [(side * side * channels, shape.dense), (shape.dense,), (shape.dense,)]
        width = shape.dense
    for _, size in shape.heads:
        found += [(width, size) if shape.dense else (1, 1, width, size), (size,)]
    return found


def _pooled(side: int, kernel: int, partial: bool) -> int:
    return (side - kernel + (1 if partial else 0)) // 2 + 1


def build_graph(net: Net, weights: Sequence[F32]) -> bytes:
    """One network as a serialised ONNX model, from the package's arrays in file order.

    Input `image`: (N, 3, H, W). Outputs, P-Net: `offsets` (N, 4, h, w), `scores` (N, 1, h, w);
    R-Net and O-Net: `offsets` (N, 4), `scores` (N, 1), and O-Net's `points` (N, 10). Offsets are
    x1, y1, x2, y2 as shares of the box; scores the probability of a face; points the five x, then
    the five y. Raises MissingDependencyError.
    """
    graph = _Graph()
    shape, rest = _SHAPES[net], list(weights)
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
            side = _pooled(side, *conv.pool)
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
    graph: _Graph, x: str, layer: tuple[F32, F32, F32], heads: Sequence[F32]
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
    graph: _Graph, x: str, shape: _Shape, weights: Sequence[F32], side: int, channels: int
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


class _Graph:
    """Collects nodes and weights; every node's output has the node's name."""

    def __init__(self) -> None:
        try:
            import onnx
        except ImportError as exc:
            raise MissingDependencyError(
                "building the MTCNN networks needs the onnx package: pip install 'jetson-face[pc]'"
            ) from exc
        self._onnx: Any = onnx
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def model(
        self, name: str, inputs: Mapping[str, list[Any]], outputs: Mapping[str, list[Any]]
    ) -> bytes:
        """Everything collected, checked, as a serialised model of float32 tensors."""
        helper, kind = self._onnx.helper, self._onnx.TensorProto.FLOAT
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
        self._onnx.checker.check_model(made, full_check=True)
        return bytes(made.SerializeToString())

    def node(self, kind: str, name: str, inputs: list[str], **attributes: Any) -> str:
        self.nodes.append(
            self._onnx.helper.make_node(kind, inputs, [name], name=name, **attributes)
        )
        return name

    def weight(self, name: str, value: F32) -> str:
        array = np.ascontiguousarray(value, np.float32)
        self.weights.append(self._onnx.numpy_helper.from_array(array, name))
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
        parts = self._onnx.numpy_helper.from_array(
            np.array(list(sizes.values()), np.int64), "sizes"
        )
        self.weights.append(parts)
        self.nodes.append(
            self._onnx.helper.make_node("Split", [x, "sizes"], list(sizes), name="split", axis=1)
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
