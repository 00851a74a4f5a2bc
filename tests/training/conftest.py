"""Toy faces: coloured patterns, one for each made-up person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra 'train' (PyTorch)")

from jetson_face.training.settings import TrainConfig

PEOPLE, PHOTOS, DIM = 6, 4, 16


@pytest.fixture
def toy_folder(tmp_path: Path) -> Path:
    """``PERSON/PHOTO.png``: 6 people, 4 pictures each; ``teacher.npy`` beside the folder."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "toy"
    for person in range(PEOPLE):
        pattern = rng.integers(0, 256, (7, 7, 3)).astype(np.uint8)
        large = cv2.resize(pattern, (112, 112), interpolation=cv2.INTER_CUBIC).astype(np.int16)
        (folder / f"p{person}").mkdir(parents=True)
        for photo in range(PHOTOS):
            picture = np.clip(large + rng.normal(0, 12, large.shape), 0, 255).astype(np.uint8)
            cv2.imwrite(str(folder / f"p{person}" / f"{photo}.png"), picture)
    axes = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0][:PEOPLE]
    np.save(tmp_path / "teacher.npy", np.repeat(axes, PHOTOS, axis=0).astype(np.float16))
    return folder


@pytest.fixture
def recipe(toy_folder: Path, tmp_path: Path) -> dict[str, Any]:
    """A recipe that runs in seconds."""
    return {
        "run": str(tmp_path / "run"),
        "threads": 1,
        "log_steps": 1,
        "data": {
            "folder": str(toy_folder),
            "teacher": str(tmp_path / "teacher.npy"),
            "cache": str(tmp_path / "cache"),
        },
        "net": {"dim": DIM, "stem": "patch", "pool_before": [4, 6]},
        "loss": {"distill": 1.0, "gram": 1.0, "bank": 0.1, "bank_rows": 24},
        "optim": {"batch": 8, "rate": 2e-3, "steps": 20, "bf16": False, "ema": 0.8},
    }


@pytest.fixture
def config(recipe: dict[str, Any]) -> TrainConfig:
    """The toy recipe, checked."""
    return TrainConfig.model_validate(recipe)
