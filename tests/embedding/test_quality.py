"""Face quality: each part falls with what it stands for, and names its reason."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import cv2
import numpy as np
import pytest

from jetson_face.core.types import Detections
from jetson_face.embedding.align import Aligner
from jetson_face.embedding.quality import (
    REASONS,
    QualityGate,
    Verdict,
    measure_landmarks,
    measure_pose,
)

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


FACE_3D = np.array(
    [[-0.5, 0, 0], [0.5, 0, 0], [0, 0.6, 0.5], [-0.42, 1.14, 0.05], [0.42, 1.14, 0.05]]
)
"""Eyes, tip of the nose and mouth corners of a face, in distances of its eyes."""
BACK_OF_HEAD = np.array(
    [[537.6, 197.9], [584.4, 196.0], [562.9, 225.2], [545.7, 238.0], [578.6, 242.0]], np.float32
)
"""Where YuNet saw a face, with score 0.72, in a drawn one (`decoys.back_of_head`)."""


def seen_from(yaw: float, pitch: float, roll: float) -> Any:
    """The points of a face that is turned by so many degrees, 80 pixels large."""
    y, p, r = np.radians([yaw, pitch, roll])
    turn = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    nod = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    tilt = np.array([[np.cos(r), -np.sin(r)], [np.sin(r), np.cos(r)]])
    flat = (FACE_3D @ (nod @ turn).T)[:, :2] @ tilt.T
    return (100 + 40 * flat).astype(np.float32)


@pytest.mark.parametrize("yaw", [-80, -40, 0, 60, 85])
@pytest.mark.parametrize(("pitch", "roll"), [(0, 0), (30, 0), (-30, 20), (0, 90), (10, 180)])
def test_the_landmarks_of_a_face_fit_from_every_side(yaw: int, pitch: int, roll: int) -> None:
    assert measure_landmarks(seen_from(yaw, pitch, roll)[None])[0] > 0.98


def test_the_landmarks_of_a_photographed_face_fit() -> None:
    assert measure_landmarks(POINTS[None])[0] > 0.96


@pytest.mark.parametrize(
    ("points", "most"),
    [
        (BACK_OF_HEAD, 0.83),
        (POINTS[[1, 0, 2, 4, 3]], 0.1),  # left is right
        (POINTS[[3, 4, 2, 0, 1]], 0.1),  # the mouth is above the eyes
        (np.where([[0], [0], [1], [0], [0]], POINTS + 40, POINTS), 0.4),  # the nose is below it
        (np.where([[0], [0], [1], [0], [0]], POINTS - 50, POINTS), 0.4),  # or above the eyes
        (np.full((5, 2), 7.0), 0.0),
        (np.full((5, 2), np.nan), 0.0),
    ],
)
def test_the_landmarks_of_what_is_no_face_do_not_fit(points: Any, most: float) -> None:
    fit = measure_landmarks(np.stack([points, POINTS]).astype(np.float32))
    assert fit.dtype == np.float32
    assert fit[0] <= most
    assert fit[1] > 0.96


def test_what_is_no_face_by_its_landmarks_has_no_quality(crop: Any) -> None:
    gate = QualityGate(landmarks_min=0.84)
    both = Detections(
        np.repeat(face().boxes, 2, axis=0), np.ones(2, "f4"), np.stack([BACK_OF_HEAD, POINTS])
    )
    assert gate.plausible(both).tolist() == [False, True]
    assert gate.verdict(crop, face(points=BACK_OF_HEAD)) == Verdict(0.0, ("not_a_face",))
    assert QualityGate().plausible(both).all()
    assert QualityGate().verdict(crop, face(points=BACK_OF_HEAD)).score > 0
