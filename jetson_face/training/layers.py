"""The pieces that networks are put together from."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Module:
    """Convolution, batch-norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
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
) -> tuple[nn.Module, int]:
    """An Inception module and its channels. pool: `max` or `l2`, and projection channels (0: none).
    three, five: (reduced, out). With stride 2 there is no 1x1 branch."""
    branches: list[nn.Module] = []
    outputs = 0
    if one:
        branches.append(conv(inputs, one, 1))
        outputs += one
    for kernel, shape in ((3, three), (5, five)):
        if shape is not None:
            branches.append(nn.Sequential(conv(inputs, shape[0], 1), conv(*shape, kernel, stride)))
            outputs += shape[1]
    kind, project = pool
    pooled: nn.Module = L2Pool() if kind == "l2" else nn.MaxPool2d(3, stride, 1)
    if project:
        branches.append(nn.Sequential(pooled, conv(inputs, project, 1)))
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
