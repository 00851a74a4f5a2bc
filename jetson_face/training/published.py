"""The networks as they were published, for weights that others trained on ImageNet.

`networks.TRUNKS` has them for small pictures and a random start. What is downloaded fits only the
published layers, whose tensors come in the order of the layers; here they are in that order, so
that a state dict of torchvision (`alexnet`, `vgg16`, `googlenet`, `resnet18`, `squeezenet1_1`,
`mobilenet_v2`, `densenet121`) is taken over tensor by tensor, whatever its names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor, nn

from jetson_face.training.layers import (
    Dense,
    conv,
    inception,
    mobilenet_v2,
    resnet,
    squeezenet,
    vgg16,
)

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


def bare(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, pad: int | None = None
) -> nn.Module:
    """Convolution with bias, ReLU. pad: None keeps the side."""
    pad = kernel // 2 if pad is None else pad
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, pad), nn.ReLU(inplace=True))


_normed = partial(conv, eps=0.001)
_six = partial(conv, activation=nn.ReLU6)
_pool = partial(nn.MaxPool2d, ceil_mode=True)


def _alexnet() -> tuple[nn.Sequential, int]:
    pool = nn.MaxPool2d(3, 2)
    layers = [bare(3, 64, 11, 4, 2), pool, bare(64, 192, 5), pool]
    layers += [bare(192, 384), bare(384, 256), bare(256, 256), pool]
    return nn.Sequential(Normalise(), *layers), 256


# 1x1, 3x3 reduced and out, second 3x3 reduced and out, pool's projection; None: a pool.
_INCEPTIONS: tuple[tuple[int, tuple[int, int], tuple[int, int], int] | None, ...] = (
    (64, (96, 128), (16, 32), 32),
    (128, (128, 192), (32, 96), 64),
    None,
    (192, (96, 208), (16, 48), 64),
    (160, (112, 224), (24, 64), 64),
    (128, (128, 256), (24, 64), 64),
    (112, (144, 288), (32, 64), 64),
    (256, (160, 320), (32, 128), 128),
    None,
    (256, (160, 320), (32, 128), 128),
    (384, (192, 384), (48, 128), 128),
)


def _googlenet() -> tuple[nn.Sequential, int]:
    """torchvision's weights come from TensorFlow's: pictures in [-1, 1], 3x3 where the paper has
    5x5."""
    layers = [_normed(3, 64, 7, 2), _pool(3, 2), _normed(64, 64, 1), _normed(64, 192, 3)]
    layers.append(_pool(3, 2))
    channels = 192
    for row in _INCEPTIONS:
        if row is None:
            layers.append(_pool(3 if channels == 480 else 2, 2))
            continue
        one, three, five, project = row
        module, channels = inception(
            channels, one, three, five, ("max", project), make=_normed, kernels=(3, 3)
        )
        layers.append(module)
    return nn.Sequential(*layers), channels


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


def _normalised(trunk: nn.Sequential, channels: int) -> tuple[nn.Sequential, int]:
    return nn.Sequential(Normalise(), *trunk), channels


PUBLISHED: Mapping[str, Callable[[], tuple[nn.Sequential, int]]] = MappingProxyType(
    {
        "alexnet": _alexnet,
        "vgg16": lambda: _normalised(*vgg16(bare)),
        "googlenet": _googlenet,
        "resnet18": lambda: _normalised(*resnet((2, 2, 2, 2), normed_way=True)),
        "squeezenet": lambda: _normalised(*squeezenet(bare(3, 64, 3, 2, 0), bare, _pool)),
        "mobilenet_v2": lambda: _normalised(*mobilenet_v2(_six, 2, 1280)),
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
    sources = dict(zip(own, theirs, strict=False))
    for name, source in sources.items():
        if mine[name].shape != weights[source].shape:
            raise ValueError(
                f"its tensor {source!r} is {tuple(weights[source].shape)}, "
                f"not {tuple(mine[name].shape)}"
            )
    taken = {name: weights[source] for name, source in sources.items()}
    trunk.load_state_dict(taken, strict=False)
