"""`jetson-face eval tracks` and `engines unrecognisable` from the command line, with made parts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jetson_face.benchmark import unrecognisable
from jetson_face.cli.main import main
from jetson_face.config import Config
from jetson_face.embedding.align import Aligner
from jetson_face.embedding.recognisable import Recognisability
from jetson_face.evaluation import tracks
from jetson_face.factory.parts import Parts
from tests.config.parts import SPACE, Quality, Says, Squares, unit
from tests.evaluation.fakes_evaluate import FakeEmbedder
from tests.evaluation.test_identification_video import leaving, run, videos_folder


def made_parts(config: Config) -> Parts:
    """Finds a square on every picture, also where there is no face."""
    squares = Squares([(60, 60, 130, 150)])
    return Parts(squares, squares, Aligner("arcface112"), Quality(), FakeEmbedder())


def test_clips_of_the_kinds_that_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracks, "build_parts", made_parts)
    images = videos_folder(tmp_path / "videos")
    words = ["--images", str(images), "--clips", "0.01", "--only", "posters", "--only", "non-faces"]
    assert run(monkeypatch, "tracks", *words, *leaving(tmp_path / "out")[:2]) == 0
    got = json.loads((tmp_path / "out/r.json").read_text())
    assert (got["kind"], got["facts"]["clips"]) == ("tracks", 2)
    assert set(got["deciders"]) == {
        "plain average", "majority vote", "weighted vote", "sticky match", "ours"
    }  # fmt: skip
    ours = got["deciders"]["ours"]
    assert set(ours["by_kind"]) == {"non-faces", "posters"}
    # the square is on no face of the other kind, and none of these clips has a face in its truth
    assert ours["non_face_events"] == ours["by_kind"]["non-faces"]["non_face_events"] >= 1
    assert ours["named"] is None
    assert (tmp_path / "out/r.md").read_text().startswith("# Names on video")
    assert "| ours |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", "ghosts"], "ghosts: clips are of these kinds: cuts, "),
        (["--clips", "11"], "up to 10"),
    ],
)
def test_clips_that_there_are_not_are_refused(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", "tracks", "--images", str(tmp_path), *words]) == 2
    assert said in capsys.readouterr().err


def test_too_few_people_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ada").mkdir()
    assert main(["eval", "tracks", "--images", str(tmp_path)]) != 0
    assert capsys.readouterr().err.count("\n") == 1


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures of no sense, in which made parts find a face."""
    import cv2

    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(24):
        image = np.random.default_rng(number).integers(0, 255, (160, 200, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), image)

    def build_parts(config: Config) -> Parts:
        squares = Squares([(60, 40, 130, 130)])
        return Parts(squares, squares, Aligner("arcface112"), Quality(), Says(unit(3, 4)))

    monkeypatch.setattr(unrecognisable, "build_parts", build_parts)
    return folder


def test_the_centroids_of_what_shows_nobody_is_written(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made.unrecognisable.json"
    words = ["engines", "unrecognisable", "--pictures", str(pictures), "--out", str(out)]
    assert main(words) == 0
    assert "unrecognisable: made.unrecognisable.json" in capsys.readouterr().out
    made = Recognisability.read(out, SPACE)
    np.testing.assert_allclose(made.centroids, [unit(3, 4)] * 3, atol=1e-6)


def test_too_few_faces_make_no_centroid(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted(pictures.iterdir())[:10]:
        path.unlink()
    out = tmp_path / "made.json"
    words = ["engines", "unrecognisable", "--pictures", str(pictures), "--out", str(out)]
    assert main(words) != 0
    assert "14 faces found, 20 are needed" in capsys.readouterr().err
    assert not out.exists()
