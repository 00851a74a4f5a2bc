"""What a report says of each face, and what a recogniser takes over from an older one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from jetson_face.core.types import F32, I64, BoolArray, Frame, ImageU8, Person, Report, Spared
from jetson_face.gallery.matcher import Matcher
from jetson_face.recognition.embedding_scheduler import AlignedCrops
from jetson_face.recognition.finder import Found
from jetson_face.recognition.steps import Steps
from jetson_face.recognition.still_faces import StillFaces
from jetson_face.recognition.stopwatch import Stopwatch
from tests.recognition.test_finder_rough import Rough
from tests.recognition.test_recognizer import (
    A_GREEN,
    A_RED,
    ADA,
    BLUE,
    BOB,
    GREEN,
    RED,
    Rig,
    Scene,
    SideEmbedder,
    frame,
    gallery,
    landmarks_of,
    said,
    still,
    unit,
)

CY, DEE = Person("3", "Cy"), Person("4", "Dee")
LOW_BLUE = ((120, 130, 190, 220), BLUE)


def alike(*pairs: tuple[Person, tuple[int, int, int]]) -> Matcher:
    """A gallery of them, whatever the time."""
    return gallery(*pairs)


def test_faces_that_are_cut_out_have_the_landmarks_of_the_second_look() -> None:
    detector = Rough()
    rig = Rig(detector=detector, embed_interval=100)
    reports = rig.see(*still(A_RED, A_GREEN, times=4))
    assert detector.looked == [2], "those that are to be embedded are followed so at once"
    assert reports[0].embedded == 2
    for sighting in reports[0].sightings:
        assert sighting.landmarks is not None
        sharp = landmarks_of(np.array([sighting.box], np.float32))[0]
        np.testing.assert_allclose(sighting.landmarks, sharp)
    assert [report.embedded for report in reports] == [2, 2, 0, 0]
    assert [s.detected for s in reports[2].sightings] == [False] * 2, "known, and where expected"
    for sighting in reports[3].sightings:  # nobody needs them
        assert sighting.detected
        assert sighting.landmarks is not None
        rough = landmarks_of(np.array([sighting.box], np.float32))[0] + 3
        np.testing.assert_allclose(sighting.landmarks, rough)


def test_a_face_that_is_not_looked_for_is_not_told_of_where_something_else_is() -> None:
    here = still(A_RED, times=3)
    rig = Rig(detector=Rough(), embed_interval=100)
    for_sure = rig.see(*here, [A_RED])
    assert [len(report.sightings) for report in for_sure] == [1, 1, 1, 1]
    assert [s.detected for report in for_sure for s in report.sightings] == [
        True,
        True,
        False,
        True,
    ]
    rig = Rig(detector=Rough(), embed_interval=100)
    *_, known, gone, after = rig.see(*still(A_RED, times=2), [], [])
    assert said(known) == [(1, "known", "Ada", True)]
    assert (gone.sightings, gone.unseen) == ((), (1,))
    assert after.sightings == ()


@pytest.mark.parametrize("spared", ["", "part", "all"])
def test_it_says_what_of_a_search_was_left_out(
    spared: Spared, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig()
    steps = rig.recognizer.finder.steps

    def found(frame: Frame, watch: Stopwatch) -> Steps[Found]:
        return replace((yield from steps(frame, watch)), spared=spared)

    monkeypatch.setattr(rig.recognizer.finder, "steps", found)
    (report,) = rig.see([A_RED])
    assert report.spared == spared


def asked(report: Report) -> list[int]:
    return [candidate.track for candidate in report.review_candidates]


def test_each_candidate_has_its_own_vector_and_its_crops_quality() -> None:
    twins = alike((ADA, RED), (BOB, RED), (CY, GREEN), (DEE, GREEN))
    reports = Rig(people=lambda _: twins, review_margin=0).see(*still(A_RED, A_GREEN, times=4))
    (report,) = [report for report in reports if report.review_candidates]
    assert asked(report) == [1, 2]
    quality = {sighting.track: sighting.quality for sighting in report.sightings}
    for candidate, colour in zip(report.review_candidates, (RED, GREEN), strict=True):
        assert candidate.face.vectors.shape == (1, 3)
        np.testing.assert_allclose(candidate.face.vectors[0], unit(colour), atol=0.05)
        assert candidate.quality == quality[candidate.track]


def test_a_new_face_that_is_looked_at_first_hides_nobody() -> None:
    scenes: list[Scene] = [[A_GREEN], [A_GREEN], [A_RED, A_GREEN], [A_RED, A_GREEN]]
    doubtful = alike((ADA, RED), (BOB, GREEN), (CY, GREEN))
    rig = Rig(every=1, people=lambda _: doubtful, review_margin=0)
    assert [asked(report) for report in rig.see(*scenes)] == [[], [], [1], []]
    alone = alike((ADA, RED))
    reports = Rig(every=1, people=lambda _: alone).see(*scenes)
    assert [[one.track for one in report.unknown_faces] for report in reports] == [[], [], [1], []]


def first_is_poor(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """The crop of a frame's first face has a quality of 0.2, any other of 0.8."""
    crop = rig.recognizer.embedding.crop

    def cropped(*given: Any) -> AlignedCrops:
        crops = crop(*given)
        return replace(crops, quality=np.where(crops.rows == 0, 0.2, 0.8).astype(np.float32))

    monkeypatch.setattr(rig.recognizer.embedding, "crop", cropped)
    return rig


