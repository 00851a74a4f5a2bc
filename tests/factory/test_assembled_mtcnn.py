"""MTCNN as the configuration asks for it, put together without running it."""

from __future__ import annotations

from typing import Any

import pytest

from jetson_face.config import load_config
from jetson_face.factory import mtcnn as subject


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the detector is made with."""
    made: list[dict[str, Any]] = []

    def make(*nets: Any, **options: Any) -> str:
        made.append({"nets": nets, **options})
        return "a detector"

    monkeypatch.setattr(subject, "Mtcnn", make)
    return made


NETS: dict[str, Any] = {"onet": "O", "pnet": "P", "rnet": "R"}
CONFIG = ["detector.type=mtcnn", "detector.thresholds=[0.6, 0.8, 0.9]", "detector.max_faces=7"]


def test_a_relaxed_search_keeps_a_share_of_each_threshold(asked: list[dict[str, Any]]) -> None:
    config = load_config(None, CONFIG)
    subject.assemble_mtcnn(config, NETS)
    subject.assemble_mtcnn(config, NETS, relaxed=True)
    assert asked[0]["nets"] == ("P", "R", "O")
    assert asked[0]["thresholds"] == (0.6, 0.8, 0.9)
    assert asked[1]["thresholds"] == pytest.approx((0.3, 0.24, 0.135))
    assert asked[0]["max_faces"] == 7


@pytest.mark.parametrize(
    ("size", "nets", "searches"),
    [
        (None, NETS, {}),
        (None, NETS | {"search": "S"}, {}),
        ("[640, 480]", NETS, {}),
        ("[640, 480]", NETS | {"search": "S"}, {(640, 480): "S"}),
    ],
)
def test_frames_of_the_stated_size_have_a_search_of_their_own_where_there_is_one(
    asked: list[dict[str, Any]], size: str | None, nets: dict[str, Any], searches: dict[Any, Any]
) -> None:
    words = [] if size is None else [f"engines.frame_size={size}"]
    subject.assemble_mtcnn(load_config(None, [*CONFIG, *words]), nets)
    assert asked[0]["searches"] == searches
