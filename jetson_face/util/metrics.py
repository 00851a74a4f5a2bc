"""Counters, gauges, rates and histograms of a run, in a registry that is passed in, never global.

Memory is bounded by the number of names and labels, not by the number of frames.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from prometheus_client import Metric

Labels: TypeAlias = tuple[tuple[str, str], ...]
Key: TypeAlias = tuple[str, Labels]
Snapshot: TypeAlias = dict[str, list[dict[str, Any]]]

_PER_DECADE = 48
"""Bucket edges are 10^(k/48): a percentile is off by at most half a bucket, 2.4 %."""
_LOWEST, _HIGHEST = -7, 4
"""Decades covered: 0.1 µs to 10,000 s."""
_BUCKETS = (_HIGHEST - _LOWEST) * _PER_DECADE + 2
EDGES_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper edges of the buckets that are shown, seconds: the same in every answer, since whoever adds
up answers over time or over boxes compares bucket with bucket."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""Of `to_prometheus`."""
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
    """Percentiles of durations in fixed memory: buckets of 4.9 % width, exact extremes; and how
    many were at most each of `EDGES_S`."""

    __slots__ = ("_buckets", "_count", "_lock", "_max", "_min", "_shown", "_sum")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets = [0] * _BUCKETS
        self._shown = [0] * (len(EDGES_S) + 1)
        self._count = 0
        self._sum = 0.0
        self._min, self._max = math.inf, -math.inf

    def observe(self, seconds: float) -> None:
        """Add one duration. Raises ValueError when it is not finite."""
        if not math.isfinite(seconds):
            raise ValueError(f"a histogram holds finite numbers, got {seconds}")
        index, shown = _bucket(seconds), bisect_left(EDGES_S, seconds)
        with self._lock:
            self._buckets[index] += 1
            self._shown[shown] += 1
            self._count += 1
            self._sum += seconds
            self._min = min(self._min, seconds)
            self._max = max(self._max, seconds)

    def snapshot(self) -> dict[str, Any]:
        """count, sum, and cumulative [edge, count] pairs for `EDGES_S`; with something counted also
        min, max, mean, p50, p95 and p99. Seconds."""
        with self._lock:
            buckets, shown = list(self._buckets), list(self._shown)
            count, total = self._count, self._sum
            low, high = self._min, self._max
        pairs = [[edge, n] for edge, n in zip(EDGES_S, accumulate(shown), strict=False)]
        if count == 0:
            return {"count": 0, "sum": 0.0, "buckets": pairs}
        found = {f"p{q}": _percentile(buckets, count, q / 100, low, high) for q in (50, 95, 99)}
        return {
            "count": count,
            "sum": total,
            "min": low,
            "max": high,
            "mean": total / count,
            **found,
            "buckets": pairs,
        }


def _bucket(value: float) -> int:
    if value <= 10.0**_LOWEST:
        return 0
    index = math.ceil((math.log10(value) - _LOWEST) * _PER_DECADE)
    return min(max(index, 1), _BUCKETS - 1)


def _percentile(buckets: list[int], count: int, q: float, low: float, high: float) -> float:
    """Nearest-rank percentile: the geometric middle of its bucket, kept within what was seen."""
    rank = max(1, math.ceil(q * count))
    if rank == count:
        return high
    index = bisect_left(list(accumulate(buckets)), rank)
    edge = float(10.0 ** (_LOWEST + index / _PER_DECADE))
    return min(max(edge * 10 ** (-0.5 / _PER_DECADE), low), high)


M = TypeVar("M", Counter, Gauge, Rate, Histogram)


@dataclass(frozen=True, slots=True)
class _Family:
    """What all instruments of one name share."""

    kind: str
    help: str
    labels: tuple[str, ...]