def test_a_poor_face_before_a_good_one_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    twins = alike((ADA, RED), (BOB, RED), (CY, GREEN), (DEE, GREEN))
    made = Rig(people=lambda _: twins, review_margin=0, ask_quality_min=0.5)
    rig = first_is_poor(made, monkeypatch)
    reports = rig.see(*still(A_RED, A_GREEN, times=4))
    assert [track for report in reports for track in asked(report)] == [2]
    nobody = alike((DEE, (200, 200, 40)))
    rig = first_is_poor(Rig(people=lambda _: nobody, ask_quality_min=0.5), monkeypatch)
    reports = rig.see(*still(A_RED, A_GREEN, times=6))
    assert [one.track for report in reports for one in report.unknown_faces] == [2]


def test_each_unknown_face_has_its_own_mean_and_its_crops_quality() -> None:
    people = alike((ADA, RED))
    rig = Rig(people=lambda _: people, embed_interval=1)
    reports = rig.see(*still(A_RED, A_GREEN, LOW_BLUE, times=6))
    assert reports[0].unknown_faces == ()
    (report,) = [report for report in reports if report.unknown_faces]
    quality = {sighting.track: sighting.quality for sighting in report.sightings}
    assert [one.track for one in report.unknown_faces] == [2, 3]
    for one, colour in zip(report.unknown_faces, (GREEN, BLUE), strict=True):
        assert one.face.vectors.shape == (1, 3)
        np.testing.assert_allclose(one.face.vectors[0], unit(colour), atol=0.05)
        assert one.quality == quality[one.track]


class Said:
    """Says of the only face, frame by frame, whether it is a picture."""

    def __init__(self, *pictures: bool) -> None:
        self._pictures = list(pictures)

    def look(self, image: ImageU8, tracks: I64, boxes: F32, now_ns: int) -> BoolArray:
        return np.full(len(tracks), self._pictures.pop(0), np.bool_)

    def keep_only(self, tracks: set[int]) -> None:
        pass


def test_a_face_that_is_no_picture_after_all_begins_anew() -> None:
    embedder = SideEmbedder()
    said = cast(StillFaces, Said(False, True, False, False))
    rig = Rig(embed_interval=1, mirror=True, embedder=embedder, pictures=said)
    beside = ((0, 40, 60, 140), (250, 250, 250))  # bright, left of the face, and in its crop
    reports = rig.see(*[(A_RED, beside)] * 4)
    assert [report.embedded for report in reports] == [1, 0, 1, 1]
    assert embedder.sides == ["left", "left", "right"]


@pytest.mark.parametrize("had", [True, False])
def test_what_was_still_is_taken_over(*, had: bool) -> None:
    old = Rig(pictures=StillFaces(1) if had else None).recognizer
    new = Rig(pictures=StillFaces(1)).recognizer
    own, without = new._still, Rig().recognizer
    new.take_over(old)
    assert new._still is (old._still if had else own)
    without.take_over(old)
    assert without._still is None


def test_two_squares_of_one_frame_are_two_faces() -> None:
    assert len(Rig().recognizer.process(frame(0, [A_RED, LOW_BLUE])).sightings) == 2
