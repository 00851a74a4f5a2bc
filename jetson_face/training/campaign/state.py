"""The averaged weights of a campaign: as ONNX to be measured, and small enough to be kept."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jetson_face.errors import InputMissingError
from jetson_face.files import write_file
from jetson_face.training.campaign.trainer import CHECKPOINT
from jetson_face.training.export import export_run
from jetson_face.training.loop import build_net
from jetson_face.training.settings import CardSettings, NetSettings


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


def keep_small(run: Path, path: Path) -> None:
    """Averaged weights, the hints' projections and the target's axes as a compressed npz.

    Kernels in float16; a campaign starts from it anywhere (``start``), with a fresh optimiser.
    """
    state = read_checkpoint(run)
    arrays: dict[str, Any] = {}
    for part in ("ema", "hints"):
        for key, value in state[part].items():
            values = value.float().numpy() if value.is_floating_point() else value.numpy()
            arrays[f"{part}/{key}"] = values.astype(np.float16) if values.ndim > 1 else values
    arrays["axes"] = state["axes"].numpy()
    for key in ("step", "samples", "asked", "spent_s"):
        arrays[key] = np.array(state[key])
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_file(path, buffer.getvalue())


def read_small(path: Path) -> dict[str, Any]:
    """What ``keep_small`` wrote, as tensors: ``ema``, ``hints``, ``axes`` and the counters."""
    with np.load(path, allow_pickle=False) as held:
        arrays = {key: held[key] for key in held.files}
    out: dict[str, Any] = {"ema": {}, "hints": {}}
    for key, values in arrays.items():
        part, _, name = key.partition("/")
        if name:
            kept = values.astype(np.float32) if values.dtype == np.float16 else values
            out[part][name] = torch.from_numpy(np.array(kept))
    out["axes"] = torch.from_numpy(arrays["axes"])
    for key in ("step", "samples", "asked"):
        out[key] = int(arrays[key])
    out["spent_s"] = float(arrays["spent_s"])
    return out
