"""A network of this project taken back from its ONNX file, to be trained further.

Its batch-norms were folded away; they are made again from what the layers give on a few faces, so
that the network answers as the file does and trains as a fresh one would.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from jetson_face.core.errors import InputBrokenError
from jetson_face.training.net import ConvNorm, Fire, SqueezeNetFace

_SMALL = 0.2
"""Scale of a new module's batch-norms: near the identity, as ``net.start_from``."""


def start_from_onnx(net: SqueezeNetFace, path: Path, faces: Tensor) -> tuple[str, ...]:
    """Take over the weights of ``path``; the names of the layers that it lacks.

    ``faces`` (N, 3, 112, 112) is network input that the statistics are of. The network is left in
    evaluation mode.

    Raises:
        InputBrokenError: the file is of another network.
    """
    model = onnx.load(str(path))
    held = {i.name: numpy_helper.to_array(i).copy() for i in model.graph.initializer}
    hooks: list[Any] = []
    fresh: list[str] = []
    for name, layer in net.named_modules():
        if isinstance(layer, ConvNorm):
            hooks.append(_adopt(f"{name}.0", layer[0], layer[1], held, fresh))
    head = net.head
    hooks.append(_adopt("head.place", head.place, head.place_norm, held, fresh))
    hooks.append(_adopt("head.linear", head.linear, head.norm, held, fresh))
    unused = {n for n in held if n.startswith(("trunk.", "head."))}
    if unused or any("_" not in name for name in fresh):
        raise InputBrokenError(f"{path}: of another network: {', '.join([*unused, *fresh])}")
    net.eval()
    with torch.no_grad():
        net(faces)
    for hook in hooks:
        hook.remove()
    return tuple(fresh)


def start_from_kept(net: SqueezeNetFace, weights: Mapping[str, Tensor]) -> str:
    """Take over a campaign's kept weights, and what is new and gone of the layers, as text.

    New channels of a squeeze are random and have no say at first (the expansions' weights of them
    are zero), new repeated fires start near the identity, and others are left out.

    Raises:
        InputBrokenError: the weights are of another network.
    """
    state = net.state_dict()
    repeated = {f"trunk.{name}" for name, layer in net.trunk.named_children()
                if "_" in name and isinstance(layer, Fire) and layer.bypass}  # fmt: skip
    fresh = {fire for key in state.keys() - weights.keys() if (fire := _fire_of(key))}
    gone = {fire for key in weights.keys() - state.keys() if "_" in (fire := _fire_of(key))}
    wider: set[str] = set()
    for key, new in state.items():
        old = weights.get(key)
        if old is None:
            continue
        if old.shape == new.shape:
            new.copy_(old)
        elif old.ndim == new.ndim and all(
            a <= b for a, b in zip(old.shape, new.shape, strict=True)
        ):
            wider.add(_fire_of(key))
            if old.ndim > 1 and ".expand" in key:
                new.zero_()
            new[tuple(slice(n) for n in old.shape)] = old
        else:
            raise InputBrokenError(f"{key}: {tuple(old.shape)} for {tuple(new.shape)}")
    if not (fresh <= repeated and all(key.startswith("trunk.fire") for key in [*gone, *wider])):
        raise InputBrokenError(f"of another network: {', '.join(sorted(fresh | gone | wider))}")
    for name in fresh:
        for layer in net.get_submodule(name).modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.constant_(layer.weight, _SMALL)
    told = {"new": fresh, "left out": gone, "wider": wider}
    return "; ".join(f"{what}: {', '.join(sorted(of))}" for what, of in told.items() if of)


def _fire_of(key: str) -> str:
    return ".".join(key.split(".")[:2])


def _adopt(
    name: str, layer: nn.Module, norm: nn.Module, held: dict[str, Any], fresh: list[str]
) -> Any:
    """Weights of one layer, and a hook that gives its batch-norm what the faces show."""
    weight, bias = held.pop(f"{name}.weight", None), held.pop(f"{name}.bias", None)
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    if weight is None:
        fresh.append(name)
    elif tuple(weight.shape) != tuple(layer.weight.shape):
        raise InputBrokenError(f"{name}: {tuple(weight.shape)} for {tuple(layer.weight.shape)}")
    else:
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
    shift = None if bias is None else torch.from_numpy(bias)

    def measure(norm: Any, given: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (settle(layer, norm, given[0], shift),)

    return norm.register_forward_pre_hook(measure)


def settle(layer: nn.Module, norm: Any, x: Tensor, shift: Tensor | None) -> Tensor:
    """Scale the layer so that each channel of its output ``x`` has variance 1, the norm to match.

    With ``shift`` layer and norm together give x + shift; without, x as a new layer. Returns the
    layer's output as it is now.
    """
    axes = [0, *range(2, x.ndim)]
    mean, spread = x.mean(axes), x.var(axes, unbiased=False).sqrt().clamp_min(1e-4)
    view = (-1, *(1 for _ in range(layer.weight.ndim - 1)))
    layer.weight.div_(spread.view(view))
    norm.running_mean.copy_(mean / spread)
    norm.running_var.fill_(1.0)
    if shift is None:
        norm.weight.fill_(_SMALL)
        norm.bias.zero_()
    else:
        norm.weight.copy_(spread)
        norm.bias.copy_(mean + shift.to(mean))
    return x / spread.view(1, -1, *(1 for _ in range(x.ndim - 2)))


def ridge(x: Tensor, y: Tensor, strength: float = 1e-3) -> tuple[Tensor, Tensor]:
    """Weight (D, C) and bias (D,) of the least-squares map from x (N, C) to y (N, D)."""
    mean_x, mean_y = x.mean(0), y.mean(0)
    cx, cy = (x - mean_x).double(), (y - mean_y).double()
    square = cx.T @ cx
    square += strength * square.diagonal().mean() * torch.eye(len(square), device=x.device)
    weight = torch.linalg.solve(square, cx.T @ cy).T.float()
    return weight, mean_y - weight @ mean_x
