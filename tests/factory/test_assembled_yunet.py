"""YuNet as the configuration asks for it, over its real network."""

from __future__ import annotations

import numpy as np
import pytest

from jetson_face.config import Config, load_config
from jetson_face.factory.files import network_file
from jetson_face.factory.golden import golden_pictures
from jetson_face.factory.parity_gate import _Recorder
from jetson_face.factory.yunet import YUNET, assemble_yunet, plan_side, yunet_config
from jetson_face.inference.onnxruntime import OnnxBackend
from jetson_face.models.cards import load_card

LONG = np.zeros((60, 3000, 3), np.uint8)


def configured(backend: str = "onnxruntime", **detector: float) -> Config:
    settings = "".join(f", {key}: {value}" for key, value in detector.items())
    return load_config(None, [f"backend.type={backend}", f"detector={{type: yunet{settings}}}"])


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> OnnxBackend:
    config = load_config(None, [f"engines.cache={tmp_path_factory.mktemp('engines')}"])
    return OnnxBackend(network_file(config, load_card("yunet")), threads=1)


@pytest.mark.parametrize(
    ("backend", "settings", "width"),
    [
        ("onnxruntime", {}, 1824),  # 3000 * 24 / 40, a multiple of 32
        ("onnxruntime", {"max_side_px": 320}, 320),
        ("tensorrt", {}, 1536),  # 2560 * 24 / 40: no larger picture fits the plan
        ("tensorrt", {"max_side_px": 320}, 320),
        ("tensorrt", {"min_face_px": 80}, 768),
    ],
)
def test_no_picture_is_searched_larger_than_was_asked_or_the_plan_takes(
    network: OnnxBackend, backend: str, settings: dict[str, float], width: int
) -> None:
    config, asked = configured(backend, **settings), _Recorder(network)
    assemble_yunet(config, {YUNET: asked}).detect(LONG)
    assert asked.feeds[0]["input"].shape[3] == width
    wanted = yunet_config(config)
    assert wanted is not None
    if backend == "tensorrt":
        assert plan_side(config, wanted) == width


def test_no_more_faces_than_asked_and_less_sure_ones_in_photos(network: OnnxBackend) -> None:
    one, other = golden_pictures()[0], golden_pictures()[4]
    height = min(len(one), len(other))
    both = np.hstack([one[:height], other[:height]])
    nets = {YUNET: network}
    assert len(assemble_yunet(configured(), nets).detect(both)) == 2
    assert len(assemble_yunet(configured(max_faces=1), nets).detect(both)) == 1
    sure = configured(score_min=0.99)  # than which nobody here is surer
    assert len(assemble_yunet(sure, nets).detect(both)) == 0
    assert len(assemble_yunet(sure, nets, relaxed=True).detect(both)) == 2
