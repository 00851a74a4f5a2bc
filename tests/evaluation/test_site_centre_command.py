"""`jetson-face eval centre`: what the mean of other people of a site gains, on made vectors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import EmbeddingSpace
from jetson_face.evaluation.extract import ExtractedFaces
from jetson_face.evaluation.people import Shot
from jetson_face.evaluation.site_centre import gain_of_centre, table
from tests.evaluation.test_identification_video import leaving, run, videos_folder

DIM = 12


def site(seed: int = 1, *, shared: float = 0.5) -> tuple[dict[str, list[Shot]], ExtractedFaces]:
    """60 people with two or three videos of two frames; all vectors are moved one way."""
    rng = np.random.default_rng(seed)
    people: dict[str, list[Shot]] = {}
    vectors = []
    for number in range(60):
        who, own = f"p{number:02}", rng.normal(size=DIM)
        for video in range(2 + number % 2):
            for frame in range(2):
                name = f"{who}/video{video}/{frame}.jpg"
                people.setdefault(who, []).append(Shot(who, f"video{video}", name, Path(name)))
                vectors.append(own + 0.5 * rng.normal(size=DIM) + shared)
    units = np.array(vectors) / np.linalg.norm(vectors, axis=1, keepdims=True)
    names = tuple(shot.name for shots in people.values() for shot in shots)
    count = len(names)
    faces = ExtractedFaces(
        names, units.astype(np.float32), np.zeros((count, 4), np.float32),
        np.ones(count, np.float32), np.zeros(count, np.bool_), np.ones(count, np.int64),
        EmbeddingSpace("made", "0" * 64, DIM), {},
    )  # fmt: skip
    return people, faces


def test_what_is_shared_is_taken_away() -> None:
    people, faces = site()
    found = gain_of_centre(people, faces, count=6, enrolled=15)
    assert list(found) == ["without", "20", "50", "all"]
    assert found["without"]["video"]["gain"] == 0
    assert found["all"]["video"]["gain"] > 2
    assert found["all"]["video"]["dir"] == pytest.approx(
        found["without"]["video"]["dir"] + found["all"]["video"]["gain"]
    )
    assert len(table(found).splitlines()) == 2 + 4
    assert "| without | " in table(found)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = videos_folder(tmp_path / "videos")
    words = ("centre", "--images", images, "--divisions", "2")
    with pytest.raises(InputBrokenError, match="divisions need both"):
        run(monkeypatch, *words, *leaving(tmp_path / "out"))
    import shutil

    for number in range(8):
        if number % 2:
            shutil.rmtree(images / f"p{number}" / "video1")
    code = run(monkeypatch, *words, *leaving(tmp_path / "out"))
    got = json.loads((tmp_path / "out/r.json").read_text())
    assert (code, got["kind"], got["divisions"]) == (0, "centre", 2)
    assert "all" in got["centre"]
