"""Predict milliseconds per stage on Jetson boards from the ONNX files, on paper, as a range.

Each fused layer takes the longer of its arithmetic and its memory traffic, plus a launch:
    t = max(operations / (share * peak), bytes / (share * bandwidth)) + launch
(roofline: Williams, Waterman, Patterson 2009). The shares and launches are fitted to published
measurements, which `--check` prints beside the prediction.

The low end counts what TensorRT may fuse as free. The high end counts PReLU and Cast, which often
run apart, as layers, and doubles: by that much the one published figure of an Orin was missed.

    python tools/roofline.py [--embed FILE.onnx] [--frame 1280x720] [--min-face 40] [--check]
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from jetson_face.detection.mtcnn.decode import pyramid_scales
from jetson_face.detection.mtcnn.detector import search_levels
from jetson_face.detection.mtcnn.graph import ensure_mtcnn
from jetson_face.detection.mtcnn.search import ensure_search
from jetson_face.detection.shrink import small_size
from jetson_face.detection.yunet import TILE_PX, search_size, searched_side
from jetson_face.detection.yunet_search import frame_graph
from jetson_face.models.built import network_file
from jetson_face.models.cards import load_card

MEMORY_SHARE = 0.60
PLAIN_SHARE = 0.5
"""Of the plain cores' peak."""
FREE = {
    "Relu",
    "Add",
    "Sigmoid",
    "PRelu",
    "Concat",
    "Flatten",
    "Split",
    "Identity",
    "Cast",
    "Mul",
    "Constant",
    "Reshape",
    "Unsqueeze",
    "Squeeze",
    "Div",
    "Clip",
    "Sqrt",
    "BatchNormalization",
}
"""Fused into the layer before, or no work at all."""
APART = {"PRelu", "Cast"}
"""Of those: what TensorRT often runs as kernels of their own."""
SLOWER = 2.0
"""High end over low: YOLOv8n, INT8, Orin Nano: 3.49 ms measured, 1.7 to 2 by this model."""


@dataclass(frozen=True)
class Board:
    """fp16: dense operations, 1e12/s. fp32: those of the plain cores, without TF32. bandwidth: 1e9
    B/s. launch: least microseconds a layer. share: of the peak that small convolutions reach; plain
    cores reach more than tensor cores."""

    name: str
    fp16: float
    fp32: float
    bandwidth: float
    launch: float = 10.0
    share: float = 0.3


BOARDS = (
    Board("Orin Nano 8GB (25 W)", 16.7, 2.1, 102.4),
    Board("Orin NX 16GB (25 W)", 15.0, 1.9, 102.4),
    Board("AGX Orin 64GB", 42.6, 5.3, 204.8),
    Board("AGX Thor (T5000)", 257.0, 8.0, 273.0, launch=8.0),
)
NANO = Board("Nano (Maxwell)", 0.472, 0.236, 25.6, launch=14.0, share=0.5)
XAVIER = Board("AGX Xavier", 11.3, 1.4, 137.0, launch=14.0)


@dataclass(frozen=True)
class Work:
    """One layer: multiply-adds, elements of weights, elements of activations read and written.

    exact: stays in fp32 whatever the plan's precision. apart: fused where all goes well.
    """

    macs: float
    weights: float
    activations: float
    exact: bool = False
    apart: bool = False

    def seconds(self, board: Board, precision: str = "fp16") -> float:
        """Predicted time."""
        precision = "fp32" if self.exact else precision
        size = {"fp32": 4, "fp16": 2, "int8": 1}[precision]
        peak = {
            "fp32": PLAIN_SHARE * board.fp32,
            "fp16": board.share * board.fp16,
            "int8": board.share * board.fp16 * 2,
        }[precision]
        arithmetic = 2 * self.macs / (peak * 1e12)
        traffic = (self.weights + self.activations) * size / (MEMORY_SHARE * board.bandwidth * 1e9)
        return max(arithmetic, traffic) + board.launch * 1e-6


def work_of(file: Path, input_shape: Sequence[int]) -> list[Work]:
    """The layers of a network for one input shape."""
    model = onnx.load(str(file))
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim, input_shape, strict=True):
        dim.dim_value = size
    for value in model.graph.output:  # stale sizes would contradict the new input
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    del model.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: dict[str, tuple[int, ...]] = {w.name: tuple(w.dims) for w in graph.initializer}
    stored = set(shapes)
    for value in [*graph.input, *graph.value_info, *graph.output]:
        shapes[value.name] = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)
    return [w for node in graph.node if (w := _node(node, shapes, stored)) is not None]


