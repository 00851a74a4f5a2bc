"""Counters, gauges, rates and histograms of a run, in a registry that is passed in, never global.

Memory is bounded by the number of names and labels, not by the number of frames.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

Labels: TypeAlias = tuple[tuple[str, str], ...]
Key: TypeAlias = tuple[str, Labels]
Snapshot: TypeAlias = dict[str, list[dict[str, Any]]]

_PER_DECADE = 48
"""Bucket edges are 10^(k/48): a percentile is off by at most half a bucket, 2.4 %."""
_LOWEST, _HIGHEST = -4, 7
"""Decades covered: 0.1 µs to 10,000 s when the unit is milliseconds."""
_BUCKETS = (_HIGHEST - _LOWEST) * _PER_DECADE + 2
_RECENT_TICKS = 512
_RECENT_NS = 5_000_000_000


class Counter:
    """A number that only grows."""

    __slots__ = ("_lock", "_value")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value = 0

    def add(self, n: int = 1) -> None:
        """Count `n` more. Raises ValueError on a negative n."""
        if n < 0:
            raise ValueError(f"a counter only grows, got {n}")
        with self._lock:
            self._value += n

    def raise_to(self, value: int) -> None:
        """Follow a total that somebody else counts; never goes down."""
        with self._lock:
            self._value = max(self._value, value)

    @property
    def value(self) -> int:
        """The count so far."""
        return self._value


class Gauge:
    """A number that goes up and down; the last one set counts."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def set(self, value: float) -> None:
        """Replace the value."""
        self.value = value


class Rate:
    """Events per second on the monotonic clock: n events span n - 1 intervals."""

    __slots__ = ("_first", "_last", "_lock", "_n", "_recent")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._n = 0
        self._first = self._last = 0
        self._recent: deque[int] = deque(maxlen=_RECENT_TICKS)

    def tick(self, now_ns: int) -> None:
        """An event at `now_ns`, monotonic nanoseconds."""
        with self._lock:
            if self._n == 0:
                self._first = now_ns
            self._n += 1
            self._last = now_ns
            self._recent.append(now_ns)

    @property
    def count(self) -> int:
        """Events so far."""
        return self._n

    def overall(self) -> float:
        """Events per second from the first to the last; 0 with fewer than two."""
        with self._lock:
            return per_second(self._n, self._last - self._first)

    def recent(self, now_ns: int) -> float:
        """Events per second over the last five seconds before `now_ns`; falls when they stop."""
        with self._lock:
            ticks = [t for t in self._recent if t > now_ns - _RECENT_NS]
        if len(ticks) < 2:
            return 0.0
        span = ticks[-1] - ticks[0]
        silent = now_ns - ticks[-1]
        # One late event is jitter; a silence longer than two intervals is a stop.
        late = silent > 2 * span / (len(ticks) - 1)
        return per_second(len(ticks), span + silent if late else span)


def per_second(n: int, span_ns: int) -> float:
    """Rate of n events whose first and last are `span_ns` apart: (n - 1) / span."""
    return (n - 1) * 1e9 / span_ns if n >= 2 and span_ns > 0 else 0.0


class Histogram:
    """Percentiles of positive numbers in fixed memory: buckets of 4.9 % width, exact extremes."""

    __slots__ = ("_buckets", "_count", "_lock", "_max", "_min", "_sum")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets = [0] * _BUCKETS
        self._count = 0
        self._sum = 0.0
        self._min, self._max = math.inf, -math.inf

    def observe(self, value: float) -> None:
        """Add one value. Raises ValueError when it is not finite."""
        if not math.isfinite(value):
            raise ValueError(f"a histogram holds finite numbers, got {value}")
        index = _bucket(value)
        with self._lock:
            self._buckets[index] += 1
            self._count += 1
            self._sum += value
            self._min = min(self._min, value)
            self._max = max(self._max, value)

    def snapshot(self) -> dict[str, Any]:
        """count, sum, min, max, mean, p50, p95, p99, and cumulative [edge, count] pairs."""
        with self._lock:
            buckets, count, total = list(self._buckets), self._count, self._sum
            low, high = self._min, self._max
        if count == 0:
            return {"count": 0, "sum": 0.0, "buckets": []}
        found = {f"p{q}": _percentile(buckets, count, q / 100, low, high) for q in (50, 95, 99)}
        return {
            "count": count,
            "sum": total,
            "min": low,
            "max": high,
            "mean": total / count,
            **found,
            "buckets": _cumulative(buckets),
        }


def _bucket(value: float) -> int:
    if value <= 10.0**_LOWEST:
        return 0
    index = math.ceil((math.log10(value) - _LOWEST) * _PER_DECADE)
    return min(max(index, 1), _BUCKETS - 1)


def _edge(index: int) -> float:
    """Upper edge of a bucket."""
    return float(10.0 ** (_LOWEST + index / _PER_DECADE))


def _percentile(buckets: list[int], count: int, q: float, low: float, high: float) -> float:
    """Nearest-rank percentile: the geometric middle of its bucket, kept within what was seen."""
    rank = max(1, math.ceil(q * count))
    if rank == count:
        return high
    seen = 0
    for index, n in enumerate(buckets):
        seen += n
        if seen >= rank:
            middle = _edge(index) * 10 ** (-0.5 / _PER_DECADE)
            return min(max(middle, low), high)
    return high


