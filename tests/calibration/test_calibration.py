"""The threshold from a site's own faces: its interval holds, it refuses, it grows old."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.calibration.fpir import (
    Scores,
    correctly_identified,
    exact_interval,
    faces_needed,
    least_fpir,
    named,
    threshold_for,
)
from jetson_face.calibration.impostors import Impostors, gather
from jetson_face.calibration.leave_one_out import ask_as_known, ask_as_strangers, grouped
from jetson_face.calibration.operating_point import CalibrationTrial
from jetson_face.calibration.stored import (
    NOTE,
    Calibration,
    read_calibration,
    write_calibration,
)
from jetson_face.config import load_config
from jetson_face.core.errors import (
    CalibrationError,
    EmbeddingSpaceError,
    InputBrokenError,
    InputMissingError,
)
from jetson_face.core.types import F32, Detections, Embeddings, EmbeddingSpace, ImageU8, Person
from jetson_face.factory.threshold import calibrated, engine, scoring
from jetson_face.gallery.matcher import GallerySnapshot, Matcher
from jetson_face.util.images import write_picture
from tests.gallery.gallery_fakes import OTHER, SPACE, filled, snapshot, template, unit


def strangers(scores: Sequence[float] | np.ndarray, each: int = 1) -> Scores:
    """`each` following scores are one person's."""
    found = np.asarray(scores, np.float64).ravel()
    return Scores(found, np.zeros(len(found), np.bool_), np.arange(len(found)) // each)


def crowd(people: int, faces: int, seed: int = 0, spread: float = 0.3) -> GallerySnapshot:
    """People who are points of their own, each with faces around it."""
    rng = np.random.default_rng(seed)
    centres = np.repeat(rng.normal(size=(people, SPACE.dim)), faces, axis=0)
    vectors = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    vectors = vectors + spread * rng.normal(size=vectors.shape) / np.sqrt(SPACE.dim)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return GallerySnapshot(
        SPACE,
        vectors.astype(np.float32),
        np.repeat(np.arange(people), faces),
        tuple(Person(f"id{n}", f"P{n}") for n in range(people)),
    )


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([0.0, 1.0]) | st.floats(1e-6, 1 - 1e-6), st.floats(1, 5000))
def test_the_interval_is_clopper_and_pearsons(share: float, count: float) -> None:
    beta = pytest.importorskip("scipy.stats").beta

    hits = share * count
    low, high = exact_interval(share, count)
    assert low == pytest.approx(beta.ppf(0.025, hits, count - hits + 1) if hits else 0, abs=1e-7)
    expected = beta.ppf(0.975, hits + 1, count - hits) if hits < count else 1
    assert high == pytest.approx(expected, abs=1e-7)


def test_the_interval_of_hand_made_cases() -> None:
    assert exact_interval(0, 100) == pytest.approx((0, 1 - 0.025 ** (1 / 100)), abs=1e-8)
    assert exact_interval(1, 100) == pytest.approx((0.025 ** (1 / 100), 1), abs=1e-8)
    assert exact_interval(0.3, 10) == pytest.approx((0.06674, 0.65245), abs=1e-5)
    assert exact_interval(0.5, 0) == (0, 1)


@pytest.mark.parametrize(
    ("people", "faces", "alike", "fpir"),
    [(400, 1, 0.0, 0.01), (100, 10, 0.6, 0.02), (300, 3, 0.8, 0.01)],
)
def test_the_true_rate_lies_in_the_interval(
    people: int, faces: int, alike: float, fpir: float
) -> None:
    norm = pytest.importorskip("scipy.stats").norm

    rng = np.random.default_rng(7)
    inside, rates = 0, []
    for _ in range(150):
        own = rng.normal(size=(people, 1)) * np.sqrt(alike)
        scores = strangers(own + rng.normal(size=(people, faces)) * np.sqrt(1 - alike), faces)
        threshold = threshold_for(scores, fpir)
        rates.append(norm.sf(threshold))
        measured = named(scores, threshold)
        inside += measured.low <= rates[-1] <= measured.high
    assert inside >= 0.93 * 150
    assert np.mean(rates) == pytest.approx(fpir, rel=0.2)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 0.4), st.floats(0.01, 0.4))
