"""What a network looks at: first filters, strongest maps of each layer, and an occlusion map.

Occlusion: Zeiler and Fergus, "Visualizing and understanding convolutional networks", 2014, section
4.2, on the cosine of a match instead of a class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from jetson_face.core.types import F32, ImageU8
from jetson_face.evaluation.report import _axes, _save

_FILTERS_MAX = 64
_LAYERS_MAX = 8
_MAPS_EACH = 6


def occlusion_map(
    crop: ImageU8,
    embed: Callable[[ImageU8], F32],
    reference: F32,
    *,
    patch: float = 0.2,
    steps: int = 14,
    batch: int = 32,
) -> tuple[float, F32]:
    """The cosine of an aligned crop (S, S, 3) to `reference` (dim,), and how it falls by place.

    embed: (N, S, S, 3) to unit vectors (N, dim). The map is (S, S) float32: the mean fall of the
    cosine over the patches that hide the pixel; above 0, the match depends on it. patch: side of
    what is hidden, share of S, filled with the crop's mean colour. steps: places along a side.
    """
    side = crop.shape[0]
    wide = max(round(side * patch), 1)
    grey = crop.reshape(-1, 3).mean(axis=0).round().astype(np.uint8)
    corners = np.unique(np.linspace(0, side - wide, steps).round().astype(int))
    places = [(top, left) for top in corners for left in corners]
    whole = float(embed(crop[None])[0] @ reference)
    total, count = np.zeros((side, side)), np.zeros((side, side))
    for first in range(0, len(places), batch):
        some = places[first : first + batch]
        hidden = np.repeat(crop[None], len(some), axis=0)
        for row, (top, left) in enumerate(some):
            hidden[row, top : top + wide, left : left + wide] = grey
        falls = whole - embed(hidden) @ reference
        for (top, left), fall in zip(some, falls, strict=True):
            total[top : top + wide, left : left + wide] += fall
            count[top : top + wide, left : left + wide] += 1
    return whole, np.asarray(total / np.maximum(count, 1), np.float32)


def strongest(maps: Mapping[str, F32], each: int = _MAPS_EACH) -> dict[str, list[tuple[int, F32]]]:
    """Channel number and map (h, w) of the `each` channels with the highest peak, by layer.

    At most eight layers, spread from the first to the last.
    """
    names = list(maps)
    if len(names) > _LAYERS_MAX:
        names = [names[i] for i in np.linspace(0, len(names) - 1, _LAYERS_MAX).round().astype(int)]
    out = {}
    for name in names:
        peaks = maps[name].max(axis=(1, 2))
        chosen = np.argsort(-peaks, kind="stable")[:each]
        out[name] = [(int(channel), maps[name][channel]) for channel in chosen]
    return out


def filter_sheet(filters: F32, cell: int = 32) -> ImageU8:
    """First filters (O, I, kh, kw) side by side, each stretched to its own range: BGR picture.

    Three input channels are shown as colours (RGB order), others as the mean of them.
    """
    shown = filters[:_FILTERS_MAX]
    if shown.shape[1] != 3:
        shown = np.repeat(shown.mean(axis=1, keepdims=True), 3, axis=1)
    columns = int(np.ceil(np.sqrt(len(shown))))
    rows = -(-len(shown) // columns)
    sheet = np.full((rows * (cell + 2), columns * (cell + 2), 3), 255, np.uint8)
    for number, weights in enumerate(shown):
        low, high = float(weights.min()), float(weights.max())
        scaled = (weights - low) / max(high - low, 1e-9) * 255
        picture = scaled.transpose(1, 2, 0)[:, :, ::-1].round().astype(np.uint8)
        top, left = number // columns * (cell + 2), number % columns * (cell + 2)
        sheet[top : top + cell, left : left + cell] = cv2.resize(
            picture, (cell, cell), interpolation=cv2.INTER_NEAREST
        )
    return sheet


def plot_occlusion(path: Path, crop: ImageU8, falls: F32, title: str) -> None:
    """The crop, and the map over it. Raises MissingDependencyError, OutputError."""
    figure, axes = _axes(title, "", "")
    axes.imshow(crop[:, :, ::-1])
    most = max(float(np.abs(falls).max()), 1e-6)
    drawn = axes.imshow(falls, cmap="RdBu_r", alpha=0.55, vmin=-most, vmax=most)
    figure.colorbar(drawn, label="fall of the cosine when hidden")
    axes.set_axis_off()
    _save(path, figure)


def plot_activations(path: Path, layers: Mapping[str, list[tuple[int, F32]]]) -> None:
    """A row a layer, its strongest channels. Raises MissingDependencyError, OutputError."""
    figure, axes = _axes("", "", "")
    axes.remove()
    figure.set_size_inches(1.3 * _MAPS_EACH + 1, 1.3 * len(layers) + 0.5)
    grid: Any = figure.subplots(len(layers), _MAPS_EACH, squeeze=False)
    for row, (name, channels) in enumerate(layers.items()):
        for column in range(_MAPS_EACH):
            cell = grid[row][column]
            cell.set_axis_off()
            if column < len(channels):
                channel, values = channels[column]
                cell.imshow(values, cmap="inferno")
                cell.set_title(f"{name if column == 0 else ''} #{channel}", fontsize=6)
    figure.suptitle("strongest maps of each layer", fontsize=9)
    _save(path, figure)
