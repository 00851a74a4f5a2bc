"""Metrics: rates over n - 1 intervals, percentiles in bounded memory, Prometheus text."""

from __future__ import annotations

import json
import threading
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from jetson_face.util.metrics import (
    EDGES_S,
    Histogram,
    Metrics,
    Rate,
    Snapshot,
    per_second,
    to_prometheus,
)

SECOND = 1_000_000_000
AWKWARD = 'a"b\\c\nd'


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


@given(st.lists(st.floats(1e-7, 1e3), min_size=1, max_size=300))
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
    tracemalloc.start()
    for i in range(10_000):
        histogram.observe(1.0 + i % 7)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 10_000


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Histogram().observe(value)


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-12, 1e9])
def test_numbers_outside_the_buckets_keep_exact_extremes(value: float) -> None:
    histogram = Histogram()
    histogram.observe(value)
    found = histogram.snapshot()
    assert found["min"] == found["max"] == found["p50"] == value


def test_counters_only_grow() -> None:
    counter = Metrics().counter("drops", "Frames", reason="stale")
    counter.add(2)
    counter.raise_to(5)
    counter.raise_to(3)
    assert counter.value == 5
    with pytest.raises(ValueError, match="grows"):
        counter.add(-1)


def test_the_same_name_and_labels_are_one_instrument_in_any_order() -> None:
    metrics = Metrics()
    one = metrics.counter("x", "X", a="1", b="2")
    assert metrics.counter("x", "X", b="2", a="1") is one
    assert metrics.counter("x", "X", a="2", b="2") is not one


@pytest.mark.parametrize(
    "again",
    [
        lambda metrics: metrics.counter("x", "X", b="2"),
        lambda metrics: metrics.counter("x", "Y", a="2"),
        lambda metrics: metrics.gauge("x", "X", a="2"),
    ],
    ids=["labels", "help", "kind"],
)
def test_one_name_is_one_kind_with_one_help_and_the_same_labels(
    again: Callable[[Metrics], object],
) -> None:
    metrics = Metrics()
    metrics.counter("x", "X", a="1")
    with pytest.raises(ValueError, match="x: is _Family"):
        again(metrics)


def test_counting_from_many_threads_loses_nothing() -> None:
    metrics = Metrics()

    def count() -> None:
        for _ in range(2000):
            metrics.counter("n", "N").add()
            metrics.histogram("h", "H").observe(1.0)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.counter("n", "N").value == 8000
    assert metrics.histogram("h", "H").snapshot()["count"] == 8000


def filled() -> Metrics:
    metrics = Metrics(clock_ns=lambda: 3 * SECOND)
    metrics.counter("frames_dropped", "Dropped frames", source="door", reason="stale").add(3)
    metrics.gauge("cameras_up", "Cameras that give frames").set(2)
    for i in range(5):
        metrics.rate("frames", "Frames", source=AWKWARD).tick(SECOND + i * SECOND // 2)
    for seconds in (0.003, 0.025, 0.03, 99.0):
        metrics.histogram("stage_seconds", "Time of a stage", stage="detect").observe(seconds)
    return metrics


def test_snapshot_is_plain_json() -> None:
    snapshot = filled().snapshot()
    assert json.loads(json.dumps(snapshot)) == snapshot
    (rate,) = snapshot["rates"]
    assert (rate["count"], rate["per_s"], rate["recent_per_s"]) == (5, 2.0, 2.0)


def parsed(*snapshots: Snapshot) -> dict[str, tuple[str, str, dict[tuple[str, ...], float]]]:
    """By family: kind, help, and values by name and label values; by Prometheus' own parser."""
    return {
        family.name: (
            family.type,
            family.documentation,
            {(s.name.removeprefix(family.name), *s.labels.values()): s.value
             for s in family.samples},
        )
        for family in text_string_to_metric_families(to_prometheus(*snapshots, prefix="jf_"))
    }  # fmt: skip


def test_prometheus_reads_back_what_was_counted() -> None:
    found = parsed(filled().snapshot())
    stage = found.pop("jf_stage_seconds")
    assert found == {
        "jf_frames_dropped": ("counter", "Dropped frames", {("_total", "stale", "door"): 3}),
        "jf_cameras_up": ("gauge", "Cameras that give frames", {("",): 2}),
        "jf_frames": ("counter", "Frames", {("_total", AWKWARD): 5}),
        "jf_frames_per_second": (
            "gauge",
            "Frames, a second, over the last five seconds",
            {("", AWKWARD): 2},
        ),
    }
    kind, text, values = stage
    assert (kind, text) == ("histogram", "Time of a stage")
    assert values["_count", "detect"] == values["_bucket", "+Inf", "detect"] == 4
    assert values["_sum", "detect"] == pytest.approx(99.058)
    by_edge = {float(key[1]): n for key, n in values.items() if key[0] == "_bucket"}
    assert list(by_edge) == [*EDGES_S, float("inf")]
    # An edge belongs to the bucket below it: `le` is "at most".
    assert [by_edge[edge] for edge in (0.0025, 0.005, 0.01, 0.025, 0.05, 10.0)] == [
        0,
        1,
        1,
        2,
        3,
        3,
    ]


def test_what_nothing_was_observed_of_has_the_same_buckets() -> None:
    metrics = Metrics()
    metrics.histogram("stage_seconds", "Time of a stage", stage="embed")
    _, _, empty = parsed(metrics.snapshot())["jf_stage_seconds"]
    _, _, full = parsed(filled().snapshot())["jf_stage_seconds"]
    assert [key[:-1] for key in empty] == [key[:-1] for key in full]
    assert set(empty.values()) == {0.0}


def test_several_registries_are_one_text() -> None:
    other = Metrics()
    other.gauge("ready", "1 when ready").set(1)
    assert {"jf_cameras_up", "jf_ready"} <= parsed(filled().snapshot(), other.snapshot()).keys()


def test_nothing_counted_is_an_empty_text() -> None:
    assert to_prometheus(Metrics().snapshot()) == ""
