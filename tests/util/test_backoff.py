"""Waits between tries."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jetson_face.util.backoff import Backoff, worth_a_line


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_waits_grow_and_stay_bounded(failures: int, draw: float) -> None:
    backoff = Backoff(0.5, 60)
    delay = backoff.delay_s(failures, draw)
    whole = min(60.0, 0.5 * 2.0 ** min(failures - 1, 20))
    assert whole / 2 <= delay <= whole
    assert backoff.delay_s(failures + 1, draw) >= delay


def test_lines_get_rarer() -> None:
    assert [n for n in range(1, 70) if worth_a_line(n)] == [1, 2, 4, 8, 16, 32, 64]
