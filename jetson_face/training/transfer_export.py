"""What a small training leaves: the network as ONNX, its weights, its report and its model card."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import yaml

from jetson_face.training.export import card_of, exported
from jetson_face.training.networks import FeatureNet
from jetson_face.training.settings import CardSettings
from jetson_face.training.transfer_settings import TransferConfig
from jetson_face.util.files import write_file

OWN_NAMES = ("openface", "facenet_small")
"""Networks whose cards are called as they are; the others' begin with `transfer_`."""


@dataclass(frozen=True, slots=True)
class TransferOutcome:
    """What a run reached. accuracy_*: share of held-out photos whose nearest photo (before and
    after training), or whose class by the softmax layer, is the right person. side: of the
    network's picture, pixels. faces_seen: in all batches. started_from: what the weights were at
    first."""

    network: str
    layers: str
    side: int
    parameters: int
    trained_parameters: int
    steps: int
    seconds: float
    faces: int
    faces_seen: int
    people: int
    loss_first: float
    loss_last: float
    accuracy_before: float
    accuracy_nearest: float
    accuracy_softmax: float | None
    started_from: str
    trained_on: str


def to_onnx(net: FeatureNet, side: int) -> bytes:
    """`input` (N, 3, side, side) to unit `embedding` (N, dim), any N."""
    return exported(net.eval().cpu(), side)


def _told(config: TransferConfig, outcome: TransferOutcome) -> CardSettings:
    """For the card, which says in `source` how little the weights were trained on."""
    return CardSettings(
        licence=config.licence,
        source=f"{config.architecture} trained by jetson-face train, {config.loss}: "
        f"{outcome.trained_on}",
        similarity_min=0.7,
        notes=f"{outcome.parameters} parameters; nearest-photo accuracy on held-out photos "
        f"{outcome.accuracy_before} before and {outcome.accuracy_nearest} after training. "
        "similarity_min is a guess: calibrate it on your own pictures.",
    )


def name_of(config: TransferConfig) -> str:
    """What its files are called, before the ends of their names."""
    own = config.architecture in OWN_NAMES
    return config.name or (config.architecture if own else f"transfer_{config.architecture}")


def save(net: FeatureNet, outcome: TransferOutcome, config: TransferConfig, folder: Path) -> Path:
    """ONNX, weights (npz), report and model card; returns the card's path."""
    name = name_of(config)
    side = 96 if config.alignment == "openface96" else 112
    content = to_onnx(net, side)
    write_file(folder / f"{name}.onnx", content)
    files = {"fp32": {"path": f"{name}.onnx", "sha256": sha256(content).hexdigest()}}
    buffer = io.BytesIO()
    weights = {key: value.numpy() for key, value in net.state_dict().items()}
    np.savez(buffer, layout=np.array(net.layout), **weights)
    write_file(folder / f"{name}.weights.npz", buffer.getvalue())
    told = {**asdict(outcome), "mib": (folder / f"{name}.onnx").stat().st_size / 2**20}
    write_file(folder / f"{name}.report.json", json.dumps(told, indent=2) + "\n")
    card = card_of(name, files, side, net.dim, config.alignment, _told(config, outcome))
    text = yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=100)
    write_file(folder / f"{name}.yaml", text)
    return folder / f"{name}.yaml"
