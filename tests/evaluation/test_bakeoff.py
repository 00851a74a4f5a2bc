"""The bake-off on made-up faces: its frames, its costs, its page, and rows that are refused."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from jetson_face.cli.common import command_line
from jetson_face.cli.main import main
from jetson_face.config import load_config
from jetson_face.core.errors import ModelError, OutputError
from jetson_face.core.types import Detections
from jetson_face.evaluation.bakeoff import plots, report, rows, run, timing
from jetson_face.evaluation.bakeoff.facts import ModelFacts, model_facts
from jetson_face.evaluation.bakeoff.frames import moving_face
from jetson_face.evaluation.bakeoff.rows import BakeoffFaces, measure_row, row_key
from jetson_face.evaluation.bakeoff.timing import (
    CROWDS,
    SPEEDS,
    crowd,
    measure_cost,
    measure_round,
    medians,
)
from jetson_face.evaluation.bakeoff.work import Pace, Work
from jetson_face.evaluation.detection_cache import CachedDetector, DetectionCache
from jetson_face.evaluation.extract import FaceExtractor
from jetson_face.evaluation.method import Method
from jetson_face.evaluation.pairs import Pair, PairList
from jetson_face.evaluation.people import divide, read_people
from jetson_face.gallery.matcher import Matcher
from jetson_face.util.images import read_picture
from tests.evaluation.fakes_evaluate import SPACE, FakeAligner, FakeDetector, FakeEmbedder, picture


def method() -> Method:
    extractor = FaceExtractor(FakeDetector(), FakeAligner(), FakeEmbedder())
    return Method("fake", extractor, {"model": "fake"}, 0.5, Matcher)


@pytest.fixture
def faces(tmp_path: Path) -> BakeoffFaces:
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
    return BakeoffFaces(
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
    assert cost["seconds_pictures"] == cost["seconds_train"] == 1
    assert cost["crowds"] == [(people, 1.0, 1 / 20) for people in CROWDS]
    gallery = crowd(SPACE, 7)
    assert gallery.vectors.shape == (35, SPACE.dim)
    np.testing.assert_allclose(np.linalg.norm(gallery.vectors, axis=1), 1, atol=1e-5)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods of stand-ins, whatever the configuration."""
    monkeypatch.setattr(rows, "build_method", lambda config, keep: method())
    facts = ModelFacts(2**20, "free", "here", "digest")
    monkeypatch.setattr(rows, "model_facts", lambda config: facts)


@pytest.mark.usefixtures("fakes")
def test_a_measured_row_has_every_figure_and_its_page(faces: BakeoffFaces, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    row = measure_row(
        "fake",
        "fake.yaml",
        load_config(None),
        faces,
        resamples=20,
        progress=lambda *x: told.append(x),
    )
    assert row["refused"] is None
    assert row["verification"]["accuracy"] == 1
    assert row["identification"]["rank1"] == 1
    assert len(row["sensitivity"]) == sum(map(len, rows.LEVELS.values()))
    assert (row["roc"]["far"][0], row["roc"]["tar"][-1]) == (0, 1)
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]
    refused = {"name": "other", "config": "other.yaml", "refused": "no weights"}
    page = report.markdown([row, refused], {"seed": 1}, "jetson-face", [], "Read this.")
    assert "| fake | 100.0 %" in page
    assert "| other | no weights |" in page
    assert page.count("| other |") == 1
    assert "Read this." in page
    assert "Speed" not in page.split("## Rules")[0]
    cells = [
        {"width": w, "every": n, "fps": 8.0, "fps_low": 4.0, "fps_high": 9.0} for w, n in SPEEDS
    ]
    timed = {
        **row,
        "speed": cells,
        "add_person_seconds": {"pictures": 0.1, "train": 0.2},
        "scaling": [{"people": 10, "train_seconds": 0.1, "query_seconds": 0.001}],
    }
    page = report.markdown([timed], {}, "jetson-face", ["plots/bakeoff_roc.png"])
    assert "| fake | 8.0 (4.0, 9.0) |" in page
    assert "![bakeoff_roc.png](plots/bakeoff_roc.png)" in page
    pytest.importorskip("matplotlib")
    names = [path.name for path in plots.plots([timed, refused], tmp_path)]
    assert names[:3] == ["bakeoff_roc.png", "bakeoff_trade.png", "bakeoff_speed.png"]
    assert all((tmp_path / name).stat().st_size > 1000 for name in names)
    assert plots.plots([refused], tmp_path) == []


