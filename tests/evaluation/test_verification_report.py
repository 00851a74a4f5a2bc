"""Verification from pictures to the three kinds of report, with stand-ins for the networks."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from jetson_face.cli import evaluate as command
from jetson_face.core.errors import (
    InputBrokenError,
    MissingDependencyError,
    OutputError,
    UsageError,
)
from jetson_face.evaluation import kinds, report
from jetson_face.evaluation.bootstrap import Interval
from jetson_face.evaluation.extract import FaceExtractor
from jetson_face.evaluation.method import Method, snapshot_of
from jetson_face.evaluation.pairs import find_pictures, read_pairs
from jetson_face.evaluation.verification import Verification, cosine_scores, l2_scores, verify
from jetson_face.gallery.matcher import Matcher
from jetson_face.util.images import write_picture
from tests.evaluation.fakes_evaluate import (
    FAINT,
    HIDDEN,
    SPACE,
    FakeAligner,
    FakeDetector,
    FakeEmbedder,
    picture,
)


def fake_method() -> Method:
    extractor = FaceExtractor(
        FakeDetector(),
        FakeAligner(),
        FakeEmbedder(),
        relaxed=FakeDetector(sees=FAINT),
        clock=lambda: 0.0,
    )
    return Method("fake", extractor, {"method": "fake"}, 0.5, Matcher)


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Four people with four pictures each; p3's second needs the relaxed search, p3's last is lost.

    Fold 1: 3 + 3 pairs, all right. Fold 2: 3 + 3 pairs, of which one equal and one different pair
    have no face, and one equal pair is 80 degrees apart.
    """
    for who in range(4):
        folder = tmp_path / "images" / f"p{who}"
        folder.mkdir(parents=True)
        for shot, noise in enumerate((0, 10, 20, 80)):
            how = {(3, 1): FAINT, (3, 3): HIDDEN}.get((who, shot), 0)
            write_picture(folder / f"{shot}.png", picture(2 * who, how=how, noise=noise))
    rows = [
        ("1", "p0/0.png", "p0/1.png", "1"),
        ("1", "p0/1.png", "p0/2.png", "1"),
        ("1", "p1/0.png", "p1/2.png", "1"),
        ("1", "p0/0.png", "p1/0.png", "0"),
        ("1", "p0/1.png", "p1/1.png", "0"),
        ("1", "p0/2.png", "p1/2.png", "0"),
        ("2", "p2/0.png", "p2/3.png", "1"),
        ("2", "p3/0.png", "p3/1.png", "1"),
        ("2", "p3/0.png", "p3/3.png", "1"),
        ("2", "p2/0.png", "p3/0.png", "0"),
        ("2", "p2/1.png", "p3/3.png", "0"),
        ("2", "p2/2.png", "p3/2.png", "0"),
        ("2", "p3/2.png", "p2/2.png", "0"),
    ]
    text = "\n".join(map("\t".join, [("fold", "a", "b", "same"), *rows]))
    (tmp_path / "pairs.tsv").write_text(text)
    return tmp_path


def measured(lab: Path, resamples: int = 50) -> Verification:
    pairs = read_pairs(lab / "pairs.tsv")
    made = fake_method()
    faces = made.extractor.extract(find_pictures(lab / "images", pairs.pictures))
    return verify(pairs, faces, rng=np.random.default_rng(0), resamples=resamples)


def test_undetected_pairs_are_wrong_and_reported(lab: Path) -> None:
    got = measured(lab).as_json()
    # fold 1 all right; fold 2: of 6 two without a face and the 80 degrees are wrong
    assert [row["accuracy"] for row in got["folds"]] == [1.0, 0.5]
    assert got["accuracy"] == 0.75
    assert got["std"] == pytest.approx(0.5 / 2**0.5)
    assert (got["undetected"], got["undetected_pictures"]) == (1, ["p3/3.png"])
    assert (got["undetected_pairs"], got["relaxed"], got["duplicates_left_out"]) == (2, 1, 1)
    assert got["pairs"] == 12
    # 5 of 6 equal pairs have a score, all above the 5 different ones
    assert got["auc"] == pytest.approx(5 / 6)
    assert got["worst_case"]["auc"] == pytest.approx(5 / 6 * 5 / 6)
    assert got["tar_at_far"] == {"0.01": None, "0.001": None}