def test_a_stricter_rate_never_has_a_laxer_threshold(seed: int, one: float, other: float) -> None:
    scores = strangers(np.round(np.random.default_rng(seed).normal(size=400), 2))
    strict, lax = threshold_for(scores, min(one, other)), threshold_for(scores, max(one, other))
    assert strict >= lax
    assert named(scores, strict).share <= min(one, other)
    assert named(scores, lax).share <= max(one, other)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31))
def test_more_people_never_make_the_threshold_laxer(seed: int) -> None:
    gallery = crowd(30, 2, seed)
    vectors = np.random.default_rng(seed).normal(size=(300, SPACE.dim))
    faces = Embeddings(
        (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), SPACE
    )
    impostors = Impostors(faces, np.arange(300), np.arange(300), ("",) * 300)
    fewer = GallerySnapshot(
        SPACE, gallery.vectors[:20], gallery.person_index[:20], gallery.people[:10]
    )
    small, large = (
        strangers(CalibrationTrial(snap, Matcher, impostors).strangers().score[-300:])
        for snap in (fewer, gallery)
    )
    assert (large.score >= small.score - 1e-6).all()
    assert threshold_for(large, 0.05) >= threshold_for(small, 0.05) - 1e-6


def test_several_faces_of_a_person_are_worth_no_more_than_one_when_they_are_equal() -> None:
    scores = np.random.default_rng(1).normal(size=200)
    once, often = named(strangers(scores), 1.5), named(strangers(np.repeat(scores, 5), 5), 1.5)
    assert once.share == often.share
    # not quite: the once's own design effect is cut off at 1
    assert often.high == pytest.approx(once.high, rel=0.02)
    apart = named(strangers(np.repeat(scores, 5)), 1.5)
    assert apart.high < once.high


def test_none_named_says_as_much_as_there_are_people() -> None:
    assert named(strangers([0.0] * 300, 3), 0.5).high == pytest.approx(0.0362, abs=1e-3)
    assert named(strangers([0.0] * 300), 0.5).high == pytest.approx(0.0122, abs=1e-3)


def test_too_few_faces_are_refused_with_what_is_needed() -> None:
    assert faces_needed(0.01) == (300, 100)
    threshold_for(strangers(np.arange(300.0), 3), 0.01)
    for few in (strangers(np.arange(299.0), 2), strangers(np.arange(400.0), 5)):
        with pytest.raises(CalibrationError, match=r"300 of 100 are needed.*--impostors") as told:
            threshold_for(few, 0.01)
        assert "\n" not in str(told.value)
        assert told.value.exit_code == 18
        # and what it proposes is possible
        threshold_for(few, least_fpir(few))
    with pytest.raises(ValueError, match="between 0 and 1"):
        threshold_for(strangers([0.0]), 0.0)
    assert least_fpir(strangers([])) == 0.5


@pytest.mark.parametrize("faces", [0, 1, 2, 5])
@pytest.mark.parametrize("fpir", [0.01, 0.5])
def test_a_laxer_rate_that_would_be_refused_too_is_not_advised(faces: int, fpir: float) -> None:
    with pytest.raises(CalibrationError) as error:
        threshold_for(strangers([0.1] * faces), fpir)
    assert "--impostors FOLDER" in str(error.value)
    assert "--fpir" not in str(error.value)


def test_faces_without_the_lead_are_never_named() -> None:
    scores = strangers([-np.inf] * 300)
    assert named(scores, threshold_for(scores, 0.01)).hits == 0
    some = strangers([*[-np.inf] * 299, 0.4])
    assert named(some, threshold_for(some, 0.01)).hits == 1


def test_who_is_asked_as_a_stranger_is_not_in_the_gallery() -> None:
    ada, bob = unit(1), unit(0, 1)
    twin = snapshot(Ada=[ada, ada], Bob=[bob], Ann=[unit(1, 0.1)])
    scores = ask_as_strangers(twin, Matcher)
    assert scores.person.tolist() == [0, 0, 1, 2]
    assert scores.score == pytest.approx([0.995, 0.995, 0.0995, 0.995], abs=1e-3)
    assert not scores.right.any()
    assert len(ask_as_strangers(snapshot(Ada=[ada]), Matcher)) == 0
    # Bob's nearest leads by 0.1 only
    led = ask_as_strangers(twin, Matcher, margin_min=0.5)
    assert np.isfinite(led.score).tolist() == [True, True, False, True]