def _cumulative(buckets: list[int]) -> list[list[float]]:
    """Three edges a decade, from the first that holds something to the first that holds all."""
    step = _PER_DECADE // 3
    total, seen, done = sum(buckets), 0, 0
    pairs: list[list[float]] = []
    for index in range(0, _BUCKETS - 1, step):
        seen += sum(buckets[done : index + 1])
        done = index + 1
        if seen:
            pairs.append([_edge(index), seen])
        if seen == total:
            break
    return pairs


M = TypeVar("M", Counter, Gauge, Rate, Histogram)


@dataclass(slots=True)
class Metrics:
    """The registry of one run. Ask once for an instrument, keep it, use it from any thread."""

    clock_ns: Callable[[], int] = time.monotonic_ns
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _counters: dict[Key, Counter] = field(default_factory=dict)
    _gauges: dict[Key, Gauge] = field(default_factory=dict)
    _rates: dict[Key, Rate] = field(default_factory=dict)
    _histograms: dict[Key, Histogram] = field(default_factory=dict)

    def counter(self, name: str, **labels: str) -> Counter:
        """The counter of this name and these labels, made on first use."""
        return self._get(self._counters, Counter, name, labels)

    def gauge(self, name: str, **labels: str) -> Gauge:
        """The gauge of this name and these labels, made on first use."""
        return self._get(self._gauges, Gauge, name, labels)

    def rate(self, name: str, **labels: str) -> Rate:
        """The rate of this name and these labels, made on first use."""
        return self._get(self._rates, Rate, name, labels)

    def histogram(self, name: str, **labels: str) -> Histogram:
        """The histogram of this name and these labels, made on first use."""
        return self._get(self._histograms, Histogram, name, labels)

    def _get(
        self, table: dict[Key, M], kind: Callable[[], M], name: str, labels: Mapping[str, str]
    ) -> M:
        key = (name, tuple(sorted(labels.items())))
        found = table.get(key)
        if found is None:
            with self._lock:
                found = table.setdefault(key, kind())
        return found

    def snapshot(self) -> Snapshot:
        """Everything as plain dicts, lists, strings and numbers, sorted by name and labels."""
        now = self.clock_ns()
        with self._lock:
            counters, gauges = sorted(self._counters.items()), sorted(self._gauges.items())
            rates, histograms = sorted(self._rates.items()), sorted(self._histograms.items())
        return {
            "counters": [_row(key, {"value": c.value}) for key, c in counters],
            "gauges": [_row(key, {"value": g.value}) for key, g in gauges],
            "rates": [
                _row(
                    key,
                    {"count": r.count, "per_s": r.overall(), "recent_per_s": r.recent(now)},
                )
                for key, r in rates
            ],
            "histograms": [_row(key, h.snapshot()) for key, h in histograms],
        }


def _row(key: Key, values: dict[str, Any]) -> dict[str, Any]:
    return {"name": key[0], "labels": dict(key[1]), **values}


def to_prometheus(snapshot: Snapshot, prefix: str = "jetson_face_") -> str:
    """A snapshot in Prometheus' text format 0.0.4.

    Counters and rate counts end in `_total`, rates are gauges ending in `_per_second`, histograms
    keep their name, which carries the unit.
    """
    families: dict[tuple[str, str], list[str]] = {}
    for row in snapshot["counters"]:
        _sample(families, prefix + row["name"] + "_total", "counter", row["labels"], row["value"])
    for row in snapshot["gauges"]:
        _sample(families, prefix + row["name"], "gauge", row["labels"], row["value"])
    for row in snapshot["rates"]:
        name = prefix + row["name"]
        _sample(families, name + "_total", "counter", row["labels"], row["count"])
        _sample(families, name + "_per_second", "gauge", row["labels"], row["recent_per_s"])
    for row in snapshot["histograms"]:
        _histogram_lines(families, prefix + row["name"], row)
    lines: list[str] = []
    for (name, kind), samples in families.items():
        lines += [f"# TYPE {name} {kind}", *samples]
    return "\n".join(lines) + "\n" if lines else ""


Families: TypeAlias = dict[tuple[str, str], list[str]]


def _sample(
    families: Families, name: str, kind: str, labels: Mapping[str, str], value: float
) -> None:
    families.setdefault((name, kind), []).append(f"{name}{_labels(labels)} {value:.12g}")


def _histogram_lines(families: Families, name: str, row: Mapping[str, Any]) -> None:
    lines = families.setdefault((name, "histogram"), [])
    labels: dict[str, str] = row["labels"]
    for edge, seen in row["buckets"]:
        lines.append(f"{name}_bucket{_labels({**labels, 'le': f'{edge:.4g}'})} {int(seen)}")
    lines.append(f"{name}_bucket{_labels({**labels, 'le': '+Inf'})} {row['count']}")
    lines.append(f"{name}_sum{_labels(labels)} {row['sum']:.10g}")
    lines.append(f"{name}_count{_labels(labels)} {row['count']}")


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    inside = ",".join(f'{key}="{_escape(value)}"' for key, value in labels.items())
    return "{" + inside + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
