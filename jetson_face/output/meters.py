"""Counts a run while it goes, and turns the counts into the report."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

from jetson_face.core.types import Report
from jetson_face.output.run_report import RunFacts, RunReport, SinkSummary, SourceSummary, StageTime
from jetson_face.util.metrics import Counter, Histogram, Metrics

ORDER = ("capture", "detect", "refine", "track", "align", "embed", "decide", "process")
"""Stages in the order of the data; others follow by name."""


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What a source says of itself at the moment of a report."""

    uri: str
    is_live: bool
    width: int
    height: int
    nominal_fps: float | None
    state: str
    faults: Mapping[str, int]
    last_error: str | None


class SourceMeter:
    """The counts of one source: `captured` from its own thread, `decided` from the recogniser's."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self.name = name
        self.dropped: dict[str, Counter] = {}
        self._metrics = metrics
        self._captures = metrics.rate("frames_captured", "Frames that the source gave", source=name)
        self._decisions = metrics.rate("frames_processed", "Frames with a decision", source=name)
        self._searches = metrics.rate(
            "frames_searched", "Frames searched for faces over their whole area", source=name
        )
        self._parts = metrics.counter(
            "frames_searched_partly", "Frames searched only where something moved", source=name
        )
        self._skips = metrics.counter(
            "searches_skipped", "Searches left out because nothing had moved", source=name
        )
        self._embedded = metrics.counter("faces_embedded", "Faces embedded", source=name)
        self._faces = metrics.counter("faces_seen", "Faces on decided frames", source=name)
        self._events = metrics.counter("events", "Decisions that changed", source=name)
        self._age = metrics.histogram(
            "frame_age_seconds", "From capture to decision, live sources", source=name
        )
        self._size = (0, 0)

    @property
    def captured_count(self) -> int:
        """Frames captured so far."""
        return self._captures.count

    @property
    def processed_count(self) -> int:
        """Frames decided so far."""
        return self._decisions.count

    def captured(self, now_ns: int) -> None:
        """The source gave a frame."""
        self._captures.tick(now_ns)

    def drop_total(self, reason: str, total: int) -> None:
        """Follow a count of drops that a channel keeps."""
        self._reason(reason).raise_to(total)

    def drop(self, reason: str) -> None:
        """A frame was dropped."""
        self._reason(reason).add()

    def decided(self, report: Report, now_ns: int, *, is_live: bool) -> None:
        """A frame became a report."""
        self._decisions.tick(now_ns)
        if report.searched:
            self._searches.tick(now_ns)
        self._parts.add(int(report.spared == "part"))
        self._skips.add(int(report.spared == "all"))
        self._embedded.add(report.embedded)
        self._faces.add(len(report.sightings))
        self._events.add(sum(sighting.changed for sighting in report.sightings))
        self._size = report.size
        if is_live:
            self._age.observe(max(0.0, (now_ns - report.captured_ns) / 1e9))

    def summary(self, facts: SourceFacts) -> SourceSummary:
        """The numbers so far. Rates of parts follow the decision rate: searches and embeddings
        are counted over the same frames, so few of them do not make a rate of nothing."""
        age = self._age.snapshot()
        processed, decision = self._decisions.count, self._decisions.overall()
        part = decision / processed if processed else 0.0
        width, height = self._size if self._size != (0, 0) else (facts.width, facts.height)
        return SourceSummary(
            name=self.name,
            uri=facts.uri,
            is_live=facts.is_live,
            state=facts.state,
            width=width,
            height=height,
            nominal_fps=facts.nominal_fps,
            captured=self._captures.count,
            processed=processed,
            dropped={k: c.value for k, c in sorted(self.dropped.items()) if c.value},
            faults=dict(facts.faults),
            last_error=facts.last_error,
            searched=self._searches.count,
            searched_partly=self._parts.value,
            searches_skipped=self._skips.value,
            embedded=self._embedded.value,
            faces=self._faces.value,
            events=self._events.value,
            capture_fps=self._captures.overall(),
            detection_fps=self._searches.count * part,
            recognition_fps=self._embedded.value * part,
            decision_fps=decision,
            age_p50_ms=1000 * age["p50"] if age["count"] else None,
            age_p95_ms=1000 * age["p95"] if age["count"] else None,
        )

    def _reason(self, reason: str) -> Counter:
        found = self.dropped.get(reason)
        if found is None:
            found = self._metrics.counter(
                "frames_dropped", "Frames that were not decided", source=self.name, reason=reason
            )
            self.dropped[reason] = found
        return found


@dataclass(slots=True)
class RunMeter:
    """The counts of a run. busy: nanoseconds of work by thread, for the efficiency."""

    metrics: Metrics
    started_wall: float
    sources: dict[str, SourceMeter] = field(default_factory=dict)
    written: dict[str, Counter] = field(default_factory=dict)
    _stages: dict[str, Histogram] = field(default_factory=dict)
    _busy: dict[str, int] = field(default_factory=dict)
    _first_ns: int | None = None
    _last_ns: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def source(self, name: str) -> SourceMeter:
        """The meter of a source, made on first use."""
        found = self.sources.get(name)
        if found is None:
            found = self.sources.setdefault(name, SourceMeter(self.metrics, name))
        return found

    def sink(self, name: str) -> Counter:
        """The count of what a sink wrote."""
        counter = self.metrics.counter("reports_written", "Reports that a sink wrote", sink=name)
        return self.written.setdefault(name, counter)

    def begin(self, now_ns: int) -> None:
        """Frames are asked for from now on; only the first call counts."""
        with self._lock:
            if self._first_ns is None:
                self._first_ns = self._last_ns = now_ns

    def reach(self, now_ns: int) -> None:
        """Something was finished now."""
        self._last_ns = max(self._last_ns, now_ns)

    def stage(self, name: str, ms: float) -> None:
        """A stage took so long for a frame."""
        found = self._stages.get(name)
        if found is None:
            found = self.metrics.histogram(
                "stage_seconds", "Time that a stage took for a frame", stage=name
            )
            self._stages[name] = found
        found.observe(ms / 1000)

    def work(self, thread: str, ns: int) -> None:
        """A thread worked so long; each thread counts under its own name."""
        self._busy[thread] = self._busy.get(thread, 0) + ns

    def report(
        self, facts: RunFacts, sources: Mapping[str, SourceFacts], sink_drops: Mapping[str, int]
    ) -> RunReport:
        """The report so far."""
        elapsed_ns = self._last_ns - (self._first_ns if self._first_ns is not None else 0)
        busiest, efficiency = self._efficiency(elapsed_ns)
        any_live = any(source.is_live for source in sources.values())
        return RunReport(
            started=datetime.fromtimestamp(self.started_wall, timezone.utc).isoformat(
                timespec="seconds"
            ),
            elapsed_s=elapsed_ns / 1e9,
            facts=facts,
            sources=tuple(self.source(name).summary(f) for name, f in sources.items()),
            stages=_stage_times(self._stages),
            sinks=tuple(
                SinkSummary(name, counter.value, sink_drops.get(name, 0))
                for name, counter in self.written.items()
            ),
            busiest=busiest,
            efficiency=None if any_live else efficiency,
        )

    def _efficiency(self, elapsed_ns: int) -> tuple[str | None, float | None]:
        busy = dict(self._busy)
        if not busy or elapsed_ns <= 0:
            return None, None
        busiest = max(busy, key=lambda name: busy[name])
        return busiest, min(1.0, busy[busiest] / elapsed_ns)


def _stage_times(stages: Mapping[str, Histogram]) -> tuple[StageTime, ...]:
    names = sorted(dict(stages), key=lambda n: (ORDER.index(n) if n in ORDER else len(ORDER), n))
    rows: list[StageTime] = []
    for name in names:
        found = stages[name].snapshot()
        if found["count"]:
            times_ms = (1000 * found[key] for key in ("mean", "p50", "p95", "p99"))
            rows.append(StageTime(name, found["count"], *times_ms))
    return tuple(rows)
