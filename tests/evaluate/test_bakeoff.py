"""The bake-off on made-up faces: its frames, its costs, its page, and rows that are refused."""

from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from jetson_face.cli import main
from jetson_face.config import load_config
from jetson_face.errors import ModelError
from jetson_face.evaluate import bakeoff, bakeoff_report
from jetson_face.evaluate.bakeoff import Faces, crowd, measure_cost, measure_row
from jetson_face.evaluate.bakeoff_facts import ModelFacts, model_facts
from jetson_face.evaluate.bakeoff_frames import moving_face
from jetson_face.evaluate.extract import FaceExtractor
from jetson_face.evaluate.method import Method
from jetson_face.evaluate.pairs import Pair, PairList
from jetson_face.evaluate.people import divide, read_people
from jetson_face.gallery.match import Matcher
from jetson_face.pictures import read_picture
from tests.evaluate.fakes_evaluate import SPACE, FakeAligner, FakeDetector, FakeEmbedder, picture


def method() -> Method:
    extractor = FaceExtractor(FakeDetector(), FakeAligner(), FakeEmbedder())
    return Method("fake", extractor, {"model": "fake"}, 0.5, Matcher)


@pytest.fixture
def faces(tmp_path: Path) -> Faces:
    """Eight people, two videos of two frames each."""
    for who in range(8):
        for video in range(2):
            folder = tmp_path / f"p{who}" / f"video{video}"
            folder.mkdir(parents=True)
            for frame in range(2):
                cv2.imwrite(str(folder / f"frame{frame}.png"), picture(who, noise=8 * video))
    people = read_people(tmp_path)
    shots = {shot.name: shot.path for each in people.values() for shot in each}
    names = [f"p{who}/video{video}/frame0.png" for who in range(8) for video in range(2)]
    equal = [Pair(i % 4 + 1, names[2 * i], names[2 * i + 1], True) for i in range(8)]
    other = [Pair(i % 4 + 1, names[2 * i], names[(2 * i + 3) % 16], False) for i in range(8)]
    return Faces(
        PairList((*equal, *other), 0, 0),
        shots,
        divide(people, strangers=0.4),
        [shots[names[0]]],
        picture(1),
        limit=8,
    )


def test_frames_hold_the_face_and_move_it() -> None:
    face = np.full((50, 40, 3), 200, np.uint8)
    frames = list(islice(moving_face(face, 320, 40), 12))
    assert all(frame.image.shape == (180, 320, 3) for frame in frames)
    assert [frame.captured_ns for frame in frames[:3]] == [0, 40, 80]
    places = [np.argwhere((frame.image == 200).all(axis=2)) for frame in frames]
    assert all(len(place) >= 90 * 72 for place in places)
    assert any((a.min(axis=0) != b.min(axis=0)).any() for a, b in pairwise(places))


def test_costs_come_from_the_clock() -> None:
    ticks = iter(range(100))
    cost = measure_cost(method(), [], lambda: float(next(ticks)))
    assert cost.seconds_pictures == cost.seconds_train == 1
    assert cost.crowds == tuple((people, 1.0, 1 / 20) for people in bakeoff.CROWDS)
    gallery = crowd(SPACE, 7)
    assert gallery.vectors.shape == (35, SPACE.dim)
    np.testing.assert_allclose(np.linalg.norm(gallery.vectors, axis=1), 1, atol=1e-5)


def test_a_measured_row_has_every_figure(monkeypatch: pytest.MonkeyPatch, faces: Faces) -> None:
    closed: list[bool] = []
    parts = SimpleNamespace(close=lambda: closed.append(True))
    monkeypatch.setattr(bakeoff, "build_method", lambda config: method())
    monkeypatch.setattr(bakeoff, "build_parts", lambda config: parts)
    monkeypatch.setattr(bakeoff, "measure_speed", lambda *rest: 12.0)
    monkeypatch.setattr(bakeoff, "model_facts", lambda config: ModelFacts(2**20, "free", "here"))
    row = measure_row("fake", "fake.yaml", load_config(None), faces, resamples=20)
    assert closed == [True]
    figures: dict[str, Any] = row.as_json()
    assert figures["refused"] is None
    assert figures["verification"]["accuracy"] == 1
    assert figures["identification"]["rank1"] == 1
    assert figures["speed"][0] == {"width": 320, "every": 5, "fps": 12.0}
    assert len(figures["sensitivity"]) == sum(map(len, bakeoff.LEVELS.values()))
    refused = bakeoff.Row("other", "other.yaml", refused="no weights")
    page = bakeoff_report.markdown([row, refused], {"seed": 1}, "jetson-face eval bakeoff", "")
    assert "| fake | 100.0 %" in page
    assert "| other | no weights |" in page
    assert page.count("| other |") == 1


def test_a_method_without_weights_is_refused_with_the_command(faces: Faces) -> None:
    config = load_config(None, ["embedder.model=transfer_resnet10"])
    row = measure_row("transfer_resnet10", "x.yaml", config, faces)
    assert row.verification is None
    assert "jetson-face train --finetune PEOPLE --net resnet10" in str(row.refused)
    assert "accuracy" not in str(row.as_json())


def test_model_facts_count_files_and_name_terms() -> None:
    dlib = model_facts(load_config(None, ["detector={type: dlib}"]))
    free = model_facts(load_config(None, ["detector={type: dlib, points: dlib5}"]))
    assert "not for commercial use" in dlib.licence
    assert "not for commercial use" not in free.licence
    assert dlib.bytes - free.bytes > 80e6
    with pytest.raises(ModelError, match="train"):
        model_facts(load_config(None, ["embedder.model=transfer_vgg16"]))


def test_the_command_leaves_a_page_even_when_every_row_is_refused(
    faces: Faces, tmp_path: Path, write: Any
) -> None:
    config = write("openface.yaml", "embedder: {model: transfer_vgg16}\n")
    lines = [f"{p.fold}\t{p.a}\t{p.b}\t{int(p.same)}" for p in faces.pairs.pairs]
    pairs = write("pairs.tsv", "\n".join(["fold\ta\tb\tsame", *lines]) + "\n")
    assert read_picture(next(iter(faces.pictures.values()))).shape == (32, 32, 3)
    out = tmp_path / "out"
    words = ["eval", "bakeoff", "--configs", str(config), "--pairs", str(pairs)]
    words += ["--images", str(tmp_path), "--people", str(tmp_path), "--limit-people", "12"]
    code = main([*words, "--json", str(out / "b.json"), "--markdown", str(out / "b.md")])
    assert code == 0
    assert "--net vgg16" in (out / "b.md").read_text()