def test_the_keys_that_others_read_are_there(lab: Path) -> None:
    got = report.plain(measured(lab).as_json())
    wanted = {"accuracy", "std", "auc", "eer", "tar_at_far", "undetected", "f1", "cosine", "l2"}
    wanted |= {"similarity_min", "intervals", "folds", "distributions", "method", "relaxed"}
    assert wanted <= got.keys()
    low, high = got["intervals"]["accuracy"]
    assert low <= got["accuracy"] <= high
    assert sum(got["distributions"]["cosine"]["equal"]) == 5
    assert sum(got["distributions"]["l2"]["different"]) == 5
    json.dumps(got, allow_nan=False)


def test_l2_of_unit_vectors_ranks_as_cosine_does() -> None:
    rng = np.random.default_rng(2)
    a, b = (rng.normal(size=(50, 8)).astype(np.float32) for _ in range(2))
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    cosine, l2 = cosine_scores(a, b), l2_scores(a, b)
    np.testing.assert_allclose(l2, -np.sqrt(2 - 2 * cosine), atol=1e-6)
    a[3] = np.nan
    assert np.isnan(cosine_scores(a, b)[3])
    assert np.isnan(l2_scores(a, b)[3])


def test_the_same_seed_gives_the_same_report(lab: Path) -> None:
    first, second = measured(lab), measured(lab)
    assert report.plain(first.as_json()) == report.plain(second.as_json())


def run(lab: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> int:
    monkeypatch.setattr(kinds, "build_method", lambda config, relaxed, photos: fake_method())
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    names = ["--pairs", str(lab / "pairs.tsv"), "--images", str(lab / "images")]
    return command.run(parser.parse_args(["verification", *names, "--resamples", "20", *more]))


def test_the_command_leaves_json_markdown_and_plots(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--json", str(lab / "out/v.json"), "--markdown", str(lab / "out/v.md")]
    assert run(lab, monkeypatch, *files, "--plots", str(lab / "out/plots")) == 0
    got = json.loads((lab / "out/v.json").read_text())
    assert got["accuracy"] == 0.75
    text = (lab / "out/v.md").read_text()
    assert "| accuracy over folds | 75.00 %" in text
    assert "1 without a face found" in text
    for name in ("roc", "histogram_cosine", "histogram_l2"):
        assert (lab / f"out/plots/{name}.png").read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "accuracy over folds  75.00 %" in printed
    assert "1 without a face found, 1 found by the relaxed search" in printed


def test_without_matplotlib_the_json_is_still_written(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"jetson-face\[eval\]"):
        run(lab, monkeypatch, "--json", str(lab / "v.json"), "--plots", str(lab / "plots"))
    assert json.loads((lab / "v.json").read_text())["accuracy"] == 0.75


def test_pairs_that_cannot_be_measured_are_the_users_input(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lab / "pairs.tsv").write_text("fold\ta\tb\tsame\n1\tp0/0.png\tp0/1.png\t1\n")
    with pytest.raises(InputBrokenError, match=r"pairs\.tsv: .*2 folds|both kinds"):
        run(lab, monkeypatch)
    with pytest.raises(UsageError, match="--resamples"):
        run(lab, monkeypatch, "--resamples", "-1")


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"file/v\.json: cannot be written"):
        report.write_json(tmp_path / "file" / "v.json", {})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_json_does_not_have_becomes_null() -> None:
    given = {
        "nan": np.float32("nan"),
        "inf": float("inf"),
        "array": np.array([1, 2]),
        "flag": np.bool_(True),
        "interval": Interval(0.1, 0.2, 0.95, 10),
        3: (None, Path("x")),
    }
    assert report.plain(given) == {
        "nan": None,
        "inf": None,
        "array": [1, 2],
        "flag": True,
        "interval": [0.1, 0.2],
        "3": [None, "x"],
    }


def test_a_table_cell_may_not_break_the_table() -> None:
    assert report.table(["a"], [["x|y\nz"]]) == "| a |\n| --- |\n| x\\|y z |"


def test_a_gallery_in_memory_matches() -> None:
    vectors = np.eye(SPACE.dim, dtype=np.float32)
    snapshot = snapshot_of(SPACE, {"a": vectors[:2], "none": vectors[:0], "b": vectors[2:3]})
    assert [person.name for person in snapshot.people] == ["a", "b"]
    assert snapshot.person_index.tolist() == [0, 0, 1]
    assert snapshot_of(SPACE, {}).people == ()
