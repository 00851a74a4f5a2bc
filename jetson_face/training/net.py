"""SqueezeNet v1.1 fire modules rearranged for 112x112 aligned faces.

Iandola et al., "SqueezeNet", 2016, section 3: a fire module squeezes with 1x1 filters, then expands
with 1x1 and 3x3 filters side by side; section 6 adds the identity ("simple") bypass. What differs
from v1.1, and why, is written in ``engines/README.md`` with the measurements.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jetson_face.core.types import ImageU8

# (squeeze, expand 1x1, expand 3x3) of fire modules 2 to 9: the table of SqueezeNet v1.1.
FIRES: tuple[tuple[int, int, int], ...] = (
    (16, 64, 64),
    (16, 64, 64),
    (32, 128, 128),
    (32, 128, 128),
    (48, 192, 192),
    (48, 192, 192),
    (64, 256, 256),
    (64, 256, 256),
)
INPUT_SIZE = 112
STEM_CHANNELS = 64


def activation(name: str, channels: int) -> nn.Module:
    """Activation by name: ``relu``, ``leaky`` (slope 0.1) or ``prelu`` (one slope a channel).

    Raises:
        ValueError: unknown name.
    """
    if name == "relu":
        return nn.ReLU(inplace=True)
    if name == "leaky":
        return nn.LeakyReLU(0.1, inplace=True)
    if name == "prelu":
        return nn.PReLU(channels)
    raise ValueError(f"unknown activation {name!r}: use relu, leaky or prelu")


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch-norm, activation; (N, C, H, W) to (N, C', H', W')."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, act: str) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            activation(act, outputs),
        )


class Fire(nn.Module):
    """Squeeze, then two expansions side by side; the input is added where the shapes agree."""

    def __init__(self, inputs: int, shape: tuple[int, int, int], act: str, bypass: bool) -> None:
        super().__init__()
        squeeze, wide1, wide3 = shape
        self.squeeze = ConvNorm(inputs, squeeze, 1, 1, act)
        self.expand1 = ConvNorm(squeeze, wide1, 1, 1, act)
        self.expand3 = ConvNorm(squeeze, wide3, 3, 1, act)
        self.bypass = bypass and inputs == wide1 + wide3

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, wide1 + wide3, H, W)."""
        narrow = self.squeeze(x)
        wide = torch.cat((self.expand1(narrow), self.expand3(narrow)), dim=1)
        return wide + x if self.bypass else wide


class Head(nn.Module):
    """Depth-wise convolution over the whole 7x7 map, then linear and batch-norm.

    Chen et al., "MobileFaceNets", 2018, section 3.1: a learned weight for every place instead of an
    average, because the corners of a face crop do not matter as much as its middle.
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.place = nn.Conv2d(channels, channels, 7, groups=channels, bias=False)
        self.place_norm = nn.BatchNorm2d(channels)
        self.linear = nn.Linear(channels, dim, bias=False)
        self.norm = nn.BatchNorm1d(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, 7, 7) to (N, dim), not normalised."""
        pooled = self.place_norm(self.place(x)).flatten(1)
        return cast(Tensor, self.norm(self.linear(pooled)))


