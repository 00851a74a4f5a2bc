"""A calibrated threshold on strangers it was not set with; faces that are kept on the disk."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from jetson_face.calibration.curve_measuring import measure_curve
from jetson_face.calibration.impostor_curve import GallerySize
from jetson_face.calibration.operating_point import CalibrationTrial
from jetson_face.core.types import EmbeddingSpace
from jetson_face.evaluation import calibration
from jetson_face.evaluation.cache import FaceCache
from jetson_face.evaluation.extract import ExtractedFaces, FaceExtractor
from jetson_face.evaluation.identification import panel_of
from jetson_face.evaluation.method import Method
from jetson_face.evaluation.people import Division, Shot, divide, read_people
from jetson_face.evaluation.stated_rate import StatedRate, stated_rates
from jetson_face.gallery.matcher import GallerySnapshot, Matcher
from jetson_face.util.images import write_picture
from tests.evaluation.fakes_evaluate import HIDDEN, FakeAligner, FakeDetector, FakeEmbedder, picture

SPACE = EmbeddingSpace("made", "a" * 64, 16)


def made_faces(people: dict[str, list[Shot]], spread: float) -> ExtractedFaces:
    """Everybody has an axis of their own; every fiftieth picture shows no face."""
    rng = np.random.default_rng(4)
    names, vectors = [], []
    for shots in people.values():
        centre = rng.normal(size=SPACE.dim)
        for shot in shots:
            vector = centre / np.linalg.norm(centre) + spread * rng.normal(size=SPACE.dim) / 4
            names.append(shot.name)
            vectors.append(vector / np.linalg.norm(vector))
    found = np.array(vectors, np.float32)
    found[::50] = np.nan
    count = len(names)
    return ExtractedFaces(
        tuple(names),
        found,
        np.zeros((count, 4), np.float32),
        np.where(np.isnan(found[:, 0]), np.nan, 1).astype(np.float32),
        np.zeros(count, np.bool_),
        np.ones(count, np.int64),
        SPACE,
        {},
    )


def made_people(count: int) -> dict[str, list[Shot]]:
    return {
        f"p{who}": [
            Shot(f"p{who}", f"v{video}", f"p{who}/v{video}/{frame}", Path("x"))
            for video in range(3)
            for frame in range(3)
        ]
        for who in range(count)
    }


def test_the_promise_is_kept_on_other_strangers() -> None:
    people = made_people(160)
    faces = made_faces(people, 0.6)
    extractor = FaceExtractor(FakeDetector(), FakeAligner(), FakeEmbedder())
    method = Method("made", extractor, {"method": "made"}, 0.2, Matcher)
    rows = calibration.keep_promises(people, faces, method, fpirs=(0.05, 0.02, 0.001), seeds=(1, 2))
    assert [(row.fpir, row.average) for row in rows] == [
        *((None, 1), (None, 10)),
        *((0.05, 1), (0.05, 10)),
        *((0.02, 1), (0.02, 10)),
    ], "one in a thousand is refused"
    lax, fair, strict = rows[0], rows[2], rows[4]
    assert lax.strangers.share > 0.5
    assert fair.strangers.low <= 0.05 <= fair.strangers.high
    assert strict.strangers.low <= 0.02 <= strict.strangers.high
    assert strict.enrolled.share < fair.enrolled.share
    # the mean of three pictures is nearer to its person
    assert rows[3].enrolled.share > fair.enrolled.share
    text = calibration.markdown(rows, faces, {"method": "made"}, "Promises")
    assert "| FPIR 5 % |" in text
    told = calibration.as_json(rows, faces, {"method": "made"})
    assert told["thresholds"][0]["strangers"]["people"] == rows[0].strangers.people


def test_the_stated_rate_is_what_impostors_see_and_a_wrong_curve_is_found_out() -> None:
    def rates(moved: float) -> list[StatedRate]:
        def enrol(snapshot: GallerySnapshot) -> Matcher:
            size = GallerySize.of(snapshot, 3)
            least = tuple(at + moved for at in curve.by_frames(0.05, size))
            return Matcher(snapshot, thresholds=least)

        method = Method("made", None, {}, 0.5, enrol)  # type: ignore[arg-type]
        return stated_rates(people, faces, method, fpir=0.05, seeds=(1,), sizes=(5, 20, 500))

    people, crowd = made_people(100), made_people(120)
    faces, others = made_faces(people, 0.5), made_faces(crowd, 0.5)
    number = {name: who for who, name in enumerate(crowd)}
    shots = [s for own in crowd.values() for s in own]
    curve = measure_curve(calibration.impostors_of_shots(shots, others, number))
    kept = rates(0.0)
    assert [(r.people, r.frames) for r in kept if r.source == "impostor curve"] == [
        (5, 1), (5, 3), (20, 1), (20, 3)
    ]  # fmt: skip
    assert all(rate.holds for rate in kept), kept
    assert not any(r.holds for r in rates(-0.15) if r.source == "impostor curve")


def test_no_stranger_to_test_with_is_one_to_calibrate_with() -> None:
    people = made_people(40)
    faces = made_faces(people, 0.1)
    asked: list[set[int]] = []

    class Spy(CalibrationTrial):
        def __init__(self, *args: object, **more: object) -> None:
            super().__init__(*args, **more)  # type: ignore[arg-type]
            assert self.impostors is not None
            asked.append(set(self.impostors.person.tolist()))

    extractor = FaceExtractor(FakeDetector(), FakeAligner(), FakeEmbedder())
    method = Method("made", extractor, {}, 0.2, Matcher)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "CalibrationTrial", Spy)
        rows = calibration.keep_promises(people, faces, method, seeds=(1,))
    division = divide(people, seed=1)
    strangers = {int(shot.person[1:]) for shot in division.strangers}
    assert asked[0] < strangers
    assert rows[0].strangers.people == len(strangers - asked[0])


def test_four_of_five_single_pictures_may_be_enrolled() -> None:
    people = {
        f"p{who}": [Shot(f"p{who}", f"{n}", f"p{who}/{n}", Path("x")) for n in range(owned)]
        for who, owned in enumerate([25, 25, 14, 5, 2, 25, 14, 5, 2, 30, 38, 1])
    }
    got = divide(people, strangers=0.01, enrol_most=True)
    assert {len(people[p]): len(shots) for p, shots in got.enrolled.items()} == {
        **{25: 20, 14: 11, 5: 4, 2: 1, 30: 20, 38: 20},
    }


def test_folders_below_a_person_may_be_no_videos(tmp_path: Path) -> None:
    for kind in ("frontal", "profile"):
        (tmp_path / "Ann" / kind).mkdir(parents=True)
        for number in range(2):
            write_picture(tmp_path / "Ann" / kind / f"{number}.png", picture(1))
    (shots,) = read_people(tmp_path).values()
    assert {shot.session for shot in shots} == {"frontal", "profile"}
    (shots,) = read_people(tmp_path, each_picture=True).values()
    assert [shot.session for shot in shots] == [
        *("frontal/0.png", "frontal/1.png", "profile/0.png", "profile/1.png"),
    ]


def test_the_curve_of_pictures_asks_the_same_people_at_every_number() -> None:
    def shots(person: str, count: int) -> tuple[Shot, ...]:
        return tuple(Shot(person, str(n), f"{person}/{n}", Path("x")) for n in range(count))

    owned = {"a": 20, "b": 12, "c": 11, "d": 10, "e": 9, "f": 1}
    division = Division({name: shots(name, count) for name, count in owned.items()}, (), ())
    assert panel_of(division) == ([1, 2, 5, 10], ["a", "b", "c", "d"])


def fake(detector: FakeDetector) -> FaceExtractor:
    return FaceExtractor(detector, FakeAligner(), FakeEmbedder(), clock=lambda: 0.0)


def test_faces_come_back_from_the_disk_unless_the_picture_changed(tmp_path: Path) -> None:
    paths = {}
    for name, image in (("a", picture(0)), ("b", picture(1)), ("c", picture(2, how=HIDDEN))):
        paths[name] = tmp_path / f"{name}.png"
        write_picture(paths[name], image)
    facts = {"space": "one", "alignment": "a", "mirror": False, "precision": "fp32"}
    facts |= {"weights": "", "relaxed_search": "no", "backend": "cpu", "detector_settings": "{}"}
    cache = FaceCache(tmp_path / "cache", facts)
    first = fake(FakeDetector())
    assert cache.recall(first) == (0, 0)
    before = first.extract(paths)
    cache.keep(first)

    detector = FakeDetector()
    second = fake(detector)
    assert cache.recall(second) == (3, 3)
    again = second.extract(paths)
    assert (detector.asked, again.searched, before.searched) == (0, 0, 3)
    np.testing.assert_array_equal(again.vectors, before.vectors)
    np.testing.assert_array_equal(again.quality, before.quality)
    assert again.undetected == ("c",)

    # another embedding: the places of the faces stay
    third = fake(detector)
    assert FaceCache(tmp_path / "cache", {**facts, "space": "other"}).recall(third) == (3, 0)
    mirrored = FaceCache(tmp_path / "cache", {**facts, "mirror": True})
    assert mirrored.recall(fake(FakeDetector())) == (3, 0)
    rounded = FaceCache(tmp_path / "cache", {**facts, "weights": "other"})
    assert rounded.recall(fake(FakeDetector())) == (3, 0)
    again = third.extract(paths)
    assert (detector.asked, again.searched) == (0, 3)
    np.testing.assert_array_equal(again.vectors, before.vectors)
    np.testing.assert_array_equal(again.boxes, before.boxes)
    other = FaceCache(tmp_path / "cache", {**facts, "detector_settings": "{faster}"})
    assert other.recall(fake(FakeDetector())) == (0, 0)

    write_picture(paths["a"], picture(5))
    os.utime(paths["a"], ns=(1, 1))
    assert cache.recall(fake(FakeDetector())) == (2, 2)
    cache.faces.write_bytes(b"half a fi")
    assert cache.recall(fake(FakeDetector())) == (2, 0)
