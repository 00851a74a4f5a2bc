"""The service decides with the threshold that was calibrated for its gallery, as `run` does."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetson_face.calibration.stored import Calibration, write_calibration
from jetson_face.config import Config, load_config
from jetson_face.core.types import Embeddings
from jetson_face.factory.parts import open_gallery
from jetson_face.factory.threshold import engine, scoring
from jetson_face.gallery.records import NewTemplate
from jetson_face.models.cards import embedding_space, load_card
from jetson_face.service import swap
from tests.config.parts import Rig

SPACE = embedding_space(load_card("squeezenet_face"))


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_calibrated_threshold_is_not_replaced_by_the_networks_curve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calibrated: bool
) -> None:
    def build_parts(config: Config, **_: Any) -> Any:
        parts = Rig(config).parts
        monkeypatch.setattr(parts.embedder, "space", SPACE)
        return parts

    monkeypatch.setattr(swap, "build_parts", build_parts)
    config = load_config(None, [f"state_dir={tmp_path}"])
    portrait, points = np.zeros((256, 256, 3), np.uint8), np.zeros((5, 2), np.float32)
    vector = np.eye(1, SPACE.dim, dtype=np.float32)[0]
    with open_gallery(config, SPACE, create=True) as store:
        store.add_template(
            store.add_person("Ada"), NewTemplate(vector, 0.5, "a" * 9, portrait, points, "a.jpg")
        )
        if calibrated:
            found = Calibration(
                0.77, config.matching.fpir, 0.0, 0.02, 400, 200, scoring(config),
                SPACE.full_name, engine(config), 1, 1, 0.0,
            )  # fmt: skip
            write_calibration(store, found)
    with closing(swap.build_deck(config)) as deck:
        matcher = deck.people(0)
        assert matcher.match(Embeddings(vector[None], SPACE))[0].similarity == 1
        if calibrated:
            assert matcher.thresholds is None
            assert deck.deciding.matching.similarity_min == 0.77
        else:
            assert matcher.thresholds is not None
            assert 0.3 < matcher.thresholds[0] < 0.5
