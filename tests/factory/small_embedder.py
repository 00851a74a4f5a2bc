"""An embedder that takes milliseconds: a convolution, a mean of each channel, a dense layer."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import yaml
from onnx import helper

from tests.inference.graphs import model

SIDE, DIM = 112, 16


def small_network(seed: int = 0) -> bytes:
    """input (n, 3, 112, 112) -> embedding (n, 16)."""
    rng = np.random.default_rng(seed)
    return model(
        [
            helper.make_node("Conv", ["input", "w"], ["c"], strides=[4, 4]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("GlobalAveragePool", ["r"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("Gemm", ["flat", "fc"], ["embedding"]),
        ],
        {"input": ["n", 3, SIDE, SIDE]},
        {"embedding": ["n", DIM]},
        {
            "w": rng.normal(0, 0.2, (32, 3, 7, 7)).astype(np.float32),
            "fc": rng.normal(0, 1, (32, DIM)).astype(np.float32),
        },
    )


def small_card(folder: Path, name: str = "small", seed: int = 0) -> Path:
    """The network and its card, written to a folder; the card's path."""
    onnx = small_network(seed)
    (folder / f"{name}.onnx").write_bytes(onnx)
    path = folder / f"{name}.yaml"
    values = [127.5] * 3
    path.write_text(
        yaml.safe_dump(
            {
                "name": name,
                "kind": "embedder",
                "files": {
                    "fp32": {"path": f"{name}.onnx", "sha256": hashlib.sha256(onnx).hexdigest()}
                },
                "licence": "none",
                "source": "random numbers",
                "input": {"size": [SIDE, SIDE], "colour": "RGB", "mean": values, "std": values},
                "output": {"dim": DIM},
                "alignment": "arcface112",
                "similarity_min": 0.5,
            }
        )
    )
    return path