def _node(node: Any, shapes: Mapping[str, tuple[int, ...]], stored: set[str]) -> Work | None:
    apart = node.op_type in APART
    if node.op_type in FREE and not apart:
        return None
    out = math.prod(shapes.get(node.output[0], (0,)))
    read = sum(math.prod(shapes.get(n, (0,))) for n in node.input if n and n not in stored)
    weights = sum(math.prod(shapes[n]) for n in node.input if n in stored)
    macs = 0.0
    if node.op_type == "Conv":
        macs = out * math.prod(shapes[node.input[1]][1:])
    elif node.op_type in ("Gemm", "MatMul"):
        macs = out * shapes[node.input[0]][-1]
    # Only the pyramid has these; its pixels are not rounded to fp16.
    exact = node.op_type in ("MatMul", "Transpose", "ReduceMean")
    return Work(macs, weights, read + out, exact, apart)


def squeezenet_1_1(side: int = 224) -> list[Work]:
    """The published network, layer by layer, for `--check`."""
    layers: list[Work] = []

    def conv(cin: int, cout: int, kernel: int, size: int, stride: int = 1) -> None:
        out = (size if stride == 1 else (size - kernel) // stride + 1) ** 2
        weights = cin * cout * kernel * kernel
        layers.append(Work(out * weights, weights, cin * size * size + cout * out))

    def pool(channels: int, size: int) -> int:
        layers.append(Work(0, 0, channels * size * size * 1.25))
        return math.ceil((size - 3) / 2) + 1

    conv(3, 64, 3, side, 2)
    size, cin = pool(64, (side - 3) // 2 + 1), 64
    for squeeze, expand, last in (
        (16, 64, False), (16, 64, True), (32, 128, False), (32, 128, True),
        (48, 192, False), (48, 192, False), (64, 256, False), (64, 256, False),
    ):  # fmt: skip
        conv(cin, squeeze, 1, size)
        conv(squeeze, expand, 1, size)
        conv(squeeze, expand, 3, size)
        cin = 2 * expand
        if last:
            size = pool(cin, size)
    conv(cin, 1000, 1, size)
    return layers


def resnet_18(side: int = 224) -> list[Work]:
    """The published network, layer by layer: for `--check`, and not part of the fit."""
    layers: list[Work] = []

    def conv(cin: int, cout: int, kernel: int, size: int, stride: int = 1) -> None:
        out = (size // stride) ** 2
        weights = cin * cout * kernel * kernel
        layers.append(Work(out * weights, weights, cin * size * size + cout * out))

    conv(3, 64, 7, side, 2)
    layers.append(Work(0, 0, 64 * (side // 2) ** 2 * 1.25))
    size, cin = side // 4, 64
    for cout in (64, 128, 256, 512):
        stride = 1 if cout == 64 else 2
        if stride == 2:
            conv(cin, cout, 1, size, 2)
        conv(cin, cout, 3, size, stride)
        size //= stride
        for _ in range(3):
            conv(cout, cout, 3, size)
        cin = cout
    layers.append(Work(512_000, 512_000, 1512))
    return layers


def total(work: Sequence[Work], board: Board, precision: str = "fp16") -> float:
    """Milliseconds, where all is fused that can be."""
    return 1e3 * sum(layer.seconds(board, precision) for layer in work if not layer.apart)


def expected(work: Sequence[Work], board: Board, precision: str = "fp16") -> tuple[float, float]:
    """Milliseconds, from the model's own figure to what a first measurement may well say."""
    apart = 1e3 * sum(layer.seconds(board, precision) for layer in work)
    return total(work, board, precision), SLOWER * apart


PUBLISHED = (
    # NVIDIA-AI-IOT/torch2trt, benchmarks/JETSON_NANO.md and JETSON_XAVIER.md: 1000 / throughput
    ("SqueezeNet 1.1, 224x224, FP16 (fitted)", squeezenet_1_1, NANO, 1000 / 248),
    ("SqueezeNet 1.1, 224x224, FP16 (fitted)", squeezenet_1_1, XAVIER, 1000 / 1390),
    ("ResNet-18, 224x224, FP16", resnet_18, NANO, 1000 / 90.2),
    ("ResNet-18, 224x224, FP16", resnet_18, XAVIER, 1000 / 712),
)


def stages(
    embed: Path | None, frame: tuple[int, int], min_face: float, cache: Path
) -> dict[str, list[Work]]:
    """The work of each stage on one searched frame, or for one batch of faces."""
    nets = ensure_mtcnn(load_card("mtcnn"), cache)
    width, height = frame
    levels = [
        (int(height * s), int(width * s)) for s in pyramid_scales(width, height, min_face, 0.709)
    ]
    found = {
        f"P-Net, {len(levels)} levels of {width}x{height}": [
            layer for size in levels for layer in work_of(nets["pnet"], (1, 3, *size))
        ],
        "The same with its pyramid, one plan": work_of(
            _search_file(nets["pnet"], frame, min_face, cache), (1, height, width, 3)
        ),
        "R-Net, 64 candidates": work_of(nets["rnet"], (64, 3, 24, 24)),
        "O-Net, 16 candidates": work_of(nets["onet"], (16, 3, 48, 48)),
        "O-Net, 4 faces followed": work_of(nets["onet"], (4, 3, 48, 48)),
        **_yunet_stages(frame, min_face, cache),
    }
    if embed is not None:
        for batch in (1, 4, 16):
            found[f"Embedding, {batch} face{'s' if batch > 1 else ''}"] = work_of(
                embed, (batch, 3, 112, 112)
            )
    return found


def _yunet_stages(frame: tuple[int, int], min_face: float, cache: Path) -> dict[str, list[Work]]:
    """A search of one frame, and known faces in squares of their own."""
    yunet = network_file(load_card("yunet"), "fp32", cache)
    height, width = search_size(frame, min_face, None)
    small = small_size(frame, searched_side(max(frame), min_face, None))[0]
    whole = cache / "yunet_frame.onnx"
    whole.write_bytes(frame_graph(yunet.read_bytes(), frame, small, (height, width)))
    return {
        f"YuNet, {frame[0]}x{frame[1]} as {width}x{height}": work_of(yunet, (1, 3, height, width)),
        "The same of 4 cameras in one run": work_of(yunet, (4, 3, height, width)),
        "YuNet from the frame's bytes, one plan": work_of(whole, (1, frame[1], frame[0], 4)),
        "YuNet, 4 faces followed": work_of(yunet, (4, 3, TILE_PX, TILE_PX)),
    }


def _search_file(pnet: Path, frame: tuple[int, int], min_face: float, cache: Path) -> Path:
    size, levels = search_levels(frame, min_face, 0.709, max_side_px=None)
    return ensure_search(pnet, cache, *size, levels)


def rows_of(work: Mapping[str, Sequence[Work]]) -> list[dict[str, Any]]:
    """A row for each stage: operations, bytes in fp16, milliseconds (low, high) by board."""
    rows = []
    for name, layers in work.items():
        fused = [layer for layer in layers if not layer.apart]
        row: dict[str, Any] = {
            "stage": name,
            "gmacs": sum(layer.macs for layer in fused) / 1e9,
            "mbytes": sum(layer.weights + layer.activations for layer in fused) * 2 / 1e6,
            "layers": len(fused),
            "layers_max": len(layers),
        }
        for precision in ("fp16", "fp32", "int8"):
            times = {board.name: expected(layers, board, precision) for board in BOARDS}
            row[f"{precision}_ms"] = times
        rows.append(row)
    return rows


def table(rows: Sequence[Mapping[str, Any]], precision: str) -> str:
    """The rows as a Markdown table."""
    names = [board.name for board in BOARDS]
    lines = [
        f"| stage ({precision}) | GMAC | MB | layers | {' | '.join(names)} |",
        "|---|--:|--:|--:|" + "--:|" * len(names),
    ]
    for row in rows:
        figures = " | ".join(
            "{:.1f}–{:.1f}".format(*row[f"{precision}_ms"][name]) for name in names
        )
        lines.append(
            f"| {row['stage']} | {row['gmacs']:.3f} | {row['mbytes']:.1f} "
            f"| {row['layers']}–{row['layers_max']} "
            f"| {figures} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print tables, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--embed", type=Path, help="the embedding's ONNX, 112x112 input")
    parser.add_argument("--frame", default="1280x720")
    parser.add_argument("--min-face", type=float, default=40)
    parser.add_argument("--check", action="store_true", help="print published figures beside ours")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if args.check:
        for name, network, board, measured in PUBLISHED:
            ours = total(network(), board)
            print(
                f"{name} on {board.name}: published {measured:.2f} ms, here {ours:.2f} ms "
                f"({ours / measured:.2f}x)"
            )
        return
    width, height = map(int, args.frame.split("x"))
    with tempfile.TemporaryDirectory() as cache:
        rows = rows_of(stages(args.embed, (width, height), args.min_face, Path(cache)))
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print("\n\n".join(table(rows, precision) for precision in ("fp16", "int8")))


if __name__ == "__main__":
    main()
