"""A teacher's ONNX graph as a PyTorch module, with taps at the feature maps inside.

Only what face networks of the MobileNet family are made of: anything else is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

from jetson_face.core.errors import InputBrokenError


class _Affine(nn.Module):
    """x * scale + shift, for Sub and Mul with one number."""

    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


class Rebuilt(nn.Module):
    """The network of an ONNX file; ``forward`` gives its output and the named maps inside.

    Raises:
        InputBrokenError: an operator that is not known here, or a tap that the graph lacks.
    """

    def __init__(self, model: onnx.ModelProto | Path, taps: Sequence[str] = ()) -> None:
        super().__init__()
        graph = (onnx.load(str(model)) if isinstance(model, Path) else model).graph
        weights = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
        self.source = next(i.name for i in graph.input if i.name not in weights)
        self.result, self.taps = graph.output[0].name, tuple(taps)
        self.layers = nn.ModuleList()
        self.plan: list[tuple[int, tuple[str, ...], str]] = []
        for node in graph.node:
            if node.op_type == "Constant":
                continue
            layer = _layer(node, weights)
            if layer is not None:
                self.layers.append(layer)
            number = len(self.layers) - 1 if layer is not None else -1
            inputs = tuple(node.input) if layer is None else (node.input[0],)
            self.plan.append((number, inputs, node.output[0]))
        lacking = set(self.taps) - {made for _, _, made in self.plan}
        if lacking:
            raise InputBrokenError(f"the teacher's graph has no {', '.join(sorted(lacking))}")
        self._last = {name: i for i, (_, inputs, _) in enumerate(self.plan) for name in inputs}
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Network input (N, 3, 112, 112) to the raw output (N, D) and the taps by name."""
        held, out = {self.source: x}, {}
        for i, (number, inputs, made) in enumerate(self.plan):
            given = held[inputs[0]]
            held[made] = given + held[inputs[1]] if number < 0 else self.layers[number](given)
            if made in self.taps:
                out[made] = held[made]
            for name in inputs:
                if self._last[name] == i:
                    held.pop(name, None)
        return held[self.result], out


def _layer(node: onnx.NodeProto, weights: dict[str, Any]) -> nn.Module | None:
    """The module of a node; None for the sum of two maps."""
    told = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    given = [weights.get(name) for name in node.input[1:]]
    if node.op_type == "Add" and given[0] is None:
        return None
    makers: dict[str, Callable[[list[Any], dict[str, Any]], nn.Module]] = {
        "Conv": _conv,
        "PRelu": _prelu,
        "BatchNormalization": _norm,
        "Gemm": _linear,
        "Sub": lambda g, _: _Affine(1.0, -_number(g[0])),
        "Mul": lambda g, _: _Affine(_number(g[0]), 0.0),
        "Flatten": lambda *_: nn.Flatten(),
        "Reshape": lambda *_: nn.Flatten(),
        "Dropout": lambda *_: nn.Identity(),
        "Relu": lambda *_: nn.ReLU(),
    }
    if node.op_type not in makers:
        raise InputBrokenError(f"the teacher's graph has {node.op_type}, which is not known here")
    return makers[node.op_type](given, told)


def _number(values: Any) -> float:
    if values is None or np.size(values) != 1:
        raise InputBrokenError("the teacher's graph has a sum or product of maps, not known here")
    return float(np.ravel(values)[0])


def _float(values: Any) -> Tensor:
    return torch.from_numpy(np.array(values, np.float32))


def _conv(given: list[Any], told: dict[str, Any]) -> nn.Module:
    kernel = _float(given[0])
    groups, pads = told.get("group", 1), told.get("pads", [0, 0, 0, 0])
    bias = len(given) > 1
    layer = nn.Conv2d(
        kernel.shape[1] * groups,
        kernel.shape[0],
        cast("tuple[int, int]", tuple(kernel.shape[2:])),
        tuple(told.get("strides", (1, 1))),
        tuple(pads[:2]),
        groups=groups,
        bias=bias,
    )
    layer.weight.data = kernel
    if bias:
        cast(nn.Parameter, layer.bias).data = _float(given[1])
    return layer


def _prelu(given: list[Any], _: dict[str, Any]) -> nn.Module:
    slopes = _float(given[0]).flatten()
    layer = nn.PReLU(len(slopes))
    layer.weight.data = slopes
    return layer


def _norm(given: list[Any], told: dict[str, Any]) -> nn.Module:
    scale, shift, mean, var = (_float(g) for g in given)
    layer = _Norm()
    layer.register_buffer("scale", scale / (var + told.get("epsilon", 1e-5)).sqrt())
    layer.register_buffer("shift", shift - mean * layer.scale)
    return layer


class _Norm(nn.Module):
    """A batch-norm that has its statistics, over maps or over numbers."""

    scale: Tensor
    shift: Tensor

    def forward(self, x: Tensor) -> Tensor:
        view = (1, -1, *(1 for _ in x.shape[2:]))
        return x * self.scale.view(view) + self.shift.view(view)


def _linear(given: list[Any], told: dict[str, Any]) -> nn.Module:
    weight = _float(given[0] if told.get("transB") else given[0].T)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=len(given) > 1)
    layer.weight.data = weight * told.get("alpha", 1.0)
    if len(given) > 1:
        layer.bias.data = _float(given[1]) * told.get("beta", 1.0)
    return layer


class Teacher(nn.Module):
    """A rebuilt network behind its own colour order and scale."""

    def __init__(
        self, network: Rebuilt, colour: str, mean: float, std: float, taps: dict[int, str]
    ) -> None:
        super().__init__()
        self.network, self.taps = network, taps
        self.colour, self.mean, self.std = colour, mean, std

    def forward(self, faces: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        """RGB faces (N, 3, 112, 112), 0 to 255, to unit vectors (N, D) and the taps by side."""
        given = faces if self.colour == "RGB" else faces.flip(1)
        raw, maps = self.network((given - self.mean) / self.std)
        return F.normalize(raw.float(), dim=1), {s: maps[name] for s, name in self.taps.items()}
