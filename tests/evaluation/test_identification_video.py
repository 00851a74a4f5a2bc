"""Identification, averaging, the lab and sensitivity on stand-ins whose answers are known."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jetson_face.cli import evaluate as command
from jetson_face.config import Config
from jetson_face.core.errors import InputBrokenError, InputMissingError, UsageError
from jetson_face.core.types import ImageU8
from jetson_face.evaluation import image_changes, kinds
from jetson_face.evaluation.extract import FaceExtractor
from jetson_face.evaluation.five_people import read_names, run_lab, split_lab
from jetson_face.evaluation.identification import ask, identify_open_set
from jetson_face.evaluation.method import Method
from jetson_face.evaluation.pairs import find_pictures, read_pairs
from jetson_face.evaluation.people import Division, Shot
from jetson_face.evaluation.sensitivity import changed, measure_sensitivity, sample_pairs
from jetson_face.evaluation.video import STRATEGIES, average_over_frames, trials_of
from jetson_face.gallery.matcher import Matcher
from jetson_face.util.images import write_picture
from tests.evaluation.fakes_evaluate import (
    HIDDEN,
    SEEN,
    FakeAligner,
    FakeDetector,
    FakeEmbedder,
    picture,
)


def extractor(pictures: dict[str, ImageU8]) -> FaceExtractor:
    return FaceExtractor(
        FakeDetector(),
        FakeAligner(),
        FakeEmbedder(),
        read=lambda path: pictures[path.as_posix()],
        clock=lambda: 0.0,
    )


def fake_method(pictures: dict[str, ImageU8] | None = None) -> Method:
    made = (
        extractor(pictures)
        if pictures is not None
        else FaceExtractor(FakeDetector(), FakeAligner(), FakeEmbedder(), clock=lambda: 0.0)
    )
    return Method("fake", made, {"method": "fake"}, 0.5, Matcher)


class World:
    """Pictures by name, and shots that point at them."""

    def __init__(self) -> None:
        self.pictures: dict[str, ImageU8] = {}

    def shot(self, person: str, session: str, number: int, image: ImageU8) -> Shot:
        name = f"{person}/{session}/{number}.png"
        self.pictures[name] = image
        return Shot(person, session, name, Path(name))


def small_world() -> tuple[World, Division]:
    """Ann (axis 0) and Bob (axis 2) are enrolled, Cid has no face in his enrolment pictures.

    Probes: Ann right, Ann undetected, Bob looks like Ann (axis 0), Bob right, Cid looks like
    Ann at 60 degrees. Strangers: axis 4 twice (similar to nobody), axis 0 turned by 60 degrees.
    """
    w = World()
    enrolled = {
        "Ann": (w.shot("Ann", "v0", 0, picture(0)), w.shot("Ann", "v0", 1, picture(0, noise=5))),
        "Bob": (w.shot("Bob", "v0", 0, picture(2)),),
        "Cid": (w.shot("Cid", "v0", 0, picture(6, how=HIDDEN)),),
    }
    probes = (
        w.shot("Ann", "v1", 0, picture(0, noise=10)),
        w.shot("Ann", "v1", 1, picture(0, how=HIDDEN)),
        w.shot("Bob", "v1", 0, picture(0)),
        w.shot("Bob", "v1", 1, picture(2)),
        w.shot("Cid", "v1", 0, picture(0, noise=70)),
    )
    strangers = (
        w.shot("X", "v0", 0, picture(4)),
        w.shot("Y", "v0", 0, picture(4)),
        w.shot("Z", "v0", 0, picture(0, noise=40)),
    )
    return w, Division(enrolled, probes, strangers)


def test_identification_worked_by_hand() -> None:
    w, division = small_world()
    faces = extractor(w.pictures).extract({s.name: s.path for s in division.shots})
    trial = ask(division, faces, Matcher)
    assert trial.people == ("Ann", "Bob")
    assert trial.templates == 3
    got = trial.figures(0.5)
    assert got["rank1"] == pytest.approx(2 / 5), "Cid cannot be right, Ann's second has no face"
    at = got["at_similarity_min"]
    assert at["correctly_identified"] == pytest.approx(2 / 5)
    assert at["misidentified"] == pytest.approx(1 / 5)
    assert at["known_called_unknown"] == pytest.approx(1 / 5)
    assert at["known_without_face"] == pytest.approx(1 / 5)
    assert at["fpir"] == pytest.approx(1 / 3)
    assert got["dir_at_fpir"] == {"0.01": None, "0.001": None}


def test_the_curves_start_with_one_picture_and_few_people() -> None:
    w, division = small_world()
    faces = extractor(w.pictures).extract({s.name: s.path for s in division.shots})
    result = identify_open_set(
        division,
        faces,
        Matcher,
        similarity_min=0.5,
        rng=np.random.default_rng(0),
        resamples=30,
    )
    # three people, of whom two have one picture, and one of those without a face
    assert [row["pictures"] for row in result.by_enrolled] == [1]
    assert [row["templates"] for row in result.by_enrolled] == [2]
    assert result.by_people[-1]["people"] == 2
    got = result.as_json()
    assert got["undetected"] == 2
    assert got["most_confused"] == [["Bob", "Ann", 1], ["not enrolled", "Ann", 1]]
    assert got["confusion"].sum() == 8


def test_a_trial_has_its_own_video_first() -> None:
    w = World()
    shots = [w.shot("A", f"v{v}", f, picture(0)) for v in (1, 2) for f in range(3)]
    shots.append(w.shot("B", "v1", 0, picture(0)))
    trials = trials_of(shots, 10)
    assert trials[0] == (0, 1, 2, 3, 4, 5)
    assert trials[1] == (1, 2, 0, 3, 4, 5)
    assert trials[4] == (4, 5, 3, 0, 1, 2)
    assert trials[6] == (6,)
    assert trials_of(shots, 3)[5] == (5, 3, 4)
    assert trials_of(shots, 1)[2] == (2,)


def video_world() -> tuple[World, Division]:
    """Three people on even axes; in each probe video one of three frames is far off."""
    w = World()
    enrolled, probes, strangers = {}, [], []
    for who in range(3):
        name = f"p{who}"
        enrolled[name] = (w.shot(name, "v0", 0, picture(2 * who)),)
        for video in (1, 2):
            for frame, noise in enumerate((10, 80, 20)):
                # turned by 80 degrees towards an axis that nobody has
                probes.append(w.shot(name, f"v{video}", frame, picture(2 * who, noise=noise)))
    for who in range(20):
        for frame in range(5):
            strangers.append(w.shot(f"s{who}", "v0", frame, picture(6, noise=frame)))
    # four strangers' frames look like p0 at 75 degrees
    for who in range(4):
        strangers.append(w.shot(f"s{who}", "v1", 0, picture(7, noise=15)))
    return w, Division(enrolled, tuple(probes), tuple(strangers))


def test_averaging_gains_where_single_frames_fail() -> None:
    w, division = video_world()
    faces = extractor(w.pictures).extract({s.name: s.path for s in division.shots})
    rows = average_over_frames(division, faces, Matcher, rng=np.random.default_rng(0), resamples=50)
    assert [(row.strategy, row.frames) for row in rows] == [
        ("frame", 1),
        *((name, 3) for name in STRATEGIES),
        *((name, 10) for name in STRATEGIES),
    ]
    by = {(row.strategy, row.frames): row for row in rows}
    assert by["frame", 1].dir == pytest.approx(2 / 3)
    for name in ("score_mean", "embedding_mean", "quality_weighted"):
        assert by[name, 3].dir == 1.0
        gain = by[name, 3].intervals["dir_gain"]
        assert gain is not None
        assert gain.low > 0
    # 18 trials of known people have 6 frames, 104 of strangers 5 or 6
    assert by["vote", 10].used > by["vote", 3].used > 1


def test_frames_stop_where_no_trial_can_be_filled_further() -> None:
    w, division = video_world()
    faces = extractor(w.pictures).extract({s.name: s.path for s in division.shots})
    rows = average_over_frames(
        division, faces, Matcher, rng=np.random.default_rng(0), frames=(1, 10, 30), resamples=0
    )
    assert {row.frames for row in rows} == {1, 10}
    assert all(row.intervals == {} for row in rows)


def lab_folder(root: Path) -> Path:
    for who in range(3):
        folder = root / f"p{who}"
        folder.mkdir(parents=True)
        for shot in range(25):
            write_picture(folder / f"{shot}.png", picture(2 * who))
    return root


def test_the_lab_learns_twenty_and_tests_five(tmp_path: Path) -> None:
    train, test = split_lab(lab_folder(tmp_path), ["p0", "p2"])
    assert {name: len(shots) for name, shots in train.items()} == {"p0": 20, "p2": 20}
    assert len(test) == 10
    learnt = {shot.name for shots in train.values() for shot in shots}
    assert not learnt & {shot.name for shot in test}
    with pytest.raises(InputBrokenError, match="25 pictures are needed, 0 are there"):
        split_lab(tmp_path, ["nobody"])


def test_the_lab_locates_and_names_what_is_upright(tmp_path: Path) -> None:
    train, test = split_lab(lab_folder(tmp_path), ["p0", "p1", "p2"])
    lab = run_lab(
        train,
        test,
        fake_method(),
        rng=np.random.default_rng(0),
        angles=(0, 45),
        resamples=20,
    )
    upright, turned = lab.rows()
    assert upright == {"angle": 0, "pictures": 15, "located": 1.0, "named": 1.0, "accepted": 1.0}
    # the corner pixel that says who is now black: always the first person, in the right place
    assert turned["located"] == 1.0
    assert turned["named"] == pytest.approx(1 / 3)
    assert lab.confusion.sum() == 30
    assert lab.as_json()["trials"] == 30


def test_names_are_read_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "five.txt"
    path.write_text("Ann\n\nBob \nAnn\n")
    assert read_names(path) == ("Ann", "Bob")
    path.write_text("Ann\n")
    with pytest.raises(InputBrokenError, match="at least two names"):
        read_names(path)
    with pytest.raises(InputMissingError):
        read_names(tmp_path / "none.txt")


@pytest.mark.parametrize("degrees", [-60.0, -15.0, 0.0, 30.0, 90.0])
def test_points_turn_with_the_picture(degrees: float) -> None:
    image = np.zeros((60, 90, 3), np.uint8)
    image[20:23, 70:73] = 255
    turned = image_changes.rotated(image, degrees)
    rows, columns = np.nonzero(turned[:, :, 0] > 127)
    found = np.array([columns.mean(), rows.mean()])
    expected = image_changes.rotate_points(np.array([[71.0, 21.0]], np.float32), image, degrees)[0]
    np.testing.assert_allclose(found, expected, atol=0.7)


def test_a_quarter_turn_is_anticlockwise_and_loses_nothing() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, -1] = 200
    turned = image_changes.rotated(image, 90)
    assert turned.shape == (6, 4, 3)
    assert turned[0].min() == 200, "what was right is on top"
    assert turned[2:].max() == 0


CHANGES: dict[str, tuple[str, float, Callable[[ImageU8], bool]]] = {
    # name: (kind, value, what the picture of a face 40 pixels wide must show)
    "half the size": ("face_px", 20.0, lambda out: out.shape == (40, 40, 3)),
    "no blur": ("blur", 0.0, lambda out: bool(np.ptp(out[0]) == 255)),
    "blur": ("blur", 10.0, lambda out: bool(np.ptp(out[40]) < 200)),
    "dark": ("brightness", 0.1, lambda out: int(out.max()) == 26),
    "bright": ("brightness", 3.0, lambda out: int(out.max()) == 255),
    "JPEG": ("jpeg", 5.0, lambda out: out.shape == (80, 80, 3) and int(out.max()) > 100),
    "turn": ("rotation", 45.0, lambda out: out.shape[0] > 110),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_does_what_it_says(name: str) -> None:
    image = np.zeros((80, 80, 3), np.uint8)
    image[:, ::2] = 255
    kind, value, holds = CHANGES[name]
    assert holds(changed(image, kind, value, 40.0))


def test_an_unknown_change_is_refused() -> None:
    with pytest.raises(ValueError, match="no such change: 'fog'"):
        changed(picture(0), "fog", 1.0, 10.0)
    with pytest.raises(ValueError, match="above 0"):
        image_changes.scaled(picture(0), 0.0)


@pytest.fixture
def pairs_folder(tmp_path: Path) -> Path:
    rows = ["fold\ta\tb\tsame"]
    for who in range(4):
        folder = tmp_path / "images" / f"p{who}"
        folder.mkdir(parents=True)
        for shot in range(3):
            write_picture(folder / f"{shot}.png", picture(2 * who, noise=5 * shot))
        for a, b in ((0, 1), (1, 2)):
            rows.append(f"{a + 1}\tp{who}/{a}.png\tp{who}/{b}.png\t1")
            rows.append(f"{a + 1}\tp{who}/{a}.png\tp{(who + 1) % 4}/{b}.png\t0")
    (tmp_path / "pairs.tsv").write_text("\n".join(rows))
    return tmp_path


def test_a_sample_of_pairs_is_even_and_always_the_same(pairs_folder: Path) -> None:
    pairs = read_pairs(pairs_folder / "pairs.tsv")
    sample = sample_pairs(pairs, 6)
    assert sample.same.tolist() == [True] * 3 + [False] * 3
    assert sample == sample_pairs(pairs, 6)
    assert set(sample.pairs) <= set(pairs.pairs)
    assert set(sample_pairs(pairs, 1000).pairs) == set(pairs.pairs)


def test_sensitivity_counts_what_a_change_breaks(pairs_folder: Path) -> None:
    pairs = read_pairs(pairs_folder / "pairs.tsv")
    pictures = find_pictures(pairs_folder / "images", pairs.pictures)
    threshold, levels = measure_sensitivity(
        pairs,
        pictures,
        fake_method(),
        rng=np.random.default_rng(0),
        levels={"brightness": (1.0, 0.0), "rotation": (0.0,)},
        resamples=20,
    )
    assert 0.1 < threshold < 0.9
    plain, dark, upright = levels
    assert (plain.accuracy, plain.undetected, plain.pairs) == (1.0, 0, 16)
    # all black: everybody looks like the first person
    assert dark.accuracy < 0.8
    assert upright.accuracy == 1.0


def run(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    def build(config: Config, *, relaxed: bool, photos: bool) -> Method:
        camera = ("video", "calibration", "clusters", "centre")
        assert photos == (words[0] not in camera), "a camera has single looks"
        return fake_method()

    monkeypatch.setattr(kinds, "build_method", build)
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([*map(str, words), "--resamples", "5"]))


def leaving(folder: Path) -> list[str]:
    return [
        f"--json={folder / 'r.json'}",
        f"--markdown={folder / 'r.md'}",
        f"--plots={folder / 'plots'}",
    ]


def videos_folder(root: Path) -> Path:
    for who in range(8):
        for video in range(2):
            folder = root / f"p{who}" / f"video{video}"
            folder.mkdir(parents=True)
            for frame in range(2):
                write_picture(folder / f"frame{frame}.png", picture(who, noise=frame, how=SEEN))
    return root


@pytest.mark.parametrize("kind", ["identification", "video", "calibration"])
def test_the_commands_on_videos(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = videos_folder(tmp_path / "videos")
    assert run(monkeypatch, kind, "--images", images, *leaving(tmp_path / "out")) == 0
    got = json.loads((tmp_path / "out/r.json").read_text())
    assert got["kind"] == kind
    assert got["undetected"] == 0
    if kind != "calibration":  # it divides the people several times
        assert got["enrolled_people"] + got["strangers"] == 8
    assert (tmp_path / "out/r.md").read_text().startswith("# ")
    assert list((tmp_path / "out/plots").glob("*.png"))


def test_divisions_of_people_with_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = videos_folder(tmp_path / "videos")
    for who in (6, 7):  # the impostors are those with one video
        shutil.rmtree(images / f"p{who}" / "video1")
    words: tuple[str | Path, ...] = ("video", "--images", images, "--divisions", "3")
    assert run(monkeypatch, *words, *leaving(tmp_path / "out")) == 0
    told = json.loads((tmp_path / "out/r.json").read_text())["open_set"]
    assert told.pop("divisions") == 3
    printed = capsys.readouterr().out
    for kind in ("single", "video"):
        assert told[f"{kind}: rank-1"]["mean"] == 100
        assert told[f"{kind}: DIR at FPIR 0.01"]["standard_error"] == 0
        assert f"{kind}: DIR at FPIR 0.01: 100.0 +- 0.0 %" in printed
    assert run(monkeypatch, "video", "--images", images, *leaving(tmp_path / "without")) == 0
    assert "open_set" not in json.loads((tmp_path / "without/r.json").read_text())


def test_a_number_of_divisions_is_not_negative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="--divisions"):
        run(monkeypatch, "video", "--images", tmp_path, "--divisions=-1")


def test_the_command_of_the_lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "five.txt").write_text("p0\np1\n")
    images = lab_folder(tmp_path / "images")
    names = ["--people", str(tmp_path / "five.txt"), "--images", str(images)]
    assert run(monkeypatch, "five-people", *names, *leaving(tmp_path / "out")) == 0
    got = json.loads((tmp_path / "out/r.json").read_text())
    assert got["trials"] == 90
    assert got["by_angle"][4] == {
        "angle": 0,
        "pictures": 10,
        "located": 1.0,
        "named": 1.0,
        "accepted": 1.0,
    }
    assert "| 0 | 100 % | 100 % | 100 % |" in (tmp_path / "out/r.md").read_text()


def test_the_command_of_sensitivity(
    pairs_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"--pairs={pairs_folder / 'pairs.tsv'}", f"--images={pairs_folder / 'images'}"]
    assert run(monkeypatch, "sensitivity", *names, *leaving(pairs_folder / "out")) == 0
    got = json.loads((pairs_folder / "out/r.json").read_text())
    assert {level["kind"] for level in got["levels"]} == set(got["units"])
    assert len(list((pairs_folder / "out/plots").glob("sensitivity_*.png"))) == 1
    assert "jpeg" in capsys.readouterr().out


@pytest.mark.parametrize("share", ["0", "1", "-3"])
def test_a_share_of_strangers_lies_between(
    share: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="--strangers"):
        run(monkeypatch, "video", "--images", tmp_path, f"--strangers={share}")
