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
CONFIG = [
    "detector={type: mtcnn, thresholds: [0.6, 0.8, 0.9], max_faces: 7, min_face_px: 33, "
    "pyramid_factor: 0.6, drop_below_px: 14, max_side_px: 500}"
]


def test_a_relaxed_search_keeps_a_share_of_each_threshold(asked: list[dict[str, Any]]) -> None:
    config = load_config(None, CONFIG)
    subject.assemble_mtcnn(config, NETS)
    subject.assemble_mtcnn(config, NETS, relaxed=True)
    plain, relaxed = asked
    assert relaxed.pop("thresholds") == pytest.approx((0.3, 0.24, 0.135))
    assert plain.pop("thresholds") == (0.6, 0.8, 0.9)
    assert plain == relaxed
    assert plain == {
        "nets": ("P", "R", "O"),
        "min_face_px": 33,
        "pyramid_factor": 0.6,
        "max_faces": 7,
        "drop_below_px": 14,
        "max_side_px": 500,
        "searches": {},
    }


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