def test_with_many_people_several_are_left_out_at_once() -> None:
    gallery = crowd(40, 2)
    made: list[int] = []

    def enrol(snap: GallerySnapshot) -> Matcher:
        made.append(len(snap.people))
        return Matcher(snap)

    scores = ask_as_strangers(gallery, enrol, parts_max=8)
    assert made == [35] * 8
    assert sorted(scores.person.tolist()) == gallery.person_index.tolist()


def test_enrolled_faces_are_asked_without_themselves() -> None:
    gallery = snapshot(Ada=[unit(1), unit(0, 1), unit(0, 1, 0.1)], Bob=[unit(0, 0, 1)])
    scores = ask_as_known(gallery, Matcher)
    assert sorted(scores.score.round(2).tolist()) == [0.0, 0.5, 0.5]
    assert scores.people == 1  # Bob's only face cannot be asked
    assert correctly_identified(scores, 0.4).share == pytest.approx(2 / 3)
    assert correctly_identified(scores, 0.6).hits == 0


def test_averages_are_of_one_group_and_unit_length() -> None:
    vectors = np.stack([unit(1), unit(0, 1), unit(1), unit(0, 0, 1)])
    means, group = grouped(vectors, np.array([4, 4, 4, 7]), 2)
    np.testing.assert_allclose(means, [unit(1, 1), unit(1), unit(0, 0, 1)], atol=1e-6)
    assert group.tolist() == [4, 4, 7]
    assert grouped(vectors, np.array([4, 4, 4, 7]), 1)[0] is vectors


def test_averages_of_enrolled_people_need_two_halves() -> None:
    gallery = crowd(5, 6)
    scores = ask_as_known(gallery, Matcher, average=10)
    assert len(scores) == 10
    assert scores.right.all()
    assert len(ask_as_known(crowd(5, 3), Matcher, average=10)) == 0


def trial() -> CalibrationTrial:
    vectors = np.stack([unit(1, 0.2), unit(1, 0.3), unit(0, 0, 0, 1)])
    impostors = Impostors(
        Embeddings(vectors, SPACE),
        np.array([0, 0, 1]),
        np.array([0, 1, 2]),
        ("a/1.jpg", "a/2.jpg", "b/1.jpg"),
    )
    return CalibrationTrial(snapshot(Ada=[unit(1)], Bob=[unit(0, 1)]), Matcher, impostors)


def test_own_people_and_impostors_are_strangers_together() -> None:
    found = trial().strangers()
    assert len(found) == 5
    assert found.people == 4
    line = trial().line(0.9)
    assert (line.strangers.hits, line.strangers.faces, line.enrolled.faces) == (2, 5, 0)
    assert trial().strangers(10).people == 4


def test_the_strangers_that_would_be_named_are_listed_surest_first() -> None:
    assert [text[:14] for text in trial().named_strangers(0.9)] == [
        "a/1.jpg as Ada",
        "a/2.jpg as Ada",
    ]
    assert trial().named_strangers(0.99) == []


def test_impostors_come_back_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "impostors.npz"
    impostors = trial().impostors
    assert impostors is not None
    impostors.save(path)
    again = Impostors.load(path, SPACE)
    np.testing.assert_array_equal(again.faces.vectors, impostors.faces.vectors)
    assert again.source == impostors.source
    assert again.person.tolist() == impostors.person.tolist()
    with pytest.raises(EmbeddingSpaceError, match="pack the pictures again"):
        Impostors.load(path, OTHER)
    path.write_bytes(b"PK\x03\x04 not much of a zip")
    with pytest.raises(InputBrokenError, match="--pack FILE"):
        Impostors.load(path, SPACE)


class Eye:
    """Faces where the picture's first pixel says so; the embedder sees its second."""

    name = "eye"
    space = SPACE
    alignment = "arcface112"
    similarity_min = 0.4

    def detect(self, image: ImageU8) -> Detections:
        count = int(image[0, 0, 0]) // 50
        boxes = np.array([[0, 0, 20 + 9 * n, 20 + 9 * n] for n in range(count)], np.float32)
        marks = np.zeros((count, 5, 2), np.float32)
        return Detections(boxes.reshape(-1, 4), np.ones(count, np.float32), marks)

    def crop(self, image: ImageU8, landmarks: F32) -> ImageU8:
        return np.stack([image[:8, :8]] * len(landmarks))

    def embed(self, crops: ImageU8) -> Embeddings:
        return Embeddings(np.stack([unit(1, float(crop[0, 0, 1])) for crop in crops]), SPACE)

    def scores(self, crops: ImageU8, faces: Detections) -> F32:
        return np.full(len(crops), 0.5, np.float32)

    def close(self) -> None:
        pass


