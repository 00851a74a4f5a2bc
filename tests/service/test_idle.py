"""A service with nothing to do uses no processor; see tools/bench_idle.py."""

from __future__ import annotations

import bench_idle
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.mark.parametrize("case", ["camera", "device", "down", "evicted"])
def test_an_idle_service_takes_less_than_1_percent_of_a_core(case: str) -> None:
    percent, _, _ = bench_idle.measure(case, 5.0)
    assert percent < 1.0
