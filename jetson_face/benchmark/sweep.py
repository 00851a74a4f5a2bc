"""Goes through all settings, again and again in turns, so that slow drifts hit all alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from jetson_face.benchmark.clip import Material
from jetson_face.benchmark.result import BenchSetting, Figures, Point, to_figures
from jetson_face.benchmark.run import run_clip, warm_up
from jetson_face.core.protocols import FrameProcessor


class ReadyMethod(Protocol):
    """One method at one image size, ready to run."""

    def recognizer(self, *, every: int | None = None) -> FrameProcessor: ...


OpenSubject = Callable[[str, int | None, Material], AbstractContextManager[ReadyMethod]]
"""Method, size and clip to the networks, with the clip's people enrolled."""
SweepProgress = Callable[[int, int, object], None]


class PassResult(Protocol):
    """What one pass found out."""

    def figures(self) -> dict[str, float]: ...


Pass = Callable[[FrameProcessor, Material], PassResult]


@dataclass(frozen=True, slots=True)
class Grid:
    """Everything that is varied; each setting is measured `repeats` times.

    every: sampling rates by method, since each has one of its own.
    """

    methods: tuple[str, ...]
    materials: tuple[Material, ...]
    sizes: tuple[int | None, ...]
    every: Mapping[str, tuple[int, ...]]
    repeats: int = 3

    def settings(self) -> list[BenchSetting]:
        """Every combination, in the order in which a round measures them."""
        return [
            BenchSetting(method=method, clip=material.name, size=size, every=every)
            for method in self.methods
            for material in self.materials
            for size in self.sizes
            for every in self.every[method]
        ]

    def notes(self) -> list[str]:
        """What a reader of the figures must know."""
        notes = []
        if any(m.ground_truth is not None and m.ground_truth.photos_shared for m in self.materials):
            notes.append(
                "the photos that are enrolled are also the ones shown: accuracy is flattered; make "
                "a clip from a folder of people (--people, or `jetson-face clips make`) to measure "
                "it"
            )
        shortest = min(max(material.size) for material in self.materials)
        large = [size for size in self.sizes if size is not None and size >= shortest]
        if large:
            notes.append(
                f"size {large} is not below every clip's longest side: the full frame there"
            )
        return notes


def sweep(
    grid: Grid,
    open_subject: OpenSubject,
    *,
    progress: SweepProgress = lambda done, total, item: None,
    one_pass: Pass = run_clip,
) -> tuple[Point, ...]:
    """Measure every setting of the grid.

    A round measures each setting once; rounds follow each other (A B C A B C), so that a machine
    that grows warm or busy does so for all of them. The networks of one method and size live only
    while they are measured, so that the peak of memory is theirs. The first frames are run before
    the clock starts.
    """
    runs: dict[BenchSetting, list[Figures]] = {setting: [] for setting in grid.settings()}
    total = grid.repeats * len(runs)
    for _ in range(grid.repeats):
        for method in grid.methods:
            for material in grid.materials:
                for size in grid.sizes:
                    with open_subject(method, size, material) as subject:
                        warm_up(subject.recognizer(every=1), material)
                        for every in grid.every[method]:
                            setting = BenchSetting(
                                method=method, clip=material.name, size=size, every=every
                            )
                            progress(sum(map(len, runs.values())), total, setting)
                            run = one_pass(subject.recognizer(every=every), material)
                            runs[setting].append(_figures(run, material))
    progress(total, total, "done")
    by_name = {material.name: material for material in grid.materials}
    return tuple(
        Point(
            setting=setting,
            frame_size=by_name[setting.clip].size,
            frames=len(by_name[setting.clip].images),
            runs=tuple(found),
        )
        for setting, found in runs.items()
    )


def _figures(run: PassResult, material: Material) -> Figures:
    figures = run.figures()
    if material.decode_fps is not None:
        figures.setdefault("capture_fps", material.decode_fps)
    return to_figures(figures)
