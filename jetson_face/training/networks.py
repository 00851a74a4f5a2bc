"""The networks of the source material, from tables: for faces of any side, features at the end.

Each is the published layout; what differs is small input (the first strides) and, after the last
map, one average instead of dense layers of thousands, which on a small set would learn it by heart.
Sources: AlexNet (Krizhevsky 2012), CaffeNet (Jia 2014: AlexNet's two groups, pools of 3), VGG16
(Simonyan 2014), GoogLeNet (Szegedy 2014), ResNet (He 2015; 10 layers: one basic block a stage),
SqueezeNet v1.1 (Iandola 2016), MobileNetV2 (Sandler 2018), DenseNet (Huang 2017; 40 layers, growth
12, compressed), NN2 (Schroff 2015, table 2) and nn4.small2 (Amos 2016, OpenFace's table of models).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from torch import Tensor, nn
from torch.nn import functional as F

from jetson_face.training.layers import (
    Dense,
    conv,
    inception,
    mobilenet_v2,
    resnet,
    squeezenet,
    vgg16,
)
from jetson_face.training.published import PUBLISHED

# one, three, five, pool, stride: rows of the tables, from 3a on.
_Row = tuple[int, tuple[int, int], tuple[int, int] | None, tuple[str, int], int]
_NN4_SMALL2: tuple[_Row, ...] = (
    (64, (96, 128), (16, 32), ("max", 32), 1),
    (64, (96, 128), (32, 64), ("l2", 64), 1),
    (0, (128, 256), (32, 64), ("max", 0), 2),
    (256, (96, 192), (32, 64), ("l2", 128), 1),
    (0, (160, 256), (64, 128), ("max", 0), 2),
    (256, (96, 384), None, ("l2", 96), 1),
    (256, (96, 384), None, ("max", 96), 1),
)
_NN2_SMALL: tuple[_Row, ...] = (
    # NN2 at half its width.
    (32, (48, 64), (8, 16), ("max", 16), 1),
    (32, (48, 64), (16, 32), ("l2", 32), 1),
    (0, (64, 128), (16, 32), ("max", 0), 2),
    (128, (48, 96), (16, 32), ("l2", 64), 1),
    (112, (56, 112), (16, 32), ("l2", 64), 1),
    (96, (64, 128), (16, 32), ("l2", 64), 1),
    (80, (72, 144), (16, 32), ("l2", 64), 1),
    (0, (80, 128), (32, 64), ("max", 0), 2),
    (192, (96, 192), (24, 64), ("l2", 64), 1),
    (192, (96, 192), (24, 64), ("max", 64), 1),
)
_GOOGLENET: tuple[_Row, ...] = (
    (64, (96, 128), (16, 32), ("max", 32), 1),
    (128, (128, 192), (32, 96), ("max", 64), 1),
    (0, (128, 192), (32, 96), ("max", 0), 2),
    (192, (96, 208), (16, 48), ("max", 64), 1),
    (160, (112, 224), (24, 64), ("max", 64), 1),
    (112, (144, 288), (32, 64), ("max", 64), 1),
    (256, (160, 320), (32, 128), ("max", 128), 1),
)


def _inceptions(rows: tuple[_Row, ...], wide: int = 64) -> tuple[nn.Sequential, int]:
    layers = [conv(3, wide, 7, 2), nn.MaxPool2d(3, 2, 1), conv(wide, wide, 1)]
    layers += [conv(wide, 3 * wide), nn.MaxPool2d(3, 2, 1)]
    channels = 3 * wide
    for one, three, five, pool, stride in rows:
        module, channels = inception(channels, one, three, five, pool, stride)
        layers.append(module)
    return nn.Sequential(*layers), channels


def _alexnet() -> tuple[nn.Sequential, int]:
    layers = [conv(3, 64, 11, 2), nn.MaxPool2d(2, 2), conv(64, 192, 5), nn.MaxPool2d(2, 2)]
    layers += [conv(192, 384), conv(384, 256), conv(256, 256), nn.MaxPool2d(2, 2)]
    return nn.Sequential(*layers), 256


def _caffenet() -> tuple[nn.Sequential, int]:
    """As AlexNet was on two GPUs: half of the maps see half of the maps; pools overlap."""
    layers = [conv(3, 96, 11, 2), nn.MaxPool2d(3, 2), conv(96, 256, 5, groups=2)]
    layers += [nn.MaxPool2d(3, 2), conv(256, 384), conv(384, 384, groups=2)]
    layers += [conv(384, 256, groups=2), nn.MaxPool2d(3, 2)]
    return nn.Sequential(*layers), 256


def _densenet() -> tuple[nn.Sequential, int]:
    growth, channels = 12, 24
    layers: list[nn.Module] = [conv(3, channels, 3, 2)]
    for stage in range(3):
        for _ in range(6):
            bottle = nn.Sequential(conv(channels, 4 * growth, 1), conv(4 * growth, growth))
            layers.append(Dense(bottle))
            channels += growth
        if stage < 2:
            layers += [conv(channels, channels // 2, 1), nn.AvgPool2d(2)]
            channels //= 2
    return nn.Sequential(*layers), channels


TRUNKS: Mapping[str, Callable[[], tuple[nn.Sequential, int]]] = MappingProxyType(
    {
        "openface": lambda: _inceptions(_NN4_SMALL2),
        "facenet_small": lambda: _inceptions(_NN2_SMALL),
        "alexnet": _alexnet,
        "caffenet": _caffenet,
        "vgg16": lambda: vgg16(conv),
        "googlenet": lambda: _inceptions(_GOOGLENET),
        "resnet10": lambda: resnet((1, 1, 1, 1)),
        "resnet18": lambda: resnet((2, 2, 2, 2)),
        "squeezenet": lambda: squeezenet(conv(3, 64, 3, 2), conv, partial(nn.MaxPool2d, padding=1)),
        "mobilenet_v2": lambda: mobilenet_v2(conv, 1, 640),
        "densenet": _densenet,
    }
)


_BLOCKS = {"vgg16": 4, "resnet10": 1, "resnet18": 1, "densenet": 6}
"""Modules of the last block, which `layers: block` trains, where they are not two."""


class FeatureNet(nn.Module):
    """A trunk, an average over its last map, and (dim > 0) a linear layer: unit vectors.

    (N, 3, S, S) RGB, (pixel - 127.5) / 127.5, any S of 64 or more, to (N, dim). dim 0: the last
    map's own channels. side: pictures are resampled to it first; 0: taken as they come. layout:
    `small` for this module's table, `published` for the layers that downloaded weights fit. Raises
    ValueError on a name that there is not.
    """

    def __init__(self, name: str, dim: int = 128, side: int = 0, layout: str = "small") -> None:
        super().__init__()
        trunks = PUBLISHED if layout == "published" else TRUNKS
        if name not in trunks:
            raise ValueError(f"no {layout} network {name!r}; there are {', '.join(trunks)}")
        self.name, self.side, self.layout = name, side, layout
        self.trunk, channels = trunks[name]()
        self.dim = dim or channels
        self.head: nn.Module = nn.Linear(channels, dim) if dim else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) to (N, dim) of unit length."""
        if self.side and x.shape[-1] != self.side:
            x = F.interpolate(x, (self.side, self.side), mode="bilinear", align_corners=False)
        # mean, not adaptive pooling: it exports as one ReduceMean for any side
        return F.normalize(self.head(self.trunk(x).mean((2, 3))).float(), dim=1)

    def freeze(self, layers: str) -> None:
        """Which parameters are trained, beside the head: `all`, `last` (none), `block` (the last
        of the network's blocks), or the last N modules.

        Raises ValueError on anything else.
        """
        modules = list(self.trunk)
        named = {"all": len(modules), "last": 0, "block": _BLOCKS.get(self.name, 2)}
        if layers in named:
            keep = named[layers]
        elif layers.isdecimal() and int(layers) <= len(modules):
            keep = int(layers)
        else:
            raise ValueError(f"layers is all, last, block, or 1 to {len(modules)}, got {layers!r}")
        for number, module in enumerate(modules):
            module.requires_grad_(number >= len(modules) - keep)
