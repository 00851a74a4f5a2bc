"""Weights that training begins with: one's own, a downloaded state dict, or a package's.

Nothing is unpickled: a state dict is read by PyTorch's `weights_only` reader, and of the one
package that carries ImageNet weights (`ndf`, SqueezeNet v1.1) only the places of the raw numbers
are looked up in the pickle's list of operations, which is never run.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from jetson_face.core.errors import InputBrokenError, InputMissingError, UsageError
from jetson_face.core.types import F32
from jetson_face.models.cards import load_card, resolve
from jetson_face.training.net import FIRES
from jetson_face.training.published import STD

Layout = Literal["small", "published"]


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Weights to begin with: a state dict in the order of its layers, how reports call it, and
    which of a network's two forms it fits."""

    weights: Mapping[str, Tensor]
    name: str
    layout: Layout = "small"


def read_start(given: str) -> Start:
    """A file (.npz of `jetson-face train`, .pth or .pt with a state dict), or a card's name.

    Raises InputMissingError, InputBrokenError, ModelError, MissingDependencyError, UsageError.
    """
    path = Path(given)
    if path.suffix == "":
        card = load_card(given)
        if card.kind != "weights":
            raise UsageError(f"{given!r} is of kind {card.kind}; training begins with weights")
        return Start(_squeezenet(resolve(card, "squeezenet").read_bytes()), given, "published")
    if not path.is_file():
        raise InputMissingError(f"{path}: no such file of weights")
    if path.suffix == ".npz":
        return _from_npz(path)
    if path.suffix in (".pth", ".pt"):
        return Start(_state_dict(path), path.name, "published")
    raise UsageError(
        f"{path}: weights are .npz, .pth or .pt, or a card such as squeezenet_imagenet"
    )


def _from_npz(path: Path) -> Start:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            held = {key: arrays[key] for key in arrays.files}
    except (OSError, ValueError, zipfile.BadZipFile) as exc:
        raise InputBrokenError(f"{path}: not a file of weights (npz): {exc}") from exc
    layout: Layout = "published" if str(held.pop("layout", "")) == "published" else "small"
    return Start({key: torch.from_numpy(value) for key, value in held.items()}, path.name, layout)


def _state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors by name; those under `state_dict` or `model`, and without `module.` before them."""
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as exc:  # whatever a broken file makes of the reader
        raise InputBrokenError(f"{path}: not a PyTorch file of tensors: {exc}") from exc
    for key in ("state_dict", "model"):
        if isinstance(held, Mapping) and isinstance(held.get(key), Mapping):
            held = held[key]
    if not isinstance(held, Mapping) or not all(isinstance(v, Tensor) for v in held.values()):
        raise InputBrokenError(f"{path}: no state dict: it holds other things than tensors")
    return {str(name).removeprefix("module."): value for name, value in held.items()}


def _shapes() -> dict[str, tuple[int, int, int, int]]:
    """Of SqueezeNet v1.1's kernels, in the order of its layers: height, width, in, out."""
    out, inputs = {"conv1": (3, 3, 3, 64)}, 64
    for number, (squeeze, wide, _) in enumerate(FIRES, 2):
        out[f"fire{number}/squeeze1x1"] = (1, 1, inputs, squeeze)
        out[f"fire{number}/expand1x1"] = (1, 1, squeeze, wide)
        out[f"fire{number}/expand3x3"] = (3, 3, squeeze, wide)
        inputs = 2 * wide
    return {**out, "conv10": (1, 1, 512, 1000)}


def _squeezenet(stream: bytes) -> dict[str, Tensor]:
    """Kernels and biases, for pictures normalised as torchvision's are.

    The file is for pixels 0 to 255, BGR, less their mean; the first kernel is scaled and turned.
    Raises InputBrokenError.
    """
    shapes = _shapes()
    arrays = _arrays(stream, shapes)
    out: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        kernel, bias = arrays.get((name, 0)), arrays.get((name, 1))
        if kernel is None or bias is None:
            raise InputBrokenError(f"SqueezeNet's weights: {name} is not in the file")
        kernel = kernel.reshape(shape)
        if name == "conv1":
            kernel = kernel[:, :, ::-1] * (255 * np.array(STD, np.float32))[:, None]
        out[f"{name}.weight"] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
        out[f"{name}.bias"] = torch.from_numpy(bias.copy())
    return out


def _arrays(
    stream: bytes, shapes: Mapping[str, tuple[int, int, int, int]]
) -> dict[tuple[str, int], F32]:
    """The raw float32 values by layer and place: 0 the kernel, 1 the bias."""
    out: dict[tuple[str, int], F32] = {}
    layer, place = "", 0
    try:
        for _, value, _ in pickletools.genops(stream):
            if isinstance(value, str) and value in shapes:
                layer, place = value, 0
            elif isinstance(value, bytes) and len(value) >= 4 and layer:
                wanted = shapes[layer]
                if len(value) != 4 * (wanted[3] if place else int(np.prod(wanted))):
                    raise InputBrokenError(f"SqueezeNet's weights: {layer} has another size")
                out[layer, place] = np.frombuffer(value, "<f4").astype(np.float32)
                place += 1
    except ValueError as exc:
        raise InputBrokenError(f"SqueezeNet's weights: not a pickle: {exc}") from exc
    return out
