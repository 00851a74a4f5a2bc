"""The checkpoint of a campaign's run folder, and its averaged weights as ONNX to be measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from jetson_face.core.errors import InputMissingError
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
