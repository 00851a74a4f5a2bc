"""Metrics: rates over n - 1 intervals, percentiles in bounded memory, Prometheus text."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetson_face.util.metrics import Histogram, Metrics, Rate, per_second, to_prometheus

SECOND = 1_000_000_000


def test_rate_counts_intervals_not_events() -> None:
    rate = Rate()
    for i in range(31):
        rate.tick(5 * SECOND + i * SECOND // 30)
    assert rate.overall() == pytest.approx(30.0)
    assert rate.recent(6 * SECOND) == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("n", "span", "want"), [(0, 0, 0.0), (1, 0, 0.0), (2, 0, 0.0), (3, SECOND, 2.0)]
)
def test_too_few_events_are_no_rate(n: int, span: int, want: float) -> None:
    assert per_second(n, span) == want


def test_recent_rate_falls_when_events_stop() -> None:
    rate = Rate()
    for i in range(11):
        rate.tick(i * SECOND // 10)
    assert rate.recent(SECOND) == pytest.approx(10.0)
    assert rate.recent(2 * SECOND) == pytest.approx(5.0)
    assert rate.recent(20 * SECOND) == 0.0
    assert rate.overall() == pytest.approx(10.0)


@given(st.lists(st.floats(1e-4, 1e6), min_size=1, max_size=300))
def test_percentiles_agree_with_exact_ones_within_a_bucket(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    found = histogram.snapshot()
    assert found["count"] == len(values)
    assert found["sum"] == pytest.approx(sum(values))
    assert (found["min"], found["max"]) == (min(values), max(values))
    for q in (50, 95, 99):
        exact = float(np.percentile(values, q, method="inverted_cdf"))
        assert found[f"p{q}"] == pytest.approx(exact, rel=0.05)
        assert found["min"] <= found[f"p{q}"] <= found["max"]


def test_histogram_memory_does_not_grow() -> None:
    histogram = Histogram()
    histogram.observe(1.0)
    before = len(histogram.snapshot()["buckets"])
    for i in range(10_000):
        histogram.observe(1.0 + i % 7)
    assert len(histogram.snapshot()["buckets"]) <= before + 4


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Histogram().observe(value)


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-9, 1e12])
def test_numbers_outside_the_buckets_keep_exact_extremes(value: float) -> None:
    histogram = Histogram()
    histogram.observe(value)
    found = histogram.snapshot()
    assert found["min"] == found["max"] == found["p50"] == value


def test_counters_only_grow() -> None:
    counter = Metrics().counter("drops", reason="stale")
    counter.add(2)
    counter.raise_to(5)
    counter.raise_to(3)
    assert counter.value == 5
    with pytest.raises(ValueError, match="grows"):
        counter.add(-1)


def test_the_same_name_and_labels_are_one_instrument_in_any_order() -> None:
    metrics = Metrics()
    assert metrics.counter("x", a="1", b="2") is metrics.counter("x", b="2", a="1")
    assert metrics.counter("x", a="1") is not metrics.counter("x", a="2")


def test_counting_from_many_threads_loses_nothing() -> None:
    metrics = Metrics()

    def count() -> None:
        for _ in range(2000):
            metrics.counter("n").add()
            metrics.histogram("h").observe(1.0)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.counter("n").value == 8000
    assert metrics.histogram("h").snapshot()["count"] == 8000


def filled() -> Metrics:
    metrics = Metrics(clock_ns=lambda: 3 * SECOND)
    metrics.counter("frames_dropped", source="door", reason="stale").add(3)
    metrics.gauge("cameras_up").set(2)
    for i in range(5):
        metrics.rate("frames", source='a"b\\c\nd').tick(SECOND + i * SECOND // 2)
    metrics.histogram("stage_ms", stage="detect").observe(3.0)
    metrics.histogram("stage_ms", stage="detect").observe(30.0)
    return metrics


def test_snapshot_is_plain_json() -> None:
    snapshot = filled().snapshot()
    assert json.loads(json.dumps(snapshot)) == snapshot
    (rate,) = snapshot["rates"]
    assert (rate["count"], rate["per_s"], rate["recent_per_s"]) == (5, 2.0, 2.0)


def test_prometheus_text_is_exact() -> None:
    assert to_prometheus(filled().snapshot(), prefix="jf_").splitlines() == [
        "# TYPE jf_frames_dropped_total counter",
        'jf_frames_dropped_total{reason="stale",source="door"} 3',
        "# TYPE jf_cameras_up gauge",
        "jf_cameras_up 2",
        "# TYPE jf_frames_total counter",
        r'jf_frames_total{source="a\"b\\c\nd"} 5',
        "# TYPE jf_frames_per_second gauge",
        r'jf_frames_per_second{source="a\"b\\c\nd"} 2',
        "# TYPE jf_stage_ms histogram",
        'jf_stage_ms_bucket{stage="detect",le="4.642"} 1',
        'jf_stage_ms_bucket{stage="detect",le="10"} 1',
        'jf_stage_ms_bucket{stage="detect",le="21.54"} 1',
        'jf_stage_ms_bucket{stage="detect",le="46.42"} 2',
        'jf_stage_ms_bucket{stage="detect",le="+Inf"} 2',
        'jf_stage_ms_sum{stage="detect"} 33',
        'jf_stage_ms_count{stage="detect"} 2',
    ]


def test_nothing_counted_is_an_empty_text() -> None:
    assert to_prometheus(Metrics().snapshot()) == ""
