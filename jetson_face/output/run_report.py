"""The frame-rate / sampling-rate report of a run: numbers, tables for people, JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from jetson_face.util.redact import clean, redact_values

SCHEMA = "jetson-face/run-report/1"


@dataclass(frozen=True, slots=True)
class StageTime:
    """Milliseconds that a stage took, over the frames it ran on."""

    name: str
    count: int
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What was set, for the report. sampling: one frame in so many is searched. search_max_side:
    pixels of the longer side that detection works on, None for the full size."""

    sampling: int = 1
    search_max_side: int | None = None
    method: str = ""
    more: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SourceSummary:
    """One source. Rates are per second and never merged: capture = frames the source gave,
    detection = full searches, recognition = faces embedded, decision = frames with a decision.

    captured = processed + the sum of dropped. events: decisions, and changes of them. faults:
    survived, by name. nominal_fps: what the source says of itself. age: milliseconds from capture
    to decision, live sources only. searched_partly, searches_skipped: searches that were due and
    were of what moved only, or left out since nothing had.
    """

    name: str
    uri: str
    is_live: bool
    state: str
    width: int
    height: int
    nominal_fps: float | None
    captured: int
    processed: int
    dropped: Mapping[str, int]
    faults: Mapping[str, int]
    last_error: str | None
    searched: int
    searched_partly: int
    searches_skipped: int
    embedded: int
    faces: int
    events: int
    capture_fps: float
    detection_fps: float
    recognition_fps: float
    decision_fps: float
    age_p50_ms: float | None
    age_p95_ms: float | None


@dataclass(frozen=True, slots=True)
class SinkSummary:
    """One sink: reports written, and dropped because it was slow."""

    name: str
    written: int
    dropped: int


@dataclass(frozen=True, slots=True)
class RunReport:
    """The whole run. started: ISO 8601 UTC. elapsed_s: from the first frame asked for to the last
    one decided. busiest: the thread that worked longest; efficiency: its work over the elapsed
    time, [0, 1], None with live sources, which wait for their camera.
    """

    started: str
    elapsed_s: float
    facts: RunFacts
    sources: tuple[SourceSummary, ...]
    stages: tuple[StageTime, ...]
    sinks: tuple[SinkSummary, ...]
    busiest: str | None
    efficiency: float | None

    @property
    def processed(self) -> int:
        """Frames decided, of all sources."""
        return sum(source.processed for source in self.sources)

    @property
    def captured(self) -> int:
        """Frames captured, of all sources."""
        return sum(source.captured for source in self.sources)

    def to_json(self) -> dict[str, Any]:
        """Plain data with the key `schema` first; no text in it shows a secret."""
        return {"schema": SCHEMA, **redact_values(_rounded(asdict(self)))}

    def to_text(self) -> str:
        """Aligned tables for people."""
        blocks = [_head(self), _rates(self.sources), _frames(self.sources), _stage_table(self)]
        blocks.append(_troubles(self))
        return "\n\n".join(block for block in blocks if block) + "\n"


def log_line(before: RunReport | None, now: RunReport) -> str:
    """One line about the time between two reports (from the start where there is none before)."""
    parts = []
    for index, source in enumerate(now.sources):
        old = before.sources[index] if before is not None else None
        span = now.elapsed_s - (before.elapsed_s if before is not None else 0.0)
        parts.append(_source_line(old, source, span))
    return f"sampling={now.facts.sampling} " + " | ".join(parts)


def _source_line(old: SourceSummary | None, now: SourceSummary, span_s: float) -> str:
    def rate(key: str) -> str:
        grown = getattr(now, key) - (getattr(old, key) if old is not None else 0)
        return f"{grown / span_s:.1f}" if span_s > 0 else "0.0"

    line = (
        f"source={now.name} state={now.state} size={now.width}x{now.height} "
        f"capture={rate('captured')}/s detection={rate('searched')}/s "
        f"recognition={rate('embedded')}/s decision={rate('processed')}/s "
        f"frames={now.processed}/{now.captured} dropped={_counts(now.dropped)} "
        f"faces={rate('faces')}/s"
    )
    if now.searched_partly or now.searches_skipped:
        line += f" partly={rate('searched_partly')}/s skipped={rate('searches_skipped')}/s"
    if now.age_p50_ms is not None and now.age_p95_ms is not None:
        line += f" age_ms={now.age_p50_ms:.0f}/{now.age_p95_ms:.0f}"
    return f"{line} faults={_counts(now.faults)}" if now.faults else line


def _searches(source: SourceSummary) -> str:
    spared = {"partly": source.searched_partly, "skipped": source.searches_skipped}
    return ",".join([str(source.searched), *(f"{key}:{n}" for key, n in spared.items() if n)])


def _counts(counts: Mapping[str, int]) -> str:
    return ",".join(f"{key}:{n}" for key, n in sorted(counts.items()) if n) or "0"


def _rounded(value: Any) -> Any:
    """Floats to four places: more is noise, and the file stays readable."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return value


def _head(report: RunReport) -> str:
    facts = report.facts
    side = f"{facts.search_max_side} px" if facts.search_max_side else "full size"
    rows = [
        ("started", report.started),
        ("elapsed", f"{report.elapsed_s:.2f} s"),
        ("sampling rate", f"1 frame in {facts.sampling} is searched, at {side}"),
        *([("method", facts.method)] if facts.method else []),
        *facts.more.items(),
    ]
    if report.efficiency is not None:
        rows.append(("efficiency", f"{report.efficiency:.2f} (busiest: {report.busiest})"))
    wide = max(len(key) for key, _ in rows)
    return "\n".join(f"{key:<{wide}}  {value}" for key, value in rows)


def _rates(sources: Sequence[SourceSummary]) -> str:
    head = ("source", "image", "capture/s", "detection/s", "recognition/s", "decision/s", "age ms")
    rows = []
    for s in sources:
        no_age = s.age_p50_ms is None or s.age_p95_ms is None
        age = "-" if no_age else f"{s.age_p50_ms:.0f} (p95 {s.age_p95_ms:.0f})"
        rates = (s.capture_fps, s.detection_fps, s.recognition_fps, s.decision_fps)
        rows.append((s.name, f"{s.width}x{s.height}", *(f"{rate:.1f}" for rate in rates), age))
    return table(head, rows)


def _frames(sources: Sequence[SourceSummary]) -> str:
    head = (
        "source",
        "captured",
        "processed",
        "dropped",
        "searched",
        "faces",
        "embedded",
        "decisions",
    )
    rows = [
        (s.name, str(s.captured), str(s.processed), _counts(s.dropped), _searches(s),
         str(s.faces), str(s.embedded), str(s.events))
        for s in sources
    ]  # fmt: skip
    return table(head, rows)


def _stage_table(report: RunReport) -> str:
    head = ("stage", "runs", "mean ms", "p50 ms", "p95 ms", "p99 ms")
    rows = [
        (s.name, str(s.count), *(f"{ms:.2f}" for ms in (s.mean_ms, s.p50_ms, s.p95_ms, s.p99_ms)))
        for s in report.stages
    ]
    return table(head, rows) if rows else ""


def _troubles(report: RunReport) -> str:
    lines = []
    for s in report.sources:
        if s.faults:
            lines.append(
                f"{s.name}: survived {_counts(s.faults)}; last: {clean(s.last_error or '-')}"
            )
        elif s.last_error:
            lines.append(f"{s.name}: {clean(s.last_error)}")
    lines += [f"{s.name}: dropped {s.dropped} reports" for s in report.sinks if s.dropped]
    return "\n".join(lines)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text columns, the first to the left and the others to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
