"""P-Net with its image pyramid as one network, for frames of one size.

A level is the frame between two matrices, one that averages its rows and one its columns, so that a
GPU makes the whole pyramid from the frame's bytes, and all levels are one run of fixed shapes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jetson_face.core.errors import ModelError
from jetson_face.detection.mtcnn.pyramid import Level, area_weights
from jetson_face.detection.mtcnn.writer import GraphWriter
from jetson_face.models.built import built_file

SEARCH_FP32 = ("MatMul", "Reshape", "Transpose")
"""Operators of the pyramid, by type: in fp16 its grey values would be rounded."""
BUILDER = 1
"""Counts changes of the graphs made here: part of the cache's key."""
OUTPUTS = ("offsets", "scores")


def search_graph(pnet: bytes, width: int, height: int, levels: Sequence[Level]) -> bytes:
    """A serialised ONNX model: frames (1, height, width, 3) uint8 BGR to P-Net's maps.

    pnet: the ONNX file of `graph`. Input `picture`; outputs `offsets_0` (1, 4, h, w) and
    `scores_0` (1, 1, h, w), and so on for each of `levels`, as P-Net gives them for
    `build_pyramid`'s. Raises ModelError where there is no level, MissingDependencyError.
    """
    if not levels:
        raise ModelError(
            f"frames of {width}x{height} have no pyramid level: smaller than the smallest face "
            "looked for: set engines.frame_size to the camera's, or detector.min_face_px lower"
        )
    return _SearchGraph(pnet, width, height).build(levels)


def ensure_search(pnet: Path, cache: Path, width: int, height: int, levels: list[Level]) -> Path:
    """The search's ONNX file in `cache`, built where it is not there yet.

    Raises as `search_graph`, and OutputError.
    """
    plain = pnet.read_bytes()
    facts = repr((hashlib.sha256(plain).hexdigest(), width, height, levels, BUILDER))
    key = hashlib.sha256(facts.encode()).hexdigest()[:12]
    return built_file(
        cache / f"mtcnn-search-{width}x{height}-{key}.onnx",
        {"part": "search", "frame": f"{width}x{height}"},
        lambda: search_graph(plain, width, height, levels),
    )


def first_convolutions(levels: Sequence[Level]) -> tuple[str, ...]:
    """P-Net's first convolution at each level, as nodes of the search are called."""
    return tuple(f"conv1_{i}" for i in range(len(levels)))


class _SearchGraph:
    """Collects the nodes of one search; a node's output has the node's name."""

    def __init__(self, pnet: bytes, width: int, height: int) -> None:
        self._graph = GraphWriter()
        self._pnet = self._graph.onnx.load_model_from_string(pnet)
        self._width, self._height = width, height
        self._graph.weights.extend(self._pnet.graph.initializer)

    def build(self, levels: Sequence[Level]) -> bytes:
        """All levels, checked and serialised."""
        helper, kinds = self._graph.onnx.helper, self._graph.onnx.TensorProto
        bases = [self._graph.node("Cast", "pixels", ["picture"], to=kinds.FLOAT)]
        for i, level in enumerate(levels):
            while len(bases) <= level.halvings:
                bases.append(self._halve(bases[-1], len(bases)))
            self._add_pnet(self._shrink(bases[level.halvings], i, level), i)
        frame = [1, self._height, self._width, 3]
        outputs = [
            helper.make_tensor_value_info(f"{name}_{i}", kinds.FLOAT, [1, count, None, None])
            for i in range(len(levels))
            for name, count in zip(OUTPUTS, (4, 1), strict=True)
        ]
        graph = helper.make_graph(
            self._graph.nodes,
            "mtcnn_search",
            [helper.make_tensor_value_info("picture", kinds.UINT8, frame)],
            outputs,
            self._graph.weights,
        )
        made = helper.make_model(
            graph, opset_imports=self._pnet.opset_import, producer_name="jetson-face"
        )
        made.ir_version = self._pnet.ir_version
        inferred = self._graph.onnx.shape_inference.infer_shapes(
            made, strict_mode=True, data_prop=True
        )
        for output, typed in zip(made.graph.output, inferred.graph.output, strict=True):
            output.CopyFrom(typed)
        self._graph.onnx.checker.check_model(made, full_check=True)
        return bytes(made.SerializeToString())

    def _halve(self, base: str, halvings: int) -> str:
        """Rows and columns of `base`, one half as many of each."""
        rows, columns = self._height >> halvings, self._width >> halvings
        name = f"half_{halvings}"
        split = self._reshape(f"{name}_split", base, [rows, 2, columns, 2, 3])
        mean = self._graph.node("ReduceMean", name, [split], axes=[1, 3], keepdims=0)
        return self._reshape(f"{name}_frame", mean, [1, rows, columns, 3])

    def _shrink(self, base: str, i: int, level: Level) -> str:
        """The level, (1, 3, height, width): rows first, which lie together in memory."""
        rows, columns = self._height >> level.halvings, self._width >> level.halvings
        flat = self._reshape(f"flat_{i}", base, [rows, columns * 3])
        down = self._graph.weight(f"rows_{i}", area_weights(rows, level.height))
        short = self._graph.node("MatMul", f"short_{i}", [down, flat])
        pixels = self._reshape(f"short_pixels_{i}", short, [1, level.height, columns, 3])
        planes = self._graph.node("Transpose", f"planes_{i}", [pixels], perm=[0, 3, 1, 2])
        across = self._graph.weight(f"columns_{i}", area_weights(columns, level.width).T)
        return self._graph.node("MatMul", f"level_{i}", [planes, across])

    def _add_pnet(self, level: str, i: int) -> None:
        """P-Net once more, with its weights shared and its tensors numbered."""
        weights = {tensor.name for tensor in self._pnet.graph.initializer}
        for node in self._pnet.graph.node:
            copy = type(node).FromString(node.SerializeToString())
            for names in (copy.input, copy.output):
                for k, name in enumerate(names):
                    if name and name not in weights:
                        names[k] = level if name == "image" else f"{name}_{i}"
            copy.name = f"{node.name}_{i}"
            self._graph.nodes.append(copy)

    def _reshape(self, name: str, x: str, shape: list[int]) -> str:
        sizes = self._graph.onnx.numpy_helper.from_array(np.array(shape, np.int64), f"{name}_shape")
        self._graph.weights.append(sizes)
        return self._graph.node("Reshape", name, [x, f"{name}_shape"])
