"""Face quality: each part falls with what it stands for, and names its reason."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import cv2
import numpy as np
import pytest

from jetson_face.core.types import Detections
from jetson_face.embedding.align import Aligner
from jetson_face.embedding.quality import REASONS, QualityGate, measure_pose

POINTS = np.array(
    [[203.5, 100.1], [245.4, 102.2], [224.2, 126.4], [201.8, 138.6], [244.4, 140.4]], np.float32
)


@pytest.fixture(scope="module")
def crop() -> Any:
    path = importlib.metadata.distribution("scikit-image").locate_file("skimage/data/astronaut.png")
    image: Any = cv2.imread(str(path))
    return Aligner("arcface112").crop(image, POINTS[None])


def face(side: float = 90, score: float = 0.999, points: Any = POINTS) -> Detections:
    return Detections(
        np.array([[10, 10, 10 + side, 10 + side * 1.2]], np.float32),
        np.array([score], np.float32),
        points[None].astype(np.float32),
    )


def test_a_good_face_scores_high_and_has_no_reason(crop: Any) -> None:
    verdict = QualityGate().verdict(crop, face())
    assert verdict.score > 0.6
    assert verdict.reasons == ()


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("blurred", lambda c: cv2.GaussianBlur(c[0], (0, 0), 6)[None]),
        ("dark", lambda c: (c * 0.12).astype(np.uint8)),
        ("bright", lambda c: np.clip(c.astype(int) + 120, 0, 255).astype(np.uint8)),
        ("flat", lambda c: (c * 0.05 + 120).astype(np.uint8)),
    ],
)
def test_a_spoilt_picture_is_named(crop: Any, reason: str, change: Any) -> None:
    verdict = QualityGate().verdict(change(crop), face())
    assert reason in verdict.reasons
    assert verdict.score < 0.5


def test_a_small_unsure_or_tilted_face_is_named(crop: Any) -> None:
    gate = QualityGate()
    assert gate.verdict(crop, face(side=24)).reasons == ("too_small",)
    assert gate.verdict(crop, face(score=0.4)).reasons == ("unsure",)
    down = (POINTS - POINTS.mean(axis=0)) @ np.array([[0, 1], [-1, 0]])
    assert gate.verdict(crop, face(points=down)).reasons == ("tilted",)


def test_a_turned_face_is_named_whatever_its_roll(crop: Any) -> None:
    turned = POINTS.copy()
    turned[2, 0] += 22
    assert QualityGate().verdict(crop, face(points=turned)).reasons == ("turned",)
    angle = 0.5
    spin = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    straight, _ = measure_pose(turned[None])
    spun, roll = measure_pose((turned @ spin.T)[None].astype(np.float32))
    assert spun[0] == pytest.approx(straight[0], abs=1e-4)
    assert abs(roll[0]) > 20


def test_more_blur_never_scores_better(crop: Any) -> None:
    gate = QualityGate()
    scores = [
        gate.verdict(cv2.GaussianBlur(crop[0], (0, 0), sigma)[None], face()).score
        for sigma in (0.5, 1, 2, 4, 8)
    ]
    assert scores == sorted(scores, reverse=True)


def test_rows_are_independent_and_none_is_fine(crop: Any) -> None:
    gate = QualityGate()
    both = Detections(
        np.concatenate([face().boxes, face(side=20).boxes]),
        np.ones(2, np.float32),
        np.stack([POINTS, POINTS]),
    )
    quality = gate.assess(np.concatenate([crop, crop // 8]), both)
    assert quality.parts.shape == (2, len(REASONS))
    assert quality.score[0] == pytest.approx(gate.scores(crop, both[:1])[0])
    empty = gate.assess(np.zeros((0, 112, 112, 3), np.uint8), Detections.empty())
    assert len(empty) == 0
    assert empty.score.shape == (0,)


def test_points_that_are_missing_count_as_turned_away(crop: Any) -> None:
    verdict = QualityGate().verdict(crop, face(points=np.full((5, 2), np.nan)))
    assert verdict.score < 0.01
    assert "turned" in verdict.reasons
