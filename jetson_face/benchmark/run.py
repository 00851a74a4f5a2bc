"""One pass over a clip: times by stage, rates, CPU, memory, and how right it was."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from jetson_face.benchmark.clip import Material
from jetson_face.benchmark.ground_truth import Accuracy, GroundTruth, Tally
from jetson_face.core.protocols import FrameProcessor
from jetson_face.core.types import Report
from jetson_face.util.machine import peak_memory_mb, reset_peak_memory

WARM_UP_FRAMES = 10


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One pass over a clip, flat out. service_ms: time each frame took; stages_ms: of the frames
    on which a stage ran; peak_mb: most resident memory of the process during the pass,
    without the clip's frames."""

    seconds: float
    cpu_seconds: float
    service_ms: tuple[float, ...]
    stages_ms: dict[str, list[float]]
    searched: int
    faces_embedded: int
    faces_seen: int
    peak_mb: float | None
    accuracy: Accuracy | None

    def figures(self) -> dict[str, float]:
        """Everything as named numbers; the unit is in the name. Rates per second, as in a run's
        report: detection = full searches, recognition = faces embedded, decision = frames decided.
        """
        frames, seconds = len(self.service_ms), max(self.seconds, 1e-9)
        found = {
            "detection_fps": self.searched / seconds,
            "recognition_fps": self.faces_embedded / seconds,
            "decision_fps": frames / seconds,
            "faces_per_frame": self.faces_seen / frames,
            "cpu_percent": 100 * self.cpu_seconds / seconds,
            "cpu_ms_per_frame": 1000 * self.cpu_seconds / frames,
            **spread_of("frame_ms", self.service_ms),
        }
        for stage, times in self.stages_ms.items():
            found |= spread_of(f"{stage}_ms", times)
            found[f"{stage}_ms_per_frame"] = sum(times) / frames
        if self.peak_mb is not None:
            found["peak_mb"] = self.peak_mb
        return found | accuracy_figures(self.accuracy)


def accuracy_figures(accuracy: Accuracy | None) -> dict[str, float]:
    """Shares in [0, 1]; without enrolled people there is no time to a name; nothing of None."""
    told = {} if accuracy is None else asdict(accuracy)
    return {
        name: float(value)
        for name, value in told.items()
        if name != "appearances" and value is not None
    }


def spread_of(name: str, values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 (nearest rank) of some values, named `name_p50` and so on."""
    ordered = sorted(values)
    return {
        f"{name}_p{q}": ordered[max(0, math.ceil(q / 100 * len(ordered)) - 1)]
        for q in (50, 95, 99)
        if ordered
    }


def run_clip(
    recognizer: FrameProcessor,
    material: Material,
    *,
    clock: Callable[[], float] = time.perf_counter,
    cpu_clock: Callable[[], float] = time.process_time,
) -> Run:
    """One pass over all frames, in order, as fast as they go.

    The comparison with the ground truth comes after the clock has stopped.
    """
    reset_peak_memory()
    reports: list[Report] = []
    service: list[float] = []
    cpu_before, before = cpu_clock(), clock()
    last = before
    for frame in material.frames():
        reports.append(recognizer.process(frame))
        now = clock()
        service.append(1000 * (now - last))
        last = now
    cpu_seconds = cpu_clock() - cpu_before
    stages: dict[str, list[float]] = {}
    for report in reports:
        for stage, ms in report.stages_ms.items():
            stages.setdefault(stage, []).append(ms)
    return Run(
        seconds=last - before,
        cpu_seconds=cpu_seconds,
        service_ms=tuple(service),
        stages_ms=stages,
        searched=sum(report.searched for report in reports),
        faces_embedded=sum(report.embedded for report in reports),
        faces_seen=sum(len(report.sightings) for report in reports),
        peak_mb=without_frames(peak_memory_mb(), material),
        accuracy=judged(((report, 0.0) for report in reports), material.ground_truth),
    )


def warm_up(recognizer: FrameProcessor, material: Material) -> None:
    """Run the first frames once: the first inference allocates, and wakes clocks up."""
    run_clip(
        recognizer, replace(material, images=material.images[:WARM_UP_FRAMES], ground_truth=None)
    )


def without_frames(peak_mb: float | None, material: Material) -> float | None:
    """A peak of memory less what the clip's own frames take."""
    return None if peak_mb is None else max(0.0, peak_mb - material.bytes / 2**20)


def judged(
    reports: Iterable[tuple[Report, float]], ground_truth: GroundTruth | None
) -> Accuracy | None:
    """How right reports were, each with its frame's age in seconds; None without ground truth."""
    if ground_truth is None:
        return None
    tally = Tally(ground_truth)
    for report, late_s in reports:
        tally.add(report, late_s=late_s)
    return tally.result()


@dataclass(frozen=True, slots=True)
class LiveEstimate:
    """What a camera of a given rate would see. ages_ms: of each decided frame, from its capture to
    its decision. dropped: frames that a newer one replaced before anybody took them."""

    decision_fps: float
    ages_ms: tuple[float, ...]
    dropped: int


def as_if_live(service_ms: Sequence[float], fps: float) -> LiveEstimate:
    """Play measured times against a camera with a one-frame slot in which the latest frame wins.

    The next free moment takes the newest frame there is, or waits for the next one; the clip
    starts over until as many frames were captured as there are times.
    """
    interval = 1000 / fps
    now, taken = 0.0, -1
    ages: list[float] = []
    dropped = 0
    for took in service_ms:
        newest = max(math.floor(now / interval + 1e-9), taken + 1)
        if newest >= len(service_ms):
            break
        dropped += newest - taken - 1
        captured = newest * interval
        now = max(now, captured) + took
        ages.append(now - captured)
        taken = newest
    span = max(now, (taken + 1) * interval)
    return LiveEstimate(1000 * len(ages) / span if ages else 0.0, tuple(ages), dropped)