def picture(path: Path, faces: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_picture(path, np.full((40, 40, 3), 50 * faces + 5, np.uint8))


def test_a_folder_becomes_impostors(tmp_path: Path) -> None:
    eye = Eye()

    def impostors(quality_min: float = 0.0) -> Impostors:
        return gather(
            tmp_path,
            detector=eye,
            aligner=eye,
            embedder=eye,
            grader=eye,
            quality_min=quality_min,
        )

    with pytest.raises(InputBrokenError, match="no face in 0 pictures"):
        impostors()
    picture(tmp_path / "ada" / "1.png", 1)
    picture(tmp_path / "ada" / "video" / "2.png", 3)
    picture(tmp_path / "street.png", 2)
    picture(tmp_path / "empty.png", 0)
    (tmp_path / "broken.jpg").write_bytes(b"no")
    found = impostors()
    # one face of each of a person's pictures, every face of a picture that is nobody's
    assert found.source == ("ada/1.png", "ada/video/2.png", "street.png", "street.png")
    assert found.person.tolist() == [0, 0, 1, 2]
    assert found.series.tolist() == [0, 1, 2, 3]
    with pytest.raises(InputBrokenError, match="no face"):
        impostors(0.6)
    with pytest.raises(InputMissingError, match="no such folder"):
        gather(tmp_path / "none", detector=eye, aligner=eye, embedder=eye, grader=eye)


def calibration(space: EmbeddingSpace = SPACE, people: int = 2) -> Calibration:
    config = load_config(None)
    return Calibration(
        similarity_min=0.47,
        fpir=0.01,
        low=0.002,
        high=0.03,
        faces=400,
        strangers=150,
        method=scoring(config),
        space=space.full_name,
        engine=engine(config),
        people=people,
        templates=9,
        made=1.0,
    )


def test_the_gallery_keeps_its_threshold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = load_config(None)
    with filled(tmp_path / "g.db", Ada=[unit(1)], Bob=[unit(0, 1)]) as gallery:
        assert calibrated(config, gallery) is config
        write_calibration(gallery, calibration())
        assert read_calibration(gallery) == calibration()
        assert calibrated(config, gallery).matching.similarity_min == 0.47
        own = load_config(None, ["matching.similarity_min=0.3"])
        assert calibrated(own, gallery) is own
        assert not caplog.records
        write_calibration(gallery, None)
        assert calibrated(config, gallery) is config
        gallery.set_note(NOTE, '{"similarity_min": "much"}')
        assert calibrated(config, gallery) is config


def test_another_network_or_method_makes_it_unfit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with filled(tmp_path / "g.db", Ada=[unit(1)]) as gallery:
        write_calibration(gallery, calibration(OTHER))
        config = load_config(None)
        assert calibrated(config, gallery) is config
        assert "network changed; run: jetson-face calibrate --write" in caplog.text
        caplog.clear()
        write_calibration(gallery, calibration())
        for change in ("matching.method=knn", "matching.top_k=1", "matching.margin_min=0.2"):
            config = load_config(None, [change])
            assert calibrated(config, gallery) is config
            assert "matching was cosine top_k=3" in caplog.text
            caplog.clear()


def test_a_gallery_that_grew_keeps_it_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with filled(tmp_path / "g.db", Ada=[unit(1)], Bob=[unit(0, 1)]) as gallery:
        write_calibration(gallery, calibration(people=2))
        with caplog.at_level(logging.WARNING):
            calibrated(load_config(None), gallery)
            assert not caplog.records
            for name in ("Cid", "Dan"):
                gallery.add_template(gallery.add_person(name), template(name, unit(0, 0, 1)))
            again = calibrated(load_config(None), gallery)
        assert again.matching.similarity_min == 0.47
        assert "from 2 to 4 people: about 2.0 times as many strangers" in caplog.text


def test_another_engine_is_a_doubt() -> None:
    other = f"another than {calibration().engine}"
    assert calibration().doubts(other, 2) == [
        f"the network ran on {calibration().engine} and runs on {other}"
    ]
    assert calibration().doubts(calibration().engine, 2) == []
