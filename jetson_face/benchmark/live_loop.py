"""One pass through the real live loop, threads and channels included."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from jetson_face.benchmark.clip import Material
from jetson_face.benchmark.run import accuracy_figures, judged, spread_of, without_frames
from jetson_face.capture.opening import open_source
from jetson_face.capture.source import EndOfSource, Source, SourceHealth, SourceInfo
from jetson_face.core.protocols import FrameProcessor
from jetson_face.core.types import Frame, Report
from jetson_face.live import LivePipeline, LivePolicy
from jetson_face.output.run_report import RunReport
from jetson_face.util.machine import peak_memory_mb, reset_peak_memory

_FRAME_NS = 1_000_000_000
_QUIET_S = 1e6
"""A benchmark prints its own lines."""


class ClipCamera:
    """Plays a clip from memory: as a camera of its rate (live), or as fast as it is read."""

    def __init__(
        self,
        material: Material,
        *,
        live: bool,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        width, height = material.size
        self.info = SourceInfo(
            material.name,
            "memory",
            live,
            width,
            height,
            material.fps,
            len(material.images),
            stills=material.stills,
        )
        self._material = material
        self._clock_ns = clock_ns
        self._closed = threading.Event()
        self._next = 0
        self._start_ns: int | None = None

    @property
    def health(self) -> SourceHealth:
        """A clip in memory has no faults."""
        return SourceHealth("ended" if self._closed.is_set() else "running", {})

    def read(self, timeout_s: float) -> Frame:
        """The next frame, when its time has come. Raises EndOfSource, TimeoutError."""
        if self._closed.is_set() or self._next >= len(self._material.images):
            raise EndOfSource(self.info.name)
        if self._start_ns is None:
            self._start_ns = self._clock_ns()
        due = round(self._next * _FRAME_NS / self._material.fps)
        if self.info.is_live:
            wait = (self._start_ns + due - self._clock_ns()) / 1e9
            if wait > 0:
                self._closed.wait(min(wait, timeout_s))
            if wait > timeout_s:
                raise TimeoutError(self.info.name)
        # A live frame is as old as its exposure, not as its hand-over.
        captured = self._start_ns + due if self.info.is_live else due
        seq, self._next = self._next, self._next + 1
        return Frame(self._material.images[seq], seq, captured, 0.0, self.info.name)

    def close(self) -> None:
        """End the waiting."""
        self._closed.set()


@dataclass(slots=True)
class Collector:
    """A sink that keeps the reports, with the time at which each arrived."""

    name: str = "collector"
    wants_frame: bool = False
    clock_ns: Callable[[], int] = time.monotonic_ns
    reports: list[tuple[Report, int]] = field(default_factory=list)

    def open(self) -> None:
        """Nothing to open."""

    def write(self, report: Report, frame: Frame | None) -> None:
        """Keep it."""
        self.reports.append((report, self.clock_ns()))

    def close(self) -> None:
        """Nothing to close."""


@dataclass(frozen=True, slots=True, eq=False)
class LoopRun:
    """A pass through the live loop: its report, and what the collector saw."""

    report: RunReport
    collected: tuple[tuple[Report, int], ...]
    material: Material
    cpu_seconds: float
    peak_mb: float | None

    def figures(self) -> dict[str, float]:
        """Named numbers, as `Run.figures`, with the capture rate and, where they exist, frame ages,
        the share of frames dropped, and the efficiency: measured rate over 1 / busiest thread's
        time per frame."""
        source = self.report.sources[0]
        seconds = max(self.report.elapsed_s, 1e-9)
        found = {
            "capture_fps": source.captured / seconds,
            "detection_fps": source.searched / seconds,
            "recognition_fps": source.embedded / seconds,
            "decision_fps": source.processed / seconds,
            "cpu_percent": 100 * self.cpu_seconds / seconds,
            "cpu_ms_per_frame": 1000 * self.cpu_seconds / max(source.processed, 1),
            "dropped": 1 - source.processed / max(source.captured, 1),
        }
        for stage in self.report.stages:
            name = "frame" if stage.name == "process" else stage.name
            times = {"p50": stage.p50_ms, "p95": stage.p95_ms, "p99": stage.p99_ms}
            found |= {f"{name}_ms_{q}": ms for q, ms in times.items()}
            found[f"{name}_ms_per_frame"] = stage.mean_ms * stage.count / max(source.processed, 1)
        if self.report.efficiency is not None:
            found["efficiency"] = self.report.efficiency
        if source.is_live:
            found |= spread_of("age_ms", [self._age_ms(*one) for one in self.collected])
        if self.peak_mb is not None:
            found["peak_mb"] = self.peak_mb
        return found | self._accuracy()

    def _age_ms(self, report: Report, arrived_ns: int) -> float:
        return (arrived_ns - report.captured_ns) / 1e6

    def _accuracy(self) -> dict[str, float]:
        live = self.report.sources[0].is_live
        timed = (
            (report, self._age_ms(report, arrived_ns) / 1000 if live else 0.0)
            for report, arrived_ns in self.collected
        )
        return accuracy_figures(judged(timed, self.material.ground_truth))


def run_loop(recognizer: FrameProcessor, material: Material, *, live: bool) -> LoopRun:
    """One pass through threads and channels.

    live: frames come at the clip's rate and the newest wins; otherwise the clip's own file is
    decoded (or the memory read, where it has none) as fast as it is taken, and nothing is dropped.
    """
    if not live and material.path is not None:
        source: Source = open_source(str(material.path), material.name)
    else:
        source = ClipCamera(material, live=live)
    collector = Collector()
    policy = LivePolicy(frames=len(material.images), log_every_s=_QUIET_S)
    pipeline = LivePipeline([source], lambda info: recognizer, [collector], policy=policy)
    reset_peak_memory()
    cpu_before = time.process_time()
    report = pipeline.run()
    return LoopRun(
        report=report,
        collected=tuple(collector.reports),
        material=material,
        cpu_seconds=time.process_time() - cpu_before,
        peak_mb=without_frames(peak_memory_mb(), material),
    )
