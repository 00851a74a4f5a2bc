"""Boxes and similarity transforms: named cases and properties."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jetson_face.core.geometry import (
    apply_transforms,
    clip_boxes,
    iou_matrix,
    nms,
    similarity_transforms,
    square_boxes,
    transform_scales,
)


def f32(values: Any) -> Any:
    return np.array(values, np.float32)


coordinates = st.floats(-500, 500, width=32)


@st.composite
def boxes(draw: st.DrawFn, most: int = 8) -> Any:
    corners = draw(hnp.arrays(np.float32, (draw(st.integers(0, most)), 2, 2), elements=coordinates))
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


@pytest.mark.parametrize(
    ("a", "b", "union", "least"),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1.0, 1.0),
        ([0, 0, 2, 2], [1, 0, 3, 2], 1 / 3, 0.5),
        ([0, 0, 4, 4], [1, 1, 2, 2], 1 / 16, 1.0),
        ([0, 0, 2, 2], [2, 0, 4, 2], 0.0, 0.0),
        ([0, 0, 0, 0], [0, 0, 2, 2], 0.0, 0.0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0.0, 0.0),
    ],
    ids=["same", "half", "inside", "touching", "no area", "both no area"],
)
def test_overlap(a: list[float], b: list[float], union: float, least: float) -> None:
    assert iou_matrix(f32([a]), f32([b]))[0, 0] == pytest.approx(union)
    assert iou_matrix(f32([a]), f32([b]), over="min")[0, 0] == pytest.approx(least)


@given(boxes())
def test_overlap_is_symmetric_and_in_range(some: Any) -> None:
    share = iou_matrix(some)
    assert share.shape == (len(some), len(some))
    assert ((share >= 0) & (share <= 1)).all()
    np.testing.assert_allclose(share, share.T, atol=1e-6)


@given(boxes(), st.integers(1, 400), st.integers(1, 400))
def test_clipped_boxes_lie_inside_and_stay_clipped(some: Any, width: int, height: int) -> None:
    clipped = clip_boxes(some, width, height)
    assert (clipped >= 0).all()
    assert (clipped <= [width, height, width, height]).all()
    np.testing.assert_array_equal(clip_boxes(clipped, width, height), clipped)


def test_a_square_keeps_the_centre_and_the_longer_side() -> None:
    np.testing.assert_allclose(square_boxes(f32([[10, 20, 14, 30]])), [[7, 20, 17, 30]])


def test_suppression_keeps_the_best_of_each_heap_best_first() -> None:
    some = f32([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60]])
    assert nms(some, f32([0.6, 0.9, 0.7]), 0.5).tolist() == [1, 2]


def test_suppression_is_greedy_a_box_that_went_suppresses_nothing() -> None:
    chain = f32([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]])
    assert nms(chain, f32([0.9, 0.8, 0.7]), 0.4).tolist() == [0, 2]


@given(boxes(), st.floats(0.1, 0.9))
def test_suppression_twice_is_suppression_once(some: Any, limit: float) -> None:
    scores = np.linspace(1, 0.5, len(some), dtype=np.float32)
    kept = nms(some, scores, limit)
    again = nms(some[kept], scores[kept], limit)
    np.testing.assert_array_equal(again, np.arange(len(kept)))


@given(st.floats(-3, 3), st.floats(0.2, 5), st.floats(-200, 200), st.floats(-200, 200))
def test_a_similarity_is_found_again(angle: float, scale: float, dx: float, dy: float) -> None:
    points = f32([[38, 52], [74, 51], [56, 72], [42, 92], [71, 92]])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    target = (points @ turn.T + [dx, dy]).astype(np.float32)
    matrices = similarity_transforms(points[None], target)
    np.testing.assert_allclose(
        apply_transforms(matrices, points[None])[0], target, atol=2e-3 * max(1, scale)
    )
    assert transform_scales(matrices)[0] == pytest.approx(scale, rel=1e-3)


def test_the_best_similarity_is_no_reflection() -> None:
    points = f32([[0, 0], [10, 0], [5, 5], [0, 10], [10, 10]])
    matrix = similarity_transforms(points[None], points * [-1, 1])[0]
    assert np.linalg.det(matrix[:, :2]) >= 0


def test_the_fit_is_least_squares() -> None:
    rng = np.random.default_rng(3)
    points, target = rng.normal(size=(2, 5, 2)).astype(np.float32)
    matrix = similarity_transforms(points[None], target)

    def error(m: Any) -> float:
        return float(((apply_transforms(m, points[None])[0] - target) ** 2).sum())

    best = error(matrix)
    for a, b, dx, dy in rng.normal(scale=0.01, size=(50, 4)):
        near = matrix + f32([[[a, -b, dx], [b, a, dy]]])
        assert error(near) >= best - 1e-6


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_points_must_be_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        similarity_transforms(np.full((1, 5, 2), bad, np.float32), np.zeros((5, 2), np.float32))


def test_points_must_differ() -> None:
    with pytest.raises(ValueError, match="equal"):
        similarity_transforms(np.ones((1, 5, 2), np.float32), np.zeros((5, 2), np.float32))
