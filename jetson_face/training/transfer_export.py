"""A small trained network as ONNX, and its model card."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import torch

from jetson_face.training.networks import FeatureNet

if TYPE_CHECKING:
    from jetson_face.training.transfer import Outcome
    from jetson_face.training.transfer_settings import TransferConfig


def to_onnx(net: FeatureNet, side: int) -> bytes:
    """`input` (N, 3, side, side) to unit `embedding` (N, dim), any N."""
    buffer = io.BytesIO()
    net = net.eval().cpu().to(memory_format=torch.contiguous_format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further package is "legacy"
        torch.onnx.export(
            net,
            (torch.zeros(2, 3, side, side),),
            buffer,
            dynamo=False,
            opset_version=17,
            input_names=["input"],
            output_names=["embedding"],
            dynamic_axes={"input": {0: "N"}, "embedding": {0: "N"}},
        )
    return buffer.getvalue()


def card_of(
    name: str, digest: str, dim: int, side: int, config: TransferConfig, outcome: Outcome
) -> dict[str, Any]:
    """The card, which says in `source` how little the weights were trained on."""
    return {
        "name": name,
        "kind": "embedder",
        "files": {"fp32": {"path": f"{name}.onnx", "sha256": digest}},
        "licence": config.licence,
        "source": f"{config.architecture} trained by jetson-face train, {config.loss}: "
        f"{outcome.trained_on}",
        "input": {
            "name": "input",
            "size": [side, side],
            "colour": "RGB",
            "layout": "NCHW",
            "mean": [127.5] * 3,
            "std": [127.5] * 3,
        },
        "output": {"name": "embedding", "dim": dim},
        "alignment": config.alignment,
        "similarity_min": 0.7,
        "notes": f"{outcome.parameters} parameters; nearest-photo accuracy on held-out photos "
        f"{outcome.accuracy_before} before and {outcome.accuracy_nearest} after training. "
        "similarity_min is a guess: calibrate it on your own pictures.",
    }
