"""Results and recognisers for the benchmark's tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jetson_face.benchmark.clip import Material
from jetson_face.benchmark.result import BenchSetting, Point, Result, to_figures
from jetson_face.core.types import Frame, Report


def point(
    runs: Sequence[Mapping[str, float]],
    *,
    method: str = "pc",
    clip: str = "clip",
    size: int | None = None,
    every: int = 5,
) -> Point:
    setting = BenchSetting(method=method, clip=clip, size=size, every=every)
    figures = tuple(to_figures(run) for run in runs)
    return Point(setting=setting, frame_size=(640, 480), frames=10, runs=figures)


def rates(*values: float, name: str = "decision_fps") -> list[dict[str, float]]:
    return [{name: value} for value in values]


def result(*points: Point, **machine: object) -> Result:
    return Result(
        created="2026-01-01T00:00:00+00:00",
        machine=dict(machine),
        configs={"pc": {}},
        repeats=3,
        points=points,
    )


class Clock:
    """Time that passes only when it is told to; the CPU works a half of it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def cpu(self) -> float:
        return self.now / 2


class FakeRecognizer:
    """Takes 10 ms for a frame, 50 ms more when it searches, one frame in `every`."""

    def __init__(self, clock: Clock, every: int = 5) -> None:
        self.clock = clock
        self.every = every

    def process(self, frame: Frame) -> Report:
        searched = frame.seq % self.every == 0
        stages = {"track": 10.0, **({"detect": 50.0} if searched else {})}
        self.clock.now += sum(stages.values()) / 1000
        size = (frame.image.shape[1], frame.image.shape[0])
        return Report(
            frame.source, frame.seq, frame.captured_ns, 0.0, size, (), stages, searched, embedded=2
        )


def material(frames: int = 20, *, name: str = "clip", fps: float = 25.0) -> Material:
    return Material(name, [np.zeros((48, 64, 3), np.uint8) for _ in range(frames)], fps)
