"""Open-set identification over divisions: by hand, and against the protocol's own program."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import F32
from jetson_face.evaluation.divisions import one_division, over_divisions, summary
from jetson_face.evaluation.people import Shot

REPO = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("JETSON_FACE_DATA", REPO.parent / "shared" / "data"))
PROTOCOL = DATA.parent / "eval" / "open_set_video.py"


def world(videos: dict[str, list[int]]) -> tuple[dict[str, list[Shot]], dict[str, int]]:
    """People with videos of so many frames, and the row of every frame."""
    people: dict[str, list[Shot]] = {}
    for person, counts in videos.items():
        for video, frames in enumerate(counts):
            for frame in range(frames):
                name = f"{person}/video{video}/frame{frame}.jpg"
                people.setdefault(person, []).append(
                    Shot(person, f"video{video}", name, Path(name))
                )
    shots = [shot.name for own in people.values() for shot in own]
    return people, {name: row for row, name in enumerate(shots)}


def random_world(seed: int) -> tuple[dict[str, list[Shot]], dict[str, int], F32]:
    rng = np.random.default_rng(seed)
    people, rows = world({f"p{i:02}": [3] * int(rng.integers(1, 4)) for i in range(40)})
    names = list(rows)
    centre = {person: rng.normal(size=16) for person in people}
    vectors = np.stack([centre[name[:3]] + 0.9 * rng.normal(size=16) for name in names])
    vectors[rng.random(len(names)) < 0.15] = np.nan
    lost = [row for name, row in rows.items() if name.startswith("p03/video0")]
    vectors[lost] = np.nan  # a video without any face
    return people, rows, vectors.astype(np.float32)


def test_two_people_by_hand() -> None:
    """Ann is enrolled and found in one of two videos; Ben, with one video, is the impostor."""
    people, rows = world({"ann": [2, 2, 1], "ben": [1]})
    vectors = np.array(
        [[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0.6, 0.8]], np.float32
    )  # video1: the first frame is right, the mean lies between
    told = over_divisions(people, vectors, rows, divisions=3)
    assert told["single: rank-1"]["mean"] == 100
    assert told["single: DIR at FPIR 0.01"] == {"mean": 50.0, "standard_error": 0.0}
    assert told["video: DIR at FPIR 0.01"]["mean"] == 50  # cos 45 degrees is over 0.6
    vectors[5] = (0.8, 0.6)
    assert over_divisions(people, vectors, rows)["video: DIR at FPIR 0.01"]["mean"] == 0


@pytest.mark.skipif(not PROTOCOL.exists(), reason="the protocol's program is not here")
@pytest.mark.parametrize("seed", [0, 1])
def test_as_the_protocol_itself_says(seed: int) -> None:
    people, rows, vectors = random_world(seed)
    theirs: dict[str, Any] = _protocol().open_set(
        vectors.astype(float), np.array(list(rows)), enrolled=15
    )
    ours = over_divisions(people, vectors, rows, enrolled=15)
    assert ours.keys() == theirs.keys()
    for name, (mean, error) in theirs.items():
        assert ours[name] == pytest.approx({"mean": mean, "standard_error": error}, abs=1e-9), name
    assert 5 < ours["single: DIR at FPIR 0.01"]["mean"] < 95, "the case says something"


def _protocol() -> Any:
    spec = importlib.util.spec_from_file_location("open_set_video", PROTOCOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_nobody_to_enrol_or_nobody_else_is_refused() -> None:
    people, rows = world({"ann": [1], "ben": [1]})
    with pytest.raises(InputBrokenError, match="two videos"):
        over_divisions(people, np.eye(2, dtype=np.float32), rows)
    people, rows = world({"ann": [1, 1]})
    with pytest.raises(InputBrokenError, match="0 others"):
        over_divisions(people, np.eye(2, dtype=np.float32), rows)


def test_what_is_printed_is_what_is_told() -> None:
    people, rows, vectors = random_world(2)
    told = over_divisions(people, vectors, rows, divisions=2, enrolled=10)
    printed = summary(told)
    for name, value in told.items():
        assert f"{name}: {value['mean']:.1f} +- {value['standard_error']:.1f} %" in printed


def test_a_division_alone_is_one_of_the_protocols_and_a_centre_changes_it() -> None:
    people, rows, vectors = random_world(3)
    whole = over_divisions(people, vectors, rows, divisions=2, enrolled=10)
    each = [one_division(people, vectors, rows, seed, enrolled=10) for seed in (0, 1)]
    for kind in ("single", "video"):
        mean = 100 * (each[0][kind] + each[1][kind]) / 2
        assert whole[f"{kind}: DIR at FPIR 0.01"]["mean"] == pytest.approx(mean)
    centre = np.full(16, 0.5, np.float32)
    assert one_division(people, vectors, rows, 0, enrolled=10, centre=centre) != each[0]
    moved = np.where(np.isnan(vectors), vectors, vectors + 0 * centre)
    same = one_division(people, moved, rows, 0, enrolled=10, centre=np.zeros(16, np.float32))
    assert same == pytest.approx(each[0])
