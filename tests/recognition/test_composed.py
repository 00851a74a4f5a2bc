"""A recogniser as the configuration builds it: what the sampling keys and the source's kind do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest

from jetson_face.config import load_config
from jetson_face.core.types import F32, Detections, ImageU8, Report
from jetson_face.embedding.align import Aligner
from jetson_face.embedding.quality import QualityGate
from jetson_face.factory.parts import Parts, build_recognizer
from tests.recognition.test_recognizer import (
    A_BLUE,
    A_GREEN,
    A_RED,
    ADA,
    BOB,
    GREEN,
    RED,
    ColourDetector,
    ColourEmbedder,
    Scene,
    frame,
    gallery,
    said,
    still,
)


class Flaky(ColourDetector):
    """Finds every face in a search, and follows none."""

    def refine(self, image: ImageU8, boxes: F32) -> Detections:
        points = np.full((len(boxes), 5, 2), np.nan, np.float32)
        return Detections(np.array(boxes), np.zeros(len(boxes), np.float32), points)


def reports(
    scenes: Sequence[Scene], *settings: str, flaky: bool = False, stills: bool = False
) -> list[Report]:
    """What the recogniser of a configuration says of these frames."""
    detector = Flaky() if flaky else ColourDetector()
    parts = Parts(
        detector=detector,
        refiner=detector,
        aligner=Aligner("arcface112"),
        quality=QualityGate(),
        embedder=ColourEmbedder(),
    )
    known = gallery((ADA, RED), (BOB, GREEN))
    config = load_config(None, ["quality.embed_min=0", "sampling.motion=false", *settings])
    recognizer = build_recognizer(config, parts, lambda _: known, stills=stills)
    return [recognizer.process(frame(seq, scene)) for seq, scene in enumerate(scenes)]


def searches(found: Sequence[Report]) -> list[int]:
    return [report.seq for report in found if report.searched]


def test_a_face_that_cannot_be_followed_does_not_undo_the_sampling_rate() -> None:
    """Before, it was searched on every second frame: 50 of 100."""
    found = searches(reports(still(A_RED, times=100), "sampling.interval=10", flaky=True))
    assert found == [0, *range(4, 100, 10)]


def test_faces_that_come_and_cannot_be_followed_at_most_double_the_searches() -> None:
    # Another face every third frame, far from the one before.
    boxes = [((20 + 130 * (n % 2), 40, 100 + 130 * (n % 2), 140), RED) for n in range(100)]
    scenes: list[Scene] = [[boxes[n // 3]] for n in range(300)]
    found = searches(reports(scenes, "sampling.interval=10", flaky=True))
    assert len(found) <= 2 * 300 / 10 + 3


def test_a_face_that_walks_off_is_searched_for_sooner_only_where_that_is_wanted() -> None:
    moved = ((180, 90, 260, 190), RED)
    scenes = [*still(A_RED, times=3), *still(moved, times=30)]
    assert searches(reports(scenes, "sampling.interval=10")) == [0, 6, 16, 26]
    off = searches(reports(scenes, "sampling.interval=10", "sampling.on_loss=false"))
    assert off == [0, 10, 20, 30]


def test_with_on_loss_off_nothing_is_searched_sooner() -> None:
    """Before, a lost face halved the sampling rate there, too."""
    settings = ("sampling.interval=10", "sampling.on_loss=false")
    found = searches(reports(still(A_RED, times=100), *settings, flaky=True))
    assert {b - a for a, b in pairwise(found)} == {10}


PICTURES: list[Scene] = [[A_RED], [A_GREEN, A_RED], [], [A_BLUE], [A_RED]]


@pytest.mark.parametrize("every", [1, 5, 100])
def test_each_picture_that_stands_alone_is_searched_and_decided(every: int) -> None:
    found = reports(PICTURES, f"sampling.interval={every}", stills=True)
    assert searches(found) == [0, 1, 2, 3, 4]
    assert [said(report) for report in found] == [
        [(1, "known", "Ada", True)],
        [(2, "known", "Ada", True), (3, "known", "Bob", True)],
        [],
        [(4, "unknown", None, True)],
        [(5, "known", "Ada", True)],
    ]
    assert all(s.frames == 1 for report in found for s in report.sightings)


def test_the_same_pictures_as_a_sequence_are_followed() -> None:
    found = reports(still(A_RED, times=6), "sampling.interval=5")
    assert searches(found) == [0, 5]
    assert {sighting.track for report in found for sighting in report.sightings} == {1}


def test_no_face_of_a_picture_is_left_out_for_another_frame_to_come() -> None:
    (found,) = reports([[A_RED, A_GREEN]], "fusion.max_per_frame=1", stills=True)
    assert {name for _, _, name, _ in said(found)} == {"Ada", "Bob"}
