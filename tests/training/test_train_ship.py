"""What ships is made of a campaign's kept weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra 'train' (PyTorch)")

import torch
import train_ship

from jetson_face.config import Config
from jetson_face.core.types import ImageU8
from jetson_face.models.cards import load_card, resolve
from jetson_face.training.campaign.settings import CampaignConfig
from jetson_face.training.campaign.state import keep_small
from jetson_face.training.export import run_onnx
from jetson_face.training.loop import build_net


def test_three_precisions_and_a_card_come_of_kept_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    pictures: ImageU8 = rng.integers(0, 256, (30, 112, 112, 3)).astype(np.uint8)
    monkeypatch.setattr("jetson_face.training.data.open_packed", lambda *_: (pictures, [""] * 30))
    recipe = CampaignConfig.model_validate(
        {
            "name": "made",
            "net": {"dim": 16, "repeat": [3]},
            "packs": [{"packed": "none.zip"}],
            "teachers": {"none": {"dim": 16}},
            "optim": {"minutes": 1},
            "card": {"licence": "none", "notes": "toy"},
        }
    )
    torch.manual_seed(3)
    state: dict[str, Any] = {"ema": build_net(recipe.net).state_dict(), "hints": {}}
    state |= {"axes": torch.eye(16), "centre": torch.zeros(16), "target": "made"}
    state |= {"step": 1, "samples": 2, "asked": 3, "spent_s": 4.0}
    keep_small(state, tmp_path / "kept.npz")
    card = load_card(train_ship.files(recipe, tmp_path / "kept.npz", tmp_path / "out"))
    assert (card.name, card.licence, set(card.files)) == (
        "made", "none", {"fp32", "fp16", "int8", "u8s8"},
    )  # fmt: skip
    faces = rng.uniform(-1, 1, (4, 3, 112, 112)).astype(np.float32)
    fp32, int8 = (run_onnx(resolve(card, p).read_bytes(), faces) for p in ("fp32", "int8"))
    assert (fp32 * int8).sum(1).min() > 0.9


def test_the_threshold_is_what_one_pair_in_a_thousand_reaches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    names = [f"p{n // 2}/{n}" for n in range(400)]
    vectors = rng.normal(size=(400, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[7] = np.nan
    found = ~np.isnan(vectors[:, 0])

    class Faces:
        pass

    faces: Any = Faces()
    faces.names, faces.vectors, faces.found = names, vectors, found
    pictures = {name: Path(name) for name in names}
    monkeypatch.setattr(train_ship, "read_pairs", lambda _: faces)
    monkeypatch.setattr(train_ship, "find_pictures", lambda *_: pictures)
    monkeypatch.setattr(train_ship, "faces_of", lambda *_: faces)
    faces.pictures, faces.pairs = names, ()
    told = train_ship.threshold(Config(), tmp_path / "lfw" / "pairs.txt", tmp_path)
    people = np.array([name.split("/")[0] for name in names])[found]
    known = vectors[found]
    above = sum(
        float(known[a] @ known[b]) >= told
        for a in range(len(known))
        for b in range(a)
        if people[a] != people[b]
    )
    pairs = len(known) * (len(known) - 1) // 2
    assert 0.0003 < above / pairs <= 0.001
