"""Frames as a camera gives them, and in BGR."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from jetson_face.core.types import Frame


def test_bgr_is_given_on_as_it_came() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    frame = Frame(pixels, 0, 0, 0.0, "camera")
    assert frame.image is frame.pixels is pixels
    assert frame.size == (6, 4)
    with pytest.raises(ValueError, match="read-only"):
        frame.image[0, 0, 0] = 1


def test_bgrx_becomes_bgr_once_and_when_it_is_asked_for() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 4), np.uint8)
    frame = Frame(pixels, 0, 0, 0.0, "camera")
    assert frame._bgr is None
    image = frame.image
    np.testing.assert_array_equal(image, pixels[..., :3])
    assert image.flags.c_contiguous
    assert not image.flags.writeable
    assert frame.image is image
    moved = replace(frame, seq=5)
    assert moved.pixels is pixels
    np.testing.assert_array_equal(moved.image, image)


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1), (4, 6, 5)])
def test_other_shapes_are_no_frame(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="BGR or"):
        Frame(np.zeros(shape, np.uint8), 0, 0, 0.0, "camera")
