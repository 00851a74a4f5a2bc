"""Measures settings on a clip; networks stay loaded while only the sampling rate changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

from jetson_face.benchmark.clip import Material
from jetson_face.benchmark.run import as_if_live, run_clip, spread_of, warm_up
from jetson_face.benchmark.subject import (
    BenchSubject,
    every_search,
    open_subject,
    with_settings,
)
from jetson_face.benchmark.tune.search import Choice, TuneGoal, TuneTrial
from jetson_face.config import Config
from jetson_face.core.errors import UsageError

HEADROOM = 1.15
"""Other scenes are busier than the one that was measured, and boards grow warm."""


def check_material(material: Material, *, labelled: bool) -> None:
    """Raises UsageError where no rate can be found. labelled: people must be enrolled in it."""
    if material.stills:
        raise UsageError(
            f"{material.name}: each picture of a folder is searched, so there is no sampling rate "
            "to find: name a video or a camera, or sequence:FOLDER for the frames of a video"
        )
    if labelled and (material.ground_truth is None or not material.ground_truth.enrol):
        raise UsageError("--time-to-name needs a labelled clip: `jetson-face clips make`")


def goal_for(goal: TuneGoal, material: Material) -> TuneGoal:
    """The goal as frames of that rate allow it. Raises UsageError for more than the clip's rate."""
    if goal.decision_fps_min is not None and goal.decision_fps_min > material.fps:
        raise UsageError(
            f"--fps {goal.decision_fps_min:g}: {material.name} gives {material.fps:g} frames/s, no "
            "more can be decided"
        )
    # A face cannot be searched for before there is a frame of it.
    return replace(goal, wait_max_s=max(goal.wait_max_s, 1 / material.fps))


class ClipBench:
    """Runs one clip at one setting after another. progress: called with settings begun (twice)
    and the setting in hand."""

    def __init__(
        self,
        config: Config,
        material: Material,
        progress: Callable[[int, int, object], None] = lambda done, total, item: None,
    ) -> None:
        self._config, self._material, self._progress = config, material, progress
        self._networks = ExitStack()
        self._open: tuple[tuple[int | None, int], BenchSubject] | None = None
        self._done = 0

    def __enter__(self) -> ClipBench:
        return self

    def __exit__(self, *error: object) -> None:
        self._networks.close()

    def measure(self, choice: Choice) -> TuneTrial:
        """Run the clip and play the times against a camera of its rate, with some headroom."""
        self._done += 1
        self._progress(self._done, self._done, choice)
        run = run_clip(self._subject(choice).recognizer(every=choice.every), self._material)
        seen = as_if_live([HEADROOM * ms for ms in run.service_ms], self._material.fps)
        cpu_s = HEADROOM * run.cpu_seconds / len(run.service_ms)
        accuracy = run.accuracy
        return TuneTrial(
            choice,
            decision_fps=seen.decision_fps,
            age_ms=spread_of("age", seen.ages_ms)["age_p95"],
            cpu=cpu_s * seen.decision_fps / len(os.sched_getaffinity(0)),
            faces=run.faces_seen / len(run.service_ms) if accuracy is None else accuracy.found,
            time_to_name_s=None if accuracy is None else accuracy.time_to_name_s,
            named=None if accuracy is None else accuracy.named,
        )

    def _subject(self, choice: Choice) -> BenchSubject:
        detail = choice.size, choice.min_face_px
        if self._open is not None and self._open[0] == detail:
            return self._open[1]
        matcher = None if self._open is None else self._open[1].matcher
        self._networks.close()
        config = every_search(self._config)
        config = with_settings(config, size=choice.size, min_face=choice.min_face_px)
        opening = open_subject(config, self._material.ground_truth, matcher=matcher)
        subject = self._networks.enter_context(opening)
        warm_up(subject.recognizer(every=1), self._material)
        self._open = detail, subject
        return subject