@dataclass(slots=True)
class Metrics:
    """The registry of one run. Ask once for an instrument, keep it, use it from any thread.

    help: what is counted, in words. All instruments of one name are of one kind and have the same
    help and the same label names; ValueError otherwise.
    """

    clock_ns: Callable[[], int] = time.monotonic_ns
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _instruments: dict[Key, Any] = field(default_factory=dict)
    _families: dict[str, _Family] = field(default_factory=dict)

    def counter(self, name: str, help: str, /, **labels: str) -> Counter:
        """The counter of this name and these labels, made on first use."""
        return self._get(Counter, name, help, labels)

    def gauge(self, name: str, help: str, /, **labels: str) -> Gauge:
        """The gauge of this name and these labels, made on first use."""
        return self._get(Gauge, name, help, labels)

    def rate(self, name: str, help: str, /, **labels: str) -> Rate:
        """The rate of this name and these labels, made on first use."""
        return self._get(Rate, name, help, labels)

    def histogram(self, name: str, help: str, /, **labels: str) -> Histogram:
        """The histogram of this name and these labels, made on first use."""
        return self._get(Histogram, name, help, labels)

    def _get(self, kind: type[M], name: str, help: str, labels: Mapping[str, str]) -> M:
        key = (name, tuple(sorted(labels.items())))
        found: M | None = self._instruments.get(key)
        if not isinstance(found, kind):
            wanted = _Family(kind.__name__, help, tuple(label for label, _ in key[1]))
            with self._lock:
                if self._families.setdefault(name, wanted) != wanted:
                    raise ValueError(f"{name}: is {self._families[name]} already, not {wanted}")
                found = self._instruments.setdefault(key, kind())
        return found

    def snapshot(self) -> Snapshot:
        """Everything as plain dicts, lists, strings and numbers, sorted by name and labels."""
        now = self.clock_ns()
        with self._lock:
            everything = sorted(self._instruments.items())

        def rows(kind: type[M], values: Callable[[M], dict[str, Any]]) -> list[dict[str, Any]]:
            return [
                {"name": name, "help": self._families[name].help, "labels": dict(labels)}
                | values(one)
                for (name, labels), one in everything
                if isinstance(one, kind)
            ]

        return {
            "counters": rows(Counter, lambda counter: {"value": counter.value}),
            "gauges": rows(Gauge, lambda gauge: {"value": gauge.value}),
            "rates": rows(
                Rate,
                lambda r: {"count": r.count, "per_s": r.overall(), "recent_per_s": r.recent(now)},
            ),
            "histograms": rows(Histogram, Histogram.snapshot),
        }


def to_prometheus(*snapshots: Snapshot, prefix: str = "jetson_face_") -> str:
    """Snapshots of different registries in Prometheus' text format 0.0.4.

    Counters and rate counts end in `_total`, rates are gauges ending in `_per_second`, gauges and
    histograms keep their name, which carries the unit.
    """
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.registry import Collector

    class Given(Collector):
        def collect(self) -> Iterator[Metric]:
            for snapshot in snapshots:
                yield from _families(snapshot, prefix)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Given())
    return generate_latest(registry).decode()


def _families(snapshot: Snapshot, prefix: str) -> Iterable[Metric]:
    """The library's own objects, one a name, in the order of the snapshot."""
    from prometheus_client import Metric

    found: dict[str, Metric] = {}

    def add(name: str, kind: str, row: dict[str, Any], *samples: tuple[str, float, str]) -> None:
        family = found.setdefault(name, Metric(prefix + name, row["help"], kind))
        for ending, value, edge in samples:
            labels = {**row["labels"], "le": edge} if edge else row["labels"]
            family.add_sample(f"{prefix}{name}{ending}", labels, value)

    for row in snapshot["counters"]:
        add(row["name"], "counter", row, ("_total", row["value"], ""))
    for row in snapshot["gauges"]:
        add(row["name"], "gauge", row, ("", row["value"], ""))
    for row in snapshot["rates"]:
        add(row["name"], "counter", row, ("_total", row["count"], ""))
        recent = {**row, "help": f"{row['help']}, a second, over the last five seconds"}
        add(f"{row['name']}_per_second", "gauge", recent, ("", row["recent_per_s"], ""))
    for row in snapshot["histograms"]:
        pairs = [("_bucket", seen, f"{edge}") for edge, seen in row["buckets"]]
        whole = ("_bucket", row["count"], "+Inf")
        ends = (("_count", row["count"], ""), ("_sum", row["sum"], ""))
        add(row["name"], "histogram", row, *pairs, whole, *ends)
    return found.values()
