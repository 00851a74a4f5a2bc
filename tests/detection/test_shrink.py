"""Pictures made smaller, slowly and fast."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from jetson_face.detection.shrink import shrink, shrink_fast


@pytest.mark.parametrize("side_px", [1152, 960, 640, 300, 1920, None])
def test_the_fast_way_gives_nearly_the_same_picture(side_px: int | None) -> None:
    rng = np.random.default_rng(1)
    rough = rng.integers(0, 256, (34, 60, 3), np.uint8)
    image = np.asarray(cv2.resize(rough, (1920, 1088), interpolation=cv2.INTER_CUBIC), np.uint8)
    wanted, scale = shrink(image, side_px)
    got, same = shrink_fast(image, side_px)
    assert (got.shape, same) == (wanted.shape, scale)
    assert np.abs(got.astype(int) - wanted).mean() < 1


def test_halves_are_averages() -> None:
    image = np.arange(4 * 8 * 3, dtype=np.uint8).reshape(4, 8, 3)
    np.testing.assert_array_equal(shrink_fast(image, 4)[0], shrink(image, 4)[0])
