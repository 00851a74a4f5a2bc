"""The pieces that networks are put together from."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from jetson_face.training.net import FIRES

Maker = Callable[..., nn.Module]
"""Makes a convolution with what follows it, called as `conv`."""


def conv(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    stride: int = 1,
    groups: int = 1,
    *,
    eps: float = 1e-5,
    activation: Maker = nn.ReLU,
) -> nn.Module:
    """Convolution, batch-norm, activation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=eps),
        activation(inplace=True),
    )


class Side(nn.Module):
    """Branches side by side; their outputs are joined along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, sum of channels, H', W')."""
        return torch.cat([branch(x) for branch in self.branches], 1)


class Plus(nn.Module):
    """The body's output and the input, added; the input goes through `way` where shapes differ."""

    def __init__(self, body: nn.Module, way: nn.Module | None = None, last: bool = True) -> None:
        super().__init__()
        self.body, self.way, self.last = body, way or nn.Identity(), last

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C', H', W')."""
        out = self.body(x) + self.way(x)
        return F.relu(out) if self.last else cast(Tensor, out)


class Dense(nn.Module):
    """Each layer's output is joined to its input."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C + growth, H, W)."""
        return torch.cat([x, self.body(x)], 1)


class L2Pool(nn.Module):
    """Root of the mean square in 3x3 windows, stride 1: NN2's `L2` pooling."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return (F.avg_pool2d(x * x, 3, 1, 1) + 1e-6).sqrt()


def inception(
    inputs: int,
    one: int,
    three: tuple[int, int],
    five: tuple[int, int] | None,
    pool: tuple[str, int],
    stride: int = 1,
    *,
    make: Maker = conv,
    kernels: tuple[int, int] = (3, 5),
) -> tuple[nn.Module, int]:
    """An Inception module and its channels. pool: `max` or `l2`, and projection channels (0: none).
    three, five: (reduced, out), of `kernels`. With stride 2 there is no 1x1 branch."""
    branches: list[nn.Module] = []
    outputs = 0
    if one:
        branches.append(make(inputs, one, 1))
        outputs += one
    for kernel, shape in zip(kernels, (three, five), strict=True):
        if shape is not None:
            branches.append(nn.Sequential(make(inputs, shape[0], 1), make(*shape, kernel, stride)))
            outputs += shape[1]
    kind, project = pool
    pooled: nn.Module = L2Pool() if kind == "l2" else nn.MaxPool2d(3, stride, 1)
    if project:
        branches.append(nn.Sequential(pooled, make(inputs, project, 1)))
    else:
        branches.append(pooled)
    return Side(*branches), outputs + (project or inputs)


def resnet(blocks: tuple[int, ...], normed_way: bool = False) -> tuple[nn.Sequential, int]:
    """blocks: basic blocks a stage. normed_way: a batch-norm where the short way changes shape."""
    layers: list[nn.Module] = [conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for count, (wide, first) in zip(blocks, ((64, 1), (128, 2), (256, 2), (512, 2)), strict=True):
        for number in range(count):
            stride = first if number == 0 else 1
            body = nn.Sequential(
                conv(channels, wide, 3, stride),
                nn.Conv2d(wide, wide, 3, 1, 1, bias=False),
                nn.BatchNorm2d(wide),
            )
            way: nn.Module | None = None
            if channels != wide:
                way = nn.Conv2d(channels, wide, 1, stride, bias=False)
                way = nn.Sequential(way, nn.BatchNorm2d(wide)) if normed_way else way
            layers.append(Plus(body, way))
            channels = wide
    return nn.Sequential(*layers), channels


def vgg16(make: Maker) -> tuple[nn.Sequential, int]:
    """Thirteen convolutions of `make`, in five stages."""
    layers: list[nn.Module] = []
    channels = 3
    for count, wide in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(count):
            layers.append(make(channels, wide))
            channels = wide
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers), channels


def squeezenet(first: nn.Module, make: Maker, pool: Maker) -> tuple[nn.Sequential, int]:
    """SqueezeNet v1.1 behind its first convolution; make: the others, pool: its pools."""
    layers, channels = [first], 64
    for number, (squeeze, wide, _) in enumerate(FIRES, start=2):
        if number in (2, 4, 6):
            layers.append(pool(3, 2))
        sides = Side(make(squeeze, wide, 1), make(squeeze, wide, 3))
        layers.append(nn.Sequential(make(channels, squeeze, 1), sides))
        channels = 2 * wide
    return nn.Sequential(*layers), channels


def mobilenet_v2(make: Maker, stride: int, last: int) -> tuple[nn.Sequential, int]:
    """stride: of the stage of 160 channels. last: channels of the last map."""
    layers: list[nn.Module] = [make(3, 32, 3, 2)]
    channels = 32
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
    for grow, wide, count, first in (*table, (6, 160, 3, stride), (6, 320, 1, 1)):
        for number in range(count):
            step, inner = (first if number == 0 else 1), channels * grow
            body = nn.Sequential(
                nn.Identity() if grow == 1 else make(channels, inner, 1),
                make(inner, inner, 3, step, groups=inner),
                nn.Conv2d(inner, wide, 1, bias=False),
                nn.BatchNorm2d(wide),
            )
            layers.append(Plus(body, last=False) if step == 1 and channels == wide else body)
            channels = wide
    return nn.Sequential(*layers, make(channels, last, 1)), last
