"""What goes on inside an ONNX network: its first filters, and the maps between its layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jetson_face.core.errors import ModelError
from jetson_face.inference.backend import Array
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.util.optional import needs, pip_install

_MAPS = ("Relu", "PRelu", "LeakyRelu", "Clip", "Concat", "Add", "MaxPool", "AveragePool", "Conv")


class LayerView:
    """One network with every feature map at hand. Raises ModelError, MissingDependencyError.

    filters: weights (O, I, kh, kw) of the first convolution.
    """

    def __init__(self, path: Path) -> None:
        with needs(f"looking inside a network needs onnx: {pip_install('pc')}"):
            import onnx
        try:
            model = onnx.load(str(path))
        except Exception as exc:  # protobuf's own errors have no common base but Exception
            raise ModelError(f"{path}: not an ONNX file: {' '.join(str(exc).split())}") from exc
        self.filters = _first_filters(onnx, model)
        own = {value.name for value in model.graph.output}
        nodes = [n for n in model.graph.node if n.op_type in _MAPS and n.output[0] not in own]
        for node in nodes:
            model.graph.output.append(onnx.helper.make_empty_tensor_value_info(node.output[0]))
        self._kinds = {node.output[0]: node.op_type for node in nodes}
        self._backend = OnnxBackend(model.SerializeToString(), threads=1)

    def maps(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Feature maps (C, h, w) of the first picture, in the order of the network.

        Named by number and kind of layer, as `03 Relu`; a convolution that an activation follows
        at once is left out.
        """
        values = self._backend.run(feeds)
        found = {
            name: np.asarray(values[name][0], np.float32)
            for name in self._kinds
            if values[name].ndim == 4
        }
        activated = [name for name in found if self._kinds[name] != "Conv"] or list(found)
        return {f"{i:02d} {self._kinds[name]}": found[name] for i, name in enumerate(activated)}

    def close(self) -> None:
        """Free the network."""
        self._backend.close()


def _first_filters(onnx: Any, model: Any) -> Array:
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv" and node.input[1] in weights:
            return np.asarray(onnx.numpy_helper.to_array(weights[node.input[1]]), np.float32)
    raise ModelError("the network has no convolution with fixed weights: no filters to show")