class SqueezeNetFace(nn.Module):
    """Aligned faces (N, 3, 112, 112), RGB, (pixel - 127.5) / 127.5, to unit vectors (N, dim).

    ``stem`` brings 112 down to 28: ``pool`` is v1.1's 3x3 stride-2 convolution and max-pool,
    ``conv`` two 3x3 stride-2 convolutions, ``patch`` one 7x7 stride-4 convolution. ``pool_before``
    names the fire modules (3 to 9) that a 3x3 stride-2 max-pool goes before; v1.1 itself is
    ``pool`` and (4, 6). What is left at 14x14 is max-pooled to 7x7 before the head. ``repeat``
    names fire modules (2 to 9) that are followed by one more of the same shape, as often as named;
    ``squeeze`` gives some of them, with what follows, another width of their squeeze than v1.1's.

    Raises:
        ValueError: the pools do not leave 7x7 or 14x14 for the head.
    """

    def __init__(
        self,
        dim: int = 128,
        act: str = "relu",
        pool_before: tuple[int, ...] = (4, 8),
        stem: str = "conv",
        bypass: bool = True,
        repeat: tuple[int, ...] = (),
        squeeze: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__()
        side = INPUT_SIZE // 4 >> len(pool_before)
        if side not in (7, 14):
            raise ValueError(
                f"pools before {pool_before} leave {side}x{side}: the head needs 7 or 14"
            )
        self.dim = dim
        self.trunk = nn.Sequential()
        self.trunk.add_module("stem", stem_layers(stem, act))
        channels = STEM_CHANNELS
        for number, (narrow, *wide) in enumerate(FIRES, start=2):
            shape = ((squeeze or {}).get(number, narrow), wide[0], wide[1])
            if number in pool_before:
                self.trunk.add_module(f"pool{number}", nn.MaxPool2d(3, 2, padding=1))
            for again in range(1 + repeat.count(number)):
                name = f"fire{number}" + (f"_{again}" if again else "")
                self.trunk.add_module(name, Fire(channels, shape, act, bypass))
                channels = shape[1] + shape[2]
        if side == 14:
            self.trunk.add_module("pool", nn.MaxPool2d(3, 2, padding=1))
        self.head = Head(channels, dim)
        self.apply(_initialise)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, 112, 112) float to (N, dim) float32 of unit length."""
        raw = self.head(self.trunk(x))
        return F.normalize(raw.float(), dim=1)


def stem_layers(kind: str, act: str) -> nn.Module:
    """First layers: (N, 3, 112, 112) to (N, 64, 28, 28).

    Raises:
        ValueError: unknown kind.
    """
    wide = STEM_CHANNELS
    if kind == "pool":
        return nn.Sequential(ConvNorm(3, wide, 3, 2, act), nn.MaxPool2d(3, 2, padding=1))
    if kind == "conv":
        return nn.Sequential(
            ConvNorm(3, wide // 2, 3, 2, act), ConvNorm(wide // 2, wide, 3, 2, act)
        )
    if kind == "patch":
        return ConvNorm(3, wide, 7, 4, act)
    raise ValueError(f"unknown stem {kind!r}: use pool, conv or patch")


def start_from(net: SqueezeNetFace, weights: dict[str, Tensor]) -> tuple[str, ...]:
    """Take over what a smaller network has learned; the names of the fires that it lacks.

    Those start near the identity (their batch-norms scale by a fifth, beside the bypass), so that
    the grown network begins where the other one ended: Chen et al., "Net2Net", 2016, section 2.3.

    Raises:
        ValueError: something else than repeated fires differs.
    """
    try:
        lacking, unknown = net.load_state_dict(weights, strict=False)
    except RuntimeError as exc:
        raise ValueError(str(exc)) from exc
    fresh = {".".join(key.split(".")[:2]) for key in lacking}
    repeated = {f"trunk.{name}" for name, layer in net.trunk.named_children()
                if "_" in name and isinstance(layer, Fire) and layer.bypass}  # fmt: skip
    if unknown or not fresh <= repeated:
        raise ValueError(f"other layers: {', '.join(sorted({*unknown, *(fresh - repeated)}))}")
    for name in fresh:
        for layer in net.get_submodule(name).modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.constant_(layer.weight, 0.2)
    return tuple(sorted(fresh))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def to_input(faces: ImageU8, device: str = "cpu") -> Tensor:
    """uint8 RGB (N, S, S, 3) to float (N, 3, S, S) in [-1, 1], channels-last in memory."""
    pixels = torch.from_numpy(np.ascontiguousarray(faces)).to(device).permute(0, 3, 1, 2)
    return (pixels.float() - 127.5) / 127.5


def average(mean: nn.Module, now: nn.Module, most: float, step: int) -> None:
    """Exponential moving average of weights and statistics after ``step``; ``most``: its decay.

    Quicker at first (Polyak averaging).
    """
    decay = min(most, (1 + step) / (10 + step))
    held, given = mean.state_dict(), now.state_dict()
    floats = [k for k, v in held.items() if v.is_floating_point()]
    with torch.no_grad():
        torch._foreach_lerp_([held[k] for k in floats], [given[k] for k in floats], 1 - decay)


def count_parameters(model: nn.Module) -> int:
    """Number of learned values."""
    return sum(p.numel() for p in model.parameters())
