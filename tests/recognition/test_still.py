"""One picture on its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jetson_face.core.types import Detections, ImageU8
from jetson_face.embedding.align import Aligner
from jetson_face.embedding.quality import QualityGate
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
    blind, seen = identify(image, parts, people, Decider(0.9))
    assert (blind.state, blind.person, blind.similarity) == ("pending", None, None)
    assert (blind.landmarks, blind.quality, blind.candidates) == (None, None, ())
    assert (seen.state, seen.person) == ("known", BOB)
    assert seen.landmarks is not None
    assert [candidate.person for candidate in seen.candidates] == [BOB, ADA]