@pytest.mark.usefixtures("fakes")
def test_a_row_s_key_changes_with_all_that_it_depends_on(faces: BakeoffFaces) -> None:
    config = load_config(None)
    asked = faces.digest()
    key = row_key(config, asked, 1, 300)
    assert key == row_key(load_config(None), asked, 1, 300)
    others = [
        row_key(load_config(None, ["matching.method=knn"]), asked, 1, 300),
        row_key(load_config(None, ["detector.min_face_px=60"]), asked, 1, 300),
        row_key(config, asked, 2, 300),
        row_key(config, asked, 1, 301),
        row_key(config, replace(faces, limit=9).digest(), 1, 300),
    ]
    assert len({key, *others}) == 6
    next(iter(faces.pictures.values())).write_bytes(b"another picture")
    assert faces.digest() != asked


def test_methods_take_turns_and_medians_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    speeds = iter([10.0, 100.0, 30.0, 300.0, 20.0, 200.0])
    now: list[float] = []

    def build(config: Any) -> Any:
        order.append(config)
        now[:] = [next(speeds)]
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(timing, "build_parts", build)
    monkeypatch.setattr(timing, "build_method", lambda config: method())
    monkeypatch.setattr(timing, "measure_speed", lambda *rest: now[0])
    ticks = iter(range(10_000))
    configs: dict[str, Any] = {"a": "A", "b": "B"}
    turns = [
        measure_round(configs, [], picture(1), clock=lambda: float(next(ticks))) for _ in range(3)
    ]
    out = medians(turns)
    assert order == ["A", "B"] * 3
    assert out["a"]["speed"][0] == {
        "width": 320,
        "every": 5,
        "fps": 20,
        "fps_low": 10,
        "fps_high": 30,
    }
    assert out["b"]["speed"][0]["fps"] == 200
    assert out["a"]["add_person_seconds"] == {"pictures": 1, "train": 1}


