"""YuNet with the shrinking of its picture as one network, for frames of one size.

A GPU then gets the frame's bytes, and the CPU neither shrinks them nor makes planes of them. The
frame is BGRx, as a Jetson's converter gives it; the fourth byte is left out on the GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from jetson_face.core.errors import ModelError
from jetson_face.util.optional import needs, pip_install

PICTURE = "picture"
"""Name of the input."""
_OPSET_MIN = 11
"""From here on Resize says how pixels lie, and Pad and Slice take their sizes as inputs."""


def frame_graph(
    yunet: bytes,
    size: tuple[int, int],
    small: tuple[int, int],
    padded: tuple[int, int],
    *,
    many: bool = False,
) -> bytes:
    """A serialised ONNX model: frames (1, height, width, 4) uint8 BGRx to YuNet's maps.

    yunet: its ONNX file, for pictures of any size. size: (width, height) of a frame; small: of what
    is searched; padded: (height, width) with its black edges. Halved while that leaves more than is
    wanted, the rest bilinear, not rounded to grey values. many: any number of frames in a run.
    Raises ModelError on another graph, MissingDependencyError.
    """
    with needs(f"building networks needs the onnx package: {pip_install('pc')}"):
        import onnx
    model = onnx.load_model_from_string(yunet)
    opset = {each.domain: each.version for each in model.opset_import}.get("", 0)
    if len(model.graph.input) != 1 or opset < _OPSET_MIN:
        raise ModelError("not YuNet's graph: it has other inputs, or is too old")
    before = _Before(onnx, size, small, padded, many)
    before.make(model.graph.input[0].name)
    graph = model.graph
    for i, node in enumerate(before.nodes):
        graph.node.insert(i, node)
    graph.initializer.extend(before.numbers)
    del graph.value_info[:]
    graph.input[0].CopyFrom(
        onnx.helper.make_tensor_value_info(
            PICTURE, onnx.TensorProto.UINT8, ["frames" if many else 1, size[1], size[0], 4]
        )
    )
    for output in graph.output:  # names of sizes would contradict the numbers
        output.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    for output, typed in zip(graph.output, inferred.graph.output, strict=True):
        output.CopyFrom(typed)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


class _Before:
    """The nodes between the frame's bytes and YuNet's input."""

    def __init__(
        self,
        onnx: Any,
        size: tuple[int, int],
        small: tuple[int, int],
        padded: tuple[int, int],
        many: bool,
    ) -> None:
        self._onnx, self._size, self._small, self._padded = onnx, size, small, padded
        self._many = many
        self.nodes: list[Any] = []
        self.numbers: list[Any] = []

    def make(self, target: str) -> None:
        """Everything, ending in the tensor `target`. What is large is read once."""
        (width, height), (small_w, small_h) = self._size, self._small
        x = self._node("Cast", "pixels", [PICTURE], to=self._onnx.TensorProto.FLOAT)
        halvings = 0
        while width >= 2 * small_w and height >= 2 * small_h:
            halvings += 1
            x = self._resize(f"half_{halvings}", x, (width, height), (width // 2, height // 2))
            width, height = width // 2, height // 2
        if (width, height) != self._small:
            x = self._resize("small", x, (width, height), self._small)
        ends = [
            self._ints(name, [value]) for name, value in (("begin", 0), ("end", 3), ("axis", 3))
        ]
        x = self._node("Slice", "colours", [x, *ends])
        x = self._node("Transpose", "planes", [x], perm=[0, 3, 1, 2])
        edges = [0, 0, 0, 0, 0, 0, self._padded[0] - small_h, self._padded[1] - small_w]
        self._node("Pad", "padded", [x, self._ints("edges", edges)], output=target)

    def _resize(self, name: str, x: str, old: tuple[int, int], new: tuple[int, int]) -> str:
        """Between the nearest pixels; to one half that is the mean of four. The size as factors
        where the number of frames is not known."""
        if self._many:
            how = [x, "", self._factors(f"{name}_factors", old, new)]
        else:
            how = [x, "", "", self._ints(f"{name}_size", [1, new[1], new[0], 4])]
        return self._node(
            "Resize",
            name,
            how,
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )

    def _node(
        self,
        kind: str,
        name: str,
        inputs: list[str],
        *,
        output: str | None = None,
        **attributes: Any,
    ) -> str:
        out = output or f"frame_{name}"
        self.nodes.append(
            self._onnx.helper.make_node(kind, inputs, [out], name=f"frame_{name}", **attributes)
        )
        return out

    def _factors(self, name: str, old: tuple[int, int], new: tuple[int, int]) -> str:
        """Such that `old` times them, rounded down, is `new`."""
        wide, high = (
            factor if np.floor(was * factor) == to else np.nextafter(factor, np.float32(2))
            for was, to in zip(old, new, strict=True)
            for factor in [np.float32(to / was)]
        )
        return self._number(name, np.array([1, high, wide, 1], np.float32))

    def _ints(self, name: str, values: list[int]) -> str:
        return self._number(name, np.array(values, np.int64))

    def _number(self, name: str, values: Any) -> str:
        name = f"frame_{name}"
        self.numbers.append(self._onnx.numpy_helper.from_array(values, name))
        return name
