"""One picture on its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from jetson_face.core.types import Detections, ImageU8
from jetson_face.embedding.align import Aligner
from jetson_face.embedding.quality import QualityGate
from jetson_face.gallery.matcher import Matcher
from jetson_face.recognition.decision import Decider
from jetson_face.recognition.still import identify
from tests.recognition.test_recognizer import (
    A_GREEN,
    A_RED,
    ADA,
    BOB,
    GREEN,
    RED,
    ColourDetector,
    ColourEmbedder,
    frame,
    gallery,
)


class HalfBlind(ColourDetector):
    """Gives no landmarks for the first face."""

    def detect(self, image: ImageU8) -> Detections:
        found = super().detect(image)
        found.landmarks[:1] = np.nan
        return found


@dataclass(frozen=True)
class Parts:
    detector: ColourDetector
    embedder: ColourEmbedder
    aligner = Aligner("arcface112")
    quality = QualityGate()


def test_a_face_without_landmarks_is_reported_and_not_named() -> None:
    people = gallery((ADA, RED), (BOB, GREEN))
    parts = Parts(HalfBlind(), ColourEmbedder())
    image = frame(0, [A_RED, A_GREEN]).image
    blind, seen = identify(image, parts, people, Decider(0.9, unknown_after=1))
    points = HalfBlind().detect(image)[1:]
    quality = parts.quality.scores(parts.aligner.crop(image, points.landmarks), points)[0]
    assert (blind.state, blind.person, blind.similarity) == ("pending", None, None)
    assert (blind.landmarks, blind.quality, blind.candidates) == (None, None, ())
    assert (blind.track, blind.frames, blind.box) == (1, 0, (30, 40, 110, 140))
    assert (seen.state, seen.person) == ("known", BOB)
    assert (seen.track, seen.frames, seen.box) == (2, 1, (200, 60, 280, 160))
    assert seen.similarity == pytest.approx(1.0, abs=0.01)
    assert seen.quality == pytest.approx(quality)
    assert seen.landmarks is not None
    np.testing.assert_array_equal(seen.landmarks, points.landmarks[0])
    assert [candidate.person for candidate in seen.candidates] == [BOB, ADA]


def test_the_bound_of_the_gallery_holds_for_a_picture_too() -> None:
    known = gallery((ADA, RED), (BOB, GREEN))
    parts, image = Parts(ColourDetector(), ColourEmbedder()), frame(0, [A_RED]).image
    for bound, state in ((0.9, "known"), (1.5, "unknown")):
        people = Matcher(known.snapshot, thresholds=(bound, 0.0))
        (face,) = identify(image, parts, people, Decider(1.0, unknown_after=1))
        assert face.state == state


@pytest.mark.parametrize(("bound", "withheld"), [(0.9, True), (1.5, False)])
def test_a_doubtful_face_of_the_list_is_withheld_by_the_bound_of_the_gallery(
    bound: float, withheld: bool
) -> None:
    known = gallery((ADA, (40, 160, 230)), (BOB, GREEN))  # red is 0.85 of Ada
    people = Matcher(replace(known.snapshot, withheld=frozenset({ADA.id})), thresholds=(bound, 0.0))
    image = frame(0, [A_RED]).image
    decider = Decider(2.0, unknown_after=1, withhold_margin=0.2)
    (face,) = identify(image, Parts(ColourDetector(), ColourEmbedder()), people, decider)
    assert (face.state, face.withheld) == ("unknown", withheld)
    assert [one.person for one in face.candidates] == ([] if withheld else [BOB])


@pytest.mark.parametrize(
    ("gate", "states"),
    [
        (QualityGate(), ["known", "known"]),
        (QualityGate(landmarks_min=0.84), ["known", "pending"]),
        (QualityGate(detection_min=0.95), ["pending", "pending"]),
        (QualityGate(detection_min=float(np.float32(0.9))), ["known", "known"]),
    ],
)
def test_what_the_second_look_takes_for_no_face_is_not_named(
    gate: QualityGate, states: list[str]
) -> None:
    class Upturned(ColourDetector):
        """The second face's mouth is above its eyes."""

        def detect(self, image: ImageU8) -> Detections:
            found = super().detect(image)
            found.landmarks[1] = found.landmarks[1, [3, 4, 2, 0, 1]]
            return found

    @dataclass(frozen=True)
    class Looking(Parts):
        quality = gate

    people = gallery((ADA, RED), (BOB, GREEN))
    image = frame(0, [A_RED, A_GREEN]).image
    seen = identify(image, Looking(Upturned(), ColourEmbedder()), people, Decider(0.5))
    assert [face.state for face in seen] == states
