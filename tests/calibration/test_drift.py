"""Unnamed faces that are as expected raise nothing; more, or less, alike ones do, once."""

from __future__ import annotations

import numpy as np
import pytest

from jetson_face.calibration.drift import DriftEvent, SimilarityDrift


def events(rates: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[DriftEvent]:
    watch = SimilarityDrift(200, 0.01)
    return [event for rate in rates if (event := watch.see(float(rate))) is not None]


def expected(count: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """What unnamed impostors have where the curve holds: all shares above the FPIR alike."""
    return np.random.default_rng(seed).uniform(0.01, 1, count)


@pytest.mark.parametrize("seed", range(2))
def test_what_is_as_expected_raises_nothing(seed: int) -> None:
    assert events(expected(5000, seed)) == []


def test_faces_that_are_more_alike_raise_one_event_and_recover() -> None:
    drifted, back = events(np.concatenate([expected(300, 1), expected(300, 2) ** 2.5,
                                           expected(600, 3)]))  # fmt: skip
    assert (drifted.state, back.state) == ("drifted", "recovered")
    assert drifted.share > 2 * drifted.expected
    assert "more people than stated get a wrong name" in str(drifted)
    assert "jetson-face calibrate --impostors FOLDER --write" in str(drifted)


def test_faces_that_are_less_alike_raise_an_event_too() -> None:
    (drifted,) = events(np.full(300, 0.5))
    assert drifted.share == 0
    assert "stricter than it need be" in str(drifted)


def test_too_few_faces_say_nothing() -> None:
    assert events(np.full(199, 0.05)) == []
