"""What the three networks look like (Zhang, Zhang, Li, Qiao 2016, figure 2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Net = Literal["pnet", "rnet", "onet"]
NETS: tuple[Net, ...] = ("pnet", "rnet", "onet")


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution."""

    kernel: int
    filters: int
    pool: tuple[int, bool] | None
    """Max pooling behind it, stride 2: kernel, and whether an incomplete last window counts."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A network."""

    side: int | None
    """Input side, pixels; None: any height and width."""
    convs: tuple[Conv, ...]
    dense: int
    """Width of the fully connected layer; 0: 1x1 convolutions instead."""
    heads: tuple[tuple[str, int], ...]


SHAPES: Mapping[Net, Shape] = {
    "pnet": Shape(
        None,
        (Conv(3, 10, (2, True)), Conv(3, 16, None), Conv(3, 32, None)),
        0,
        (("offsets", 4), ("scores", 2)),
    ),
    "rnet": Shape(
        24,
        (Conv(3, 28, (3, True)), Conv(3, 48, (3, False)), Conv(2, 64, None)),
        128,
        (("offsets", 4), ("scores", 2)),
    ),
    "onet": Shape(
        48,
        (
            Conv(3, 32, (3, True)),
            Conv(3, 64, (3, False)),
            Conv(3, 64, (2, True)),
            Conv(2, 128, None),
        ),
        256,
        (("offsets", 4), ("points", 10), ("scores", 2)),
    ),
}


def weight_shapes(net: Net) -> list[tuple[int, ...]]:
    """Shapes of the package's arrays in file order: kernel, bias, slope per layer, then heads."""
    shape = SHAPES[net]
    found: list[tuple[int, ...]] = []
    channels, side = 3, shape.side or 0
    for conv in shape.convs:
        found += [(conv.kernel, conv.kernel, channels, conv.filters), (conv.filters,)]
        found += [(1, 1, conv.filters)]
        channels = conv.filters
        side -= conv.kernel - 1
        if conv.pool is not None:
            side = pooled(side, *conv.pool)
    width = channels
    if shape.dense:
        found += [(side * side * channels, shape.dense), (shape.dense,), (shape.dense,)]
        width = shape.dense
    for _, size in shape.heads:
        found += [(width, size) if shape.dense else (1, 1, width, size), (size,)]
    return found


def pooled(side: int, kernel: int, partial: bool) -> int:
    """The side of a map behind a pool; see `Conv.pool`."""
    return (side - kernel + (1 if partial else 0)) // 2 + 1
