"""The networks as they were published, for weights that others trained on ImageNet.

`networks.TRUNKS` has them for small pictures and a random start. What is downloaded fits only the
published layers, whose tensors come in the order of the layers; here they are in that order, so
that a state dict of torchvision (`alexnet`, `vgg16`, `googlenet`, `resnet18`, `squeezenet1_1`,
`mobilenet_v2`, `densenet121`) is taken over tensor by tensor, whatever its names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from jetson_face.training.layers import Dense, Plus, Side, resnet

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels in [0, 1], RGB: what torchvision's weights expect."""


class Normalise(nn.Module):
    """From (pixel - 127.5) / 127.5 to (pixel / 255 - MEAN) / STD; it has no weights."""

    def __init__(self) -> None:
        super().__init__()
        mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
        self.register_buffer("scale", 0.5 / std, persistent=False)
        self.register_buffer("shift", (0.5 - mean) / std, persistent=False)
        self.scale: Tensor
        self.shift: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to the same shape."""
        return x * self.scale + self.shift


def bare(inputs: int, outputs: int, kernel: int, stride: int = 1, pad: int = 0) -> nn.Module:
    """Convolution with bias, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, pad), nn.ReLU(inplace=True))


def _alexnet() -> tuple[nn.Sequential, int]:
    pool = nn.MaxPool2d(3, 2)
    layers = [bare(3, 64, 11, 4, 2), pool, bare(64, 192, 5, 1, 2), pool]
    layers += [bare(192, 384, 3, 1, 1), bare(384, 256, 3, 1, 1), bare(256, 256, 3, 1, 1), pool]
    return nn.Sequential(Normalise(), *layers), 256


def _vgg16() -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = [Normalise()]
    channels = 3
    for count, wide in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(count):
            layers.append(bare(channels, wide, 3, 1, 1))
            channels = wide
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers), channels


def _squeezenet() -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = [Normalise(), bare(3, 64, 3, 2)]
    channels = 64
    fires = (None, (16, 64), (16, 64), None, (32, 128), (32, 128), None)
    for fire in (*fires, (48, 192), (48, 192), (64, 256), (64, 256)):
        if fire is None:
            layers.append(nn.MaxPool2d(3, 2, ceil_mode=True))
            continue
        squeeze, wide = fire
        sides = Side(bare(squeeze, wide, 1), bare(squeeze, wide, 3, 1, 1))
        layers.append(nn.Sequential(bare(channels, squeeze, 1), sides))
        channels = 2 * wide
    return nn.Sequential(*layers), channels


def _normed(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs, eps=0.001),
        nn.ReLU(inplace=True),
    )


# 1x1, 3x3 reduced and out, second 3x3 reduced and out, pool's projection; None: a pool.
_INCEPTIONS: tuple[tuple[int, int, int, int, int, int] | None, ...] = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    None,
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    None,
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)


def _googlenet() -> tuple[nn.Sequential, int]:
    """torchvision's weights come from TensorFlow's: pictures in [-1, 1], 3x3 where the paper has
    5x5."""

    def pool() -> nn.Module:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    layers = [_normed(3, 64, 7, 2), pool(), _normed(64, 64, 1), _normed(64, 192, 3), pool()]
    channels = 192
    for row in _INCEPTIONS:
        if row is None:
            layers.append(pool() if channels == 480 else nn.MaxPool2d(2, 2, ceil_mode=True))
            continue
        one, before3, three, before5, five, project = row
        layers.append(
            Side(
                _normed(channels, one, 1),
                nn.Sequential(_normed(channels, before3, 1), _normed(before3, three, 3)),
                nn.Sequential(_normed(channels, before5, 1), _normed(before5, five, 3)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), _normed(channels, project, 1)),
            )
        )
        channels = one + three + five + project
    return nn.Sequential(*layers), channels


def _resnet18() -> tuple[nn.Sequential, int]:
    trunk, channels = resnet((2, 2, 2, 2), normed_way=True)
    return nn.Sequential(Normalise(), *trunk), channels


def _mobilenet_v2() -> tuple[nn.Sequential, int]:
    def six(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
        pad = kernel // 2
        return nn.Sequential(
            nn.Conv2d(inputs, outputs, kernel, stride, pad, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU6(inplace=True),
        )

    layers: list[nn.Module] = [Normalise(), six(3, 32, 3, 2)]
    channels = 32
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
    for grow, wide, count, first in (*table, (6, 160, 3, 2), (6, 320, 1, 1)):
        for number in range(count):
            stride, inner = (first if number == 0 else 1), channels * grow
            body = nn.Sequential(
                nn.Identity() if grow == 1 else six(channels, inner, 1),
                six(inner, inner, 3, stride, groups=inner),
                nn.Conv2d(inner, wide, 1, bias=False),
                nn.BatchNorm2d(wide),
            )
            layers.append(Plus(body, last=False) if stride == 1 and channels == wide else body)
            channels = wide
    return nn.Sequential(*layers, six(channels, 1280, 1)), 1280


def _densenet121() -> tuple[nn.Sequential, int]:
    growth, channels = 32, 64

    def before(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
        convolution = nn.Conv2d(inputs, outputs, kernel, 1, kernel // 2, bias=False)
        return [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), convolution]

    stem = [nn.Conv2d(3, channels, 7, 2, 3, bias=False), nn.BatchNorm2d(channels)]
    layers: list[nn.Module] = [Normalise(), *stem, nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    for number, count in enumerate((6, 12, 24, 16)):
        if number:
            layers.append(nn.Sequential(*before(channels, channels // 2, 1), nn.AvgPool2d(2, 2)))
            channels //= 2
        for _ in range(count):
            inner = before(channels, 4 * growth, 1) + before(4 * growth, growth, 3)
            layers.append(Dense(nn.Sequential(*inner)))
            channels += growth
    last = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
    return nn.Sequential(*layers, last), channels


PUBLISHED: Mapping[str, Callable[[], tuple[nn.Sequential, int]]] = MappingProxyType(
    {
        "alexnet": _alexnet,
        "vgg16": _vgg16,
        "googlenet": _googlenet,
        "resnet18": _resnet18,
        "squeezenet": _squeezenet,
        "mobilenet_v2": _mobilenet_v2,
        "densenet": _densenet121,
    }
)


def take_over(trunk: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy a published state dict into the layers, in its own order; what follows the trunk (the
    classifier) is left out.

    Raises ValueError where a tensor does not fit: these are weights of another network.
    """

    def counted(names: Mapping[str, Tensor]) -> list[str]:
        return [name for name in names if not name.endswith("num_batches_tracked")]

    mine = trunk.state_dict()
    own, theirs = counted(mine), counted(weights)
    if len(theirs) < len(own):
        raise ValueError(f"it has {len(theirs)} tensors, the network {len(own)}")
    for name, source in zip(own, theirs, strict=False):
        if mine[name].shape != weights[source].shape:
            raise ValueError(
                f"its tensor {source!r} is {tuple(weights[source].shape)}, "
                f"not {tuple(mine[name].shape)}"
            )
    trunk.load_state_dict(
        {name: weights[source] for name, source in zip(own, theirs, strict=False)}, strict=False
    )
