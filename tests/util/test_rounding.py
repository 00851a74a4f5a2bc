"""A message never says that what misses a limit meets it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetson_face.benchmark.tune import search as tune
from jetson_face.benchmark.tune.search import Choice, TuneTrial
from jetson_face.recognition.rate_controller import Bounds, Governor, RateGoal, RateMeasurement
from jetson_face.util.rounding import away


@pytest.mark.parametrize(
    ("value", "limit", "digits", "text"),
    [
        (47.6, 48, 0, "47"),
        (47.0, 48, 0, "47"),
        (48.4, 48, 0, "49"),
        (48.0, 48, 0, "48"),
        (0.2499, 0.25, 2, "0.24"),
        (0.99989, 0.9999, 4, "0.9998"),
        (math.nan, 1.0, 0, "nan"),
        (math.inf, 1.0, 0, "inf"),
    ],
)
def test_a_figure_is_rounded_away_from_its_limit(
    value: float, limit: float, digits: int, text: str
) -> None:
    assert away(value, limit, digits) == text


@given(st.floats(-1e6, 1e6), st.integers(-1000, 1000), st.integers(0, 4))
def test_it_stays_on_its_side_of_a_round_limit(value: float, limit: int, digits: int) -> None:
    told = float(away(value, limit, digits))
    assert (told > limit) == (value > limit)
    assert (told < limit) == (value < limit)


@pytest.mark.parametrize(
    ("goal", "measured", "says"),
    [
        (RateGoal(age_ms_max=6), RateMeasurement(30, 30, age_ms=6.3), "p95 7 ms, at most 6 wanted"),
        (
            RateGoal(cpu_max=0.05),
            RateMeasurement(30, 30, cpu=0.0543),
            "CPU 6 %, at most 5 % wanted",
        ),
        (RateGoal(decision_fps_min=0.5), RateMeasurement(0.46), "rate 0.4/s, at least 0.5 wanted"),
    ],
)
def test_the_governor_says_what_is_missed(
    goal: RateGoal, measured: RateMeasurement, says: str
) -> None:
    change = Governor(goal, Bounds(1, 30), 5).update(measured, 0)
    assert change is not None
    assert says in change.why


def test_tuning_says_what_is_missed() -> None:
    trial = TuneTrial(Choice(5, None, 40), 24.97, age_ms=200.3, cpu=0.602, time_to_name_s=1.004)
    wanted = tune.TuneGoal(25, 200, 0.6, time_to_name_max_s=1)
    assert tune.slow(wanted, trial) == [
        "decides 24.9/s, 25 wanted",
        "frame age p95 201 ms, 200 wanted",
        "CPU 61 %, 60 % wanted",
    ]
    assert "named after 1.01 s, 1 s wanted" in tune.late(wanted, trial)
