"""From pictures to vectors: the subject, the second search, the undetected, the memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jetson_face.core.types import Detections, ImageU8
from jetson_face.evaluation.extract import FaceExtractor, pick_subject
from tests.evaluation.fakes_evaluate import (
    FAINT,
    HIDDEN,
    SPACE,
    FakeAligner,
    FakeDetector,
    FakeEmbedder,
    picture,
)


def extractor(
    pictures: dict[str, ImageU8], *, relaxed: bool = True, batch: int = 2
) -> tuple[FaceExtractor, FakeDetector, FakeEmbedder]:
    detector, embedder = FakeDetector(), FakeEmbedder()
    made = FaceExtractor(
        detector,
        FakeAligner(),
        embedder,
        relaxed=FakeDetector(sees=FAINT) if relaxed else None,
        read=lambda path: pictures[str(path)],
        batch=batch,
        clock=lambda: 0.0,
    )
    return made, detector, embedder


PICTURES = {
    "a": picture(0),
    "b": picture(1),
    "c": picture(1, how=FAINT),
    "d": picture(2, how=HIDDEN),
    "e": picture(3, noise=90),
}
PATHS = {name: Path(name) for name in PICTURES}


def test_every_picture_has_a_row_and_the_undetected_show() -> None:
    made, _, embedder = extractor(PICTURES)
    faces = made.extract(PATHS)
    assert faces.names == ("a", "b", "c", "d", "e")
    assert faces.found.tolist() == [True, True, True, False, True]
    assert faces.relaxed.tolist() == [False, False, True, False, False]
    assert faces.undetected == ("d",)
    assert np.isnan(faces.vectors[3]).all()
    assert faces.vectors[[0, 1, 2, 4]].argmax(axis=1).tolist() == [0, 1, 1, 4]
    assert faces.facts()["undetected"] == 1
    assert faces.facts()["relaxed"] == 1
    assert faces.rows(["e", "a"]).tolist() == [4, 0]
    assert embedder.batches == [2, 2]


def test_without_a_relaxed_detector_the_faint_one_is_undetected_too() -> None:
    made, _, _ = extractor(PICTURES, relaxed=False)
    assert made.extract(PATHS).undetected == ("c", "d")


@pytest.mark.parametrize("batch", [1, 2, 3, 32])
def test_the_batch_size_changes_nothing(batch: int) -> None:
    made, _, embedder = extractor(PICTURES, batch=batch)
    faces = made.extract(PATHS)
    expected = extractor(PICTURES)[0].extract(PATHS)
    np.testing.assert_array_equal(faces.vectors, expected.vectors)
    assert sum(embedder.batches) == 4


def test_the_last_crops_are_embedded_when_the_last_picture_has_no_face() -> None:
    made, _, _ = extractor({"a": picture(5), "b": picture(0, how=HIDDEN)}, batch=8)
    faces = made.extract({"a": Path("a"), "b": Path("b")})
    assert faces.found.tolist() == [True, False]
    assert faces.vectors[0].argmax() == 5


def test_a_picture_is_searched_once() -> None:
    made, detector, embedder = extractor(PICTURES)
    first = made.extract(PATHS)
    asked = detector.asked
    again = made.extract({"other name": Path("a"), "d": Path("d")})
    assert detector.asked == asked
    assert sum(embedder.batches) == 4
    np.testing.assert_array_equal(again.vectors[0], first.vectors[0])
    assert again.undetected == ("d",)


def test_progress_is_told_for_every_picture() -> None:
    made, _, _ = extractor(PICTURES)
    told: list[tuple[int, int]] = []
    made.extract(PATHS, lambda done, total: told.append((done, total)))
    assert told == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_pictures_in_memory() -> None:
    made, _, _ = extractor({})
    faces = made.faces_of([picture(3), picture(0, how=HIDDEN), picture(6)])
    assert faces.found.tolist() == [True, False, True]
    assert faces.vectors[[0, 2]].argmax(axis=1).tolist() == [3, 6]
    assert made.faces_of([]).vectors.shape == (0, SPACE.dim)


SUBJECTS = {
    # name: boxes in a 100x100 picture, the row that is the subject
    "the only one": ([[0, 0, 20, 20]], 0),
    "the larger of two in the middle": ([[45, 45, 55, 55], [35, 35, 65, 65]], 1),
    "the middle one before a larger one in the corner": ([[60, 60, 100, 100], [35, 35, 65, 65]], 1),
    "a much larger one beside the middle": ([[0, 10, 80, 90], [45, 45, 55, 55]], 0),
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_the_subject_is_large_and_near_the_middle(name: str) -> None:
    boxes, row = SUBJECTS[name]
    n = len(boxes)
    faces = Detections(
        np.array(boxes, np.float32), np.ones(n, np.float32), np.zeros((n, 5, 2), np.float32)
    )
    assert pick_subject(faces, (100, 100)) == row


def test_a_face_without_landmarks_is_passed_over() -> None:
    class Blind(FakeDetector):
        def detect(self, image: ImageU8) -> Detections:
            found = super().detect(image)
            return Detections(found.boxes, found.scores, np.full((1, 5, 2), np.nan, np.float32))

    made = FaceExtractor(Blind(), FakeAligner(), FakeEmbedder(), relaxed=FakeDetector())
    faces = made.faces_of([picture(1)])
    assert (faces.found.tolist(), faces.relaxed.tolist()) == ([True], [True])
    made = FaceExtractor(Blind(), FakeAligner(), FakeEmbedder())
    assert made.faces_of([picture(1)]).found.tolist() == [False]