def test_found_faces_are_shared_by_searches_of_one_name(tmp_path: Path) -> None:
    detection_cache = DetectionCache(tmp_path / "found.sqlite")
    asked, other = FakeDetector(), FakeDetector()
    first = CachedDetector(asked, "mtcnn", detection_cache).detect(picture(1))
    again = CachedDetector(other, "mtcnn", detection_cache).detect(picture(1))
    assert (asked.asked, other.asked) == (1, 0)
    for name in ("boxes", "scores", "landmarks"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    CachedDetector(other, "haar", detection_cache).detect(picture(1))
    CachedDetector(other, "mtcnn", detection_cache).detect(picture(2))
    assert other.asked == 2
    hidden = picture(3, how=2)
    assert len(CachedDetector(other, "mtcnn", detection_cache).detect(hidden)) == 0
    beside = DetectionCache(tmp_path / "found.sqlite")  # another process, meanwhile
    beside.add("mtcnn", b"x", first)
    beside.close()
    detection_cache.close()
    reopened = DetectionCache(tmp_path / "found.sqlite")
    assert len(CachedDetector(other, "mtcnn", reopened).detect(hidden)) == 0
    assert other.asked == 3
    assert (reopened.hits, reopened.misses) == (1, 0)
    reopened.close()
    (tmp_path / "bad.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(OutputError, match="remove it"):
        DetectionCache(tmp_path / "bad.sqlite")


def test_a_file_of_found_faces_without_a_version_is_read_on(tmp_path: Path) -> None:
    path = tmp_path / "found.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.execute(
            "CREATE TABLE found (search TEXT, picture BLOB, faces BLOB, "
            "PRIMARY KEY (search, picture)) WITHOUT ROWID"
        )
        old.execute("INSERT INTO found VALUES ('mtcnn', x'01', x'')")
        old.commit()
    cache = DetectionCache(path)
    found = cache.find("mtcnn", b"\x01")
    assert found is not None
    assert len(found) == 0
    cache.close()


def test_a_cache_that_is_damaged_while_it_is_open_says_so(tmp_path: Path) -> None:
    path = tmp_path / "found.sqlite"
    cache = DetectionCache(path)
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE found")
        other.commit()
    with pytest.raises(OutputError, match=r"found\.sqlite: .*remove it"):
        cache.find("mtcnn", b"\x01")
    cache.add("mtcnn", b"\x01", Detections.empty())
    with pytest.raises(OutputError, match="remove it"):
        cache.close()


def test_what_was_kept_is_recalled_only_for_the_same_inputs(tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.keep("row-a/b", "key", {"x": 1})
    assert work.recall("row-a/b", "key") == {"x": 1}
    assert work.recall("row-a/b", "other") is None
    assert work.recall("row-c", "key") is None
    (tmp_path / "row-c.json").write_text("{")
    assert work.recall("row-c", "key") is None
    work.close()
    nowhere = Work(None)
    nowhere.keep("a", "key", 1)
    assert nowhere.recall("a", "key") is None
    nowhere.close()


def test_the_pace_says_how_long_is_left() -> None:
    now, said = [0.0], list[str]()
    pace = Pace(4, said.append, lambda: now[0])
    assert pace.left() == "time left unknown"
    now[0] = 30.0
    pace.row("a")(50, 100)
    assert said == ["a (1 of 4): 50/100, 210 s left".replace("210 s", "4 min")]
    pace.next()
    now[0] = 60.0
    assert pace.left(0.0) == "3 min left"
    pace.next()
    assert pace.left() == "60 s left"


def test_a_method_without_weights_is_refused_with_the_command(faces: BakeoffFaces) -> None:
    config = load_config(None, ["embedder.model=transfer_resnet10"])
    row = measure_row("transfer_resnet10", "x.yaml", config, faces)
    assert "jetson-face train --finetune PEOPLE --net resnet10 --weights FILE" in row["refused"]
    assert "accuracy" not in str(row)


def test_model_facts_count_files_and_name_terms() -> None:
    dlib = model_facts(load_config(None, ["detector={type: dlib}"]))
    free = model_facts(load_config(None, ["detector={type: dlib, points: dlib5}"]))
    assert "not for commercial use" in dlib.licence
    assert "not for commercial use" not in free.licence
    assert dlib.bytes - free.bytes > 80e6
    with pytest.raises(ModelError, match="train"):
        model_facts(load_config(None, ["embedder.model=transfer_vgg16"]))


def test_the_command_leaves_a_page_even_when_every_row_is_refused(
    faces: BakeoffFaces, tmp_path: Path, write: Any
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
    notes = write("notes.md", "Two cores.\n")
    assert main([*words, "--markdown", str(out / "n.md"), "--notes", str(notes)]) == 0
    assert "Two cores." in (out / "n.md").read_text()
    gone = [*words, "--json", str(out / "c.json"), "--notes", str(tmp_path / "gone.md")]
    assert main(gone) == 4
    assert not (out / "c.json").exists(), "said before anything is measured"


@pytest.mark.usefixtures("fakes")
def test_a_run_that_is_repeated_measures_only_what_changed(
    faces: BakeoffFaces, tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write("one.yaml", "matching: {method: cosine}\n")
    two = write("two.yaml", "matching: {method: knn}\n")
    lines = [f"{p.fold}\t{p.a}\t{p.b}\t{int(p.same)}" for p in faces.pairs.pairs]
    pairs = write("pairs.tsv", "\n".join(["fold\ta\tb\tsame", *lines]) + "\n")
    measured: list[str] = []
    real = rows.measure_row

    def watched(name: str, *rest: Any, **more: Any) -> dict[str, Any]:
        measured.append(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(run, "measure_row", watched)
    words = ["eval", "bakeoff", "--configs", str(one), str(two), "--pairs", str(pairs)]
    words += ["--images", str(tmp_path), "--people", str(tmp_path), "--rounds", "0"]
    words += ["--resamples", "0", "--work", str(tmp_path / "w"), "--limit-people", "12"]
    monkeypatch.setattr(
        "jetson_face.evaluation.people.fraction", lambda text, seed: sum(text.encode()) % 2
    )
    assert main(words) == 0
    assert measured == ["one", "two"]
    assert main(words) == 0
    assert measured == ["one", "two"]
    two.write_text("matching: {method: knn, top_k: 2}\n")
    assert main(words) == 0
    assert measured == ["one", "two", "two"]
    assert main([*words, "--seed", "7"]) == 0
    assert measured == ["one", "two", "two", "one", "two"], "other pairs and people"


def test_the_command_knows_every_method_of_the_table() -> None:
    assert len(run.methods(None, [], None)) == 14
    with pytest.raises(SystemExit):
        main(["eval", "bakeoff", "--pairs", "x"])


def test_a_page_shows_the_command_without_this_machine_s_folders() -> None:
    shown = command_line(
        ["eval", "bakeoff", "--pairs", "/home/me/lfw/pairs.txt", "k=/a/b/c", *["--x"] * 30]
    )
    assert shown.startswith("jetson-face eval bakeoff --pairs lfw/pairs.txt k=b/c --x")
    assert all(len(line) <= 100 for line in shown.split("\n"))
    assert shown.replace(" \\\n ", "").count("--x") == 30


def test_networks_trained_on_the_spot_are_taken_by_name(tmp_path: Path, write: Any) -> None:
    path = write("x.yaml", "embedder: {model: transfer_vgg16}\n")

    def model() -> str:
        return run.methods([path], [], tmp_path / "nets")[path].embedder.model

    assert model() == "transfer_vgg16"
    (tmp_path / "nets").mkdir()
    card = tmp_path / "nets" / "transfer_vgg16.yaml"
    card.touch()
    assert model() == str(card)
