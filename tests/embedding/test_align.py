"""Aligned crops and portraits."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetson_face.embedding.align import TEMPLATES, Aligner, cut_portraits


def dots(points: Any, side: int, radius: int) -> Any:
    """A grey picture with a white dot on every point."""
    image = np.full((side, side, 3), 60, np.uint8)
    for x, y in points:
        cv2.circle(image, (round(float(x)), round(float(y))), radius, (255, 255, 255), -1)
    return image


def centre_of_light(crop: Any, near: Any, reach: int) -> Any:
    """Centroid of what is bright around a point."""
    x, y = (round(float(v)) for v in near)
    part = crop[max(y - reach, 0) : y + reach, max(x - reach, 0) : x + reach, 0].astype(float)
    weight = np.clip(part - 70, 0, None)
    rows, columns = np.indices(part.shape)
    return np.array(
        [
            (columns * weight).sum() / weight.sum() + max(x - reach, 0),
            (rows * weight).sum() / weight.sum() + max(y - reach, 0),
        ]
    )


@pytest.mark.parametrize("name", sorted(TEMPLATES))
@pytest.mark.parametrize("scale", [1.0, 2.3, 5.0])
def test_points_land_on_the_template(name: str, scale: float) -> None:
    template = TEMPLATES[name]
    points = template.array * scale + 40
    image = dots(points, int(template.size * scale) + 80, max(2, round(2 * scale)))
    crop = Aligner(name).crop(image, np.round(points)[None])[0]
    # An affine map is pinned by eyes and nose: the mouth carries their rounding, enlarged.
    loose = 1.6 if name == "openface96" else 0.8
    for row, point in enumerate(template.array):
        tolerance = loose if row >= 3 else 0.8
        np.testing.assert_allclose(centre_of_light(crop, point, 7), point, atol=tolerance)


def test_no_faces_give_no_crops() -> None:
    crops = Aligner("arcface112").crop(np.zeros((50, 50, 3), np.uint8), np.zeros((0, 5, 2), "f4"))
    assert crops.shape == (0, 112, 112, 3)
    assert crops.dtype == np.uint8
    assert cut_portraits(np.zeros((50, 50, 3), np.uint8), np.zeros((0, 5, 2), np.float32)) == []


def test_outside_the_image_is_black() -> None:
    white = np.full((60, 60, 3), 255, np.uint8)
    crop = Aligner("arcface112").crop(white, TEMPLATES["arcface112"].array[None] - 30)[0]
    assert (crop[:25, :25] == 0).all()
    assert (crop[40:80, 40:80] == 255).all()


def test_points_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        Aligner("dlib150").crop(np.zeros((9, 9, 3), np.uint8), np.full((1, 5, 2), np.nan, "f4"))


def test_an_unknown_template_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match="arcface112"):
        Aligner("arcface113")


def test_a_large_face_does_not_alias() -> None:
    stripes = np.zeros((1200, 1200, 3), np.uint8)
    stripes[:, ::2] = 255
    points = TEMPLATES["arcface112"].array * 8 + 100
    crop = Aligner("arcface112").crop(stripes, points[None])[0]
    assert crop[30:80, 30:80].std() < 3
    assert abs(float(crop[30:80, 30:80].mean()) - 127.5) < 3


@settings(max_examples=30, deadline=None)
@given(st.floats(-2000, 2000), st.floats(-2000, 2000), st.floats(0.05, 30), st.floats(-3, 3))
def test_any_place_size_and_angle_gives_a_crop(x: float, y: float, k: float, turn: float) -> None:
    rotate = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) * k
    points = ((TEMPLATES["arcface112"].array - 56) @ rotate.T + [x, y]).astype(np.float32)
    image = np.full((90, 120, 3), 7, np.uint8)
    assert Aligner("arcface112").crop(image, points[None]).shape == (1, 112, 112, 3)


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_a_crop_from_the_portrait_is_the_crop_from_the_picture(name: str) -> None:
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (400, 400, 3), np.uint8), (0, 0), 4)
    points = (TEMPLATES["arcface112"].array * 1.4 + 110).astype(np.float32)
    direct = Aligner(name).crop(image, points[None])[0]
    portrait = cut_portraits(image, points[None])[0]
    assert portrait.image.shape == (256, 256, 3)
    again = portrait.crop(Aligner(name))
    assert float(np.abs(direct.astype(int) - again.astype(int)).mean()) < 1.0
