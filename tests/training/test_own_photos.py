"""Photos of one's own as a set to train on, and pair verification fitted to a list of pairs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jetson_face.cli.main import main
from jetson_face.config import Config, load_config
from jetson_face.core.errors import InputBrokenError
from jetson_face.core.types import Detections, ImageU8
from jetson_face.evaluation.extract import FaceExtractor
from jetson_face.evaluation.method import Method
from jetson_face.gallery.matcher import Matcher
from jetson_face.training import own_photos, pair_fit
from jetson_face.util.images import write_picture
from tests.evaluation.fakes_evaluate import (
    SPACE,
    FakeAligner,
    FakeDetector,
    FakeEmbedder,
    picture,
)


class Centred:
    """Finds a face in the middle of pictures that are not black."""

    def __init__(self) -> None:
        self.closed = False

    def detect(self, image: ImageU8) -> Detections:
        if image.max() == 0:
            return Detections.empty()
        x, y = image.shape[1] / 2, image.shape[0] / 2
        offsets = [[-15, -10], [15, -10], [0, 5], [-12, 20], [12, 20]]
        points = np.array([x, y], np.float32) + np.array(offsets, np.float32)
        box = np.array([[x - 30, y - 30, x + 30, y + 30]], np.float32)
        return Detections(box, np.ones(1, np.float32), points[None])

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def centred(monkeypatch: pytest.MonkeyPatch) -> Centred:
    detector = Centred()
    monkeypatch.setattr(own_photos, "build_detector", lambda config, relaxed: detector)
    return detector


def photos(folder: Path, name: str, colours: list[tuple[int, int, int]]) -> None:
    (folder / name).mkdir(parents=True)
    for number, colour in enumerate(colours):
        write_picture(folder / name / f"{number}.png", np.full((120, 160, 3), colour, np.uint8))


def test_people_with_two_found_faces_are_taken(tmp_path: Path, centred: Centred) -> None:
    blue, red, black = (200, 10, 10), (10, 10, 200), (0, 0, 0)
    photos(tmp_path / "people", "Ada", [blue, blue, black])
    photos(tmp_path / "people", "Bob", [red, red])
    photos(tmp_path / "people", "Once", [red, black])
    told: list[object] = []
    given = own_photos.found_faces(
        load_config(None), tmp_path / "people", lambda done, total, name: told.append(name)
    )
    assert given.faces.shape == (4, 112, 112, 3)
    assert given.labels.tolist() == [0, 0, 1, 1]
    middles = given.faces[:, 56, 56].tolist()
    assert middles == [[10, 10, 200]] * 2 + [[200, 10, 10]] * 2, "RGB"
    assert (given.origin, told, centred.closed) == ("people", ["Ada", "Bob", "Once"], True)


def test_one_person_is_too_few(tmp_path: Path, centred: Centred) -> None:
    photos(tmp_path, "Ada", [(9, 9, 9)] * 2)
    with pytest.raises(InputBrokenError, match="of 1 people; two people are needed"):
        own_photos.found_faces(load_config(None), tmp_path, lambda *_: None)
    assert centred.closed


def test_pair_verification_is_fitted_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["fold\ta\tb\tsame"]
    for who in range(4):
        (tmp_path / f"p{who}").mkdir()
        for shot in range(3):
            write_picture(tmp_path / f"p{who}" / f"{shot}.png", picture(2 * who, noise=5 * shot))
        for a, b in ((0, 1), (1, 2)):
            rows.append(f"1\tp{who}/{a}.png\tp{who}/{b}.png\t1")
            rows.append(f"1\tp{who}/{a}.png\tp{(who + 1) % 4}/{b}.png\t0")
    (tmp_path / "pairs.tsv").write_text("\n".join(rows))
    extractor = FaceExtractor(FakeDetector(), FakeAligner(), FakeEmbedder())
    asked: list[str] = []

    def build(config: Config) -> Method:
        asked.append(config.matching.method)
        return Method("fake", extractor, {}, 0.5, Matcher)

    monkeypatch.setattr(pair_fit, "build_method", build)
    out = tmp_path / "fitted.json"
    words = [
        "--pairs",
        str(tmp_path / "pairs.tsv"),
        "--images",
        str(tmp_path),
        "--set",
        "matching.method=siamese",
    ]
    assert main(["train", *words, "--export", str(out)]) == 0
    assert asked == ["cosine"]
    assert "fitted to 16 pairs of " in capsys.readouterr().out
    assert json.loads(out.read_text())["space"]["model"] == SPACE.model
