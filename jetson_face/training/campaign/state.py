"""A campaign's checkpoint, and its averaged weights: as ONNX, or small enough to be kept."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jetson_face.core.errors import InputBrokenError, InputMissingError
from jetson_face.training.export import export_run
from jetson_face.training.loop import CHECKPOINT, build_net
from jetson_face.training.settings import CardSettings, NetSettings
from jetson_face.util.files import write_file

PLAIN = ("target", "step", "samples", "asked", "spent_s")


def read_checkpoint(run: Path) -> dict[str, Any]:
    """What ``Campaign.save`` wrote. Raises InputMissingError."""
    path = run / CHECKPOINT
    if not path.exists():
        raise InputMissingError(f"{path} is absent: train first")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def export_averaged(run: Path, folder: Path, name: str, card: CardSettings) -> Path:
    """Write the averaged weights as FP32 and FP16 with a card; the card's path."""
    state = read_checkpoint(run)
    net = build_net(NetSettings.model_validate(state["shape"]))
    net.load_state_dict(state["ema"])
    return export_run(net.eval(), folder, name, None, card)


def keep_small(state: dict[str, Any], path: Path) -> None:
    """A checkpoint's averaged weights, hints' projections, the target, its axes: npz.

    Kernels in float16. The optimiser is left out: it finds its way again in a few hundred steps.
    """
    arrays: dict[str, Any] = {}
    for part in ("ema", "hints"):
        for key, value in state[part].items():
            values = value.float().numpy() if value.is_floating_point() else value.numpy()
            arrays[f"{part}/{key}"] = values.astype(np.float16) if values.ndim > 1 else values
    arrays |= {key: state[key].cpu().numpy() for key in ("axes", "centre")}
    arrays |= {key: np.array(state[key]) for key in PLAIN}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_file(path, buffer.getvalue())


def read_small(path: Path) -> dict[str, Any]:
    """What ``keep_small`` wrote: tensors of ``ema`` and ``hints``, the target, counters.

    Raises:
        InputBrokenError: it is another kind of file.
    """
    out: dict[str, Any] = {"ema": {}, "hints": {}}
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {key: held[key] for key in held.files}
        out |= {key: torch.from_numpy(arrays[key]) for key in ("axes", "centre")}
        out |= {key: arrays[key].item() for key in PLAIN}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as exc:
        raise InputBrokenError(f"{path}: not the kept state of a campaign: {exc}") from exc
    for key, values in arrays.items():
        part, _, name = key.partition("/")
        if name:
            wide = values.astype(np.float32) if values.dtype == np.float16 else values
            out[part][name] = torch.from_numpy(np.array(wide))
    return out
