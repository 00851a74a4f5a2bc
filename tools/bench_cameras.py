"""Several cameras at once through the live loop: decided frames a second in all, and how old.

    python tools/bench_cameras.py [--cameras 4] [--size 1280x720] [--seconds 20] [-c CONFIG]

Each camera is a made clip (the product's own clip maker, another seed for each) that is played from
its file in real time, decoding included; in each camera's slot the newest frame wins. The age is
from the moment that a frame is due to its decision; the oldest camera's is printed, too. With
--rounds the same is done again, and medians are printed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from jetson_face.benchmark.clips.builtin import builtin_clip  # noqa: E402
from jetson_face.benchmark.clips.make import ClipPlan, ground_truth_path, record  # noqa: E402
from jetson_face.benchmark.ground_truth import GroundTruth, read_ground_truth  # noqa: E402
from jetson_face.benchmark.subject import open_subject  # noqa: E402
from jetson_face.capture.opening import open_source  # noqa: E402
from jetson_face.capture.source import EndOfSource, Source, SourceHealth  # noqa: E402
from jetson_face.config import Config, load_config  # noqa: E402
from jetson_face.core.types import Frame  # noqa: E402
from jetson_face.live import LivePipeline, LivePolicy  # noqa: E402
from jetson_face.util.machine import machine_facts  # noqa: E402

_QUIET_S = 1e6


class FileAsCamera:
    """A video file that is played in real time, over and over, as a camera would give it."""

    def __init__(
        self, path: Path, name: str, *, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._path, self._clock_ns = path, clock_ns
        self._inner: Source = open_source(str(path), name)
        self.info = replace(self._inner.info, is_live=True)
        self._step_ns = round(1e9 / (self.info.fps or 25.0))
        self._closed = threading.Event()
        self._next_ns: int | None = None
        self._seq = 0

    @property
    def health(self) -> SourceHealth:
        """The file's."""
        return self._inner.health

    def read(self, timeout_s: float) -> Frame:
        """The next frame, when its time has come. Raises EndOfSource, TimeoutError."""
        due = self._clock_ns() if self._next_ns is None else self._next_ns
        wait = (due - self._clock_ns()) / 1e9
        if wait > 0:
            self._closed.wait(min(wait, timeout_s))
        if self._closed.is_set():
            raise EndOfSource(self.info.name)
        if wait > timeout_s:
            raise TimeoutError(self.info.name)
        try:
            image = self._inner.read(timeout_s).image
        except EndOfSource:
            self._inner.close()
            self._inner = open_source(str(self._path), self.info.name)
            image = self._inner.read(timeout_s).image
        frame = Frame(image, self._seq, due, 0.0, self.info.name)
        self._seq, self._next_ns = self._seq + 1, due + self._step_ns
        return frame

    def close(self) -> None:
        """End the waiting."""
        self._closed.set()
        self._inner.close()


@dataclass(frozen=True)
class Made:
    """The clips of all cameras, and who is enrolled."""

    files: tuple[Path, ...]
    ground_truth: GroundTruth


def make_clips(folder: Path, args: argparse.Namespace) -> Made:
    """A clip for each camera. Raises as `builtin_clip`."""
    width, height = map(int, args.size.split("x"))
    files = []
    for number in range(args.cameras):
        plan = ClipPlan(
            (width, height), round(args.fps * 10), args.fps, args.faces, seed=number + 1
        )
        path = folder / f"camera{number}.mp4"
        record(builtin_clip(plan), path)
        files.append(path)
    return Made(tuple(files), read_ground_truth(ground_truth_path(files[0])))


def measure(made: Made, config: Config, seconds: float) -> dict[str, Any]:
    """One run of all cameras."""
    policy = LivePolicy(log_every_s=_QUIET_S, together=config.sampling.together)
    with open_subject(config, made.ground_truth) as subject:
        cameras = [FileAsCamera(path, path.stem) for path in made.files]
        pipeline = LivePipeline(cameras, lambda info: subject.recognizer(), policy=policy)
        ends = time.monotonic() + seconds
        cpu = time.process_time()

        def tick() -> None:
            if time.monotonic() >= ends:
                pipeline.stop()

        report = pipeline.run(tick)
        cpu = time.process_time() - cpu
    ages = {s.name: (s.age_p50_ms or 0.0, s.age_p95_ms or 0.0) for s in report.sources}
    decided = sum(s.processed for s in report.sources)
    captured = sum(s.captured for s in report.sources)
    return {
        "decided_fps": decided / report.elapsed_s,
        "captured_fps": captured / report.elapsed_s,
        "replaced": 1 - decided / max(captured, 1),
        "oldest_age_p50_ms": max(p50 for p50, _ in ages.values()),
        "oldest_age_p95_ms": max(p95 for _, p95 in ages.values()),
        "slowest_camera_fps": min(s.decision_fps for s in report.sources),
        "cpu_ms_per_decision": 1000 * cpu / max(decided, 1),
        "faces_per_decision": sum(s.faces for s in report.sources) / max(decided, 1),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--fps", type=float, default=25.0)
    parser.add_argument("--faces", type=int, default=3, help="in view together, of each camera")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("-c", "--config", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    config, facts = load_config(args.config, args.overrides), machine_facts()
    with tempfile.TemporaryDirectory(prefix="jetson-face-cameras-") as folder:
        made = make_clips(Path(folder), args)
        rounds = [measure(made, config, args.seconds) for _ in range(args.rounds)]
    figures = {name: round(median(one[name] for one in rounds), 2) for name in rounds[0]}
    print(
        f"{args.cameras} cameras {args.size}, {args.fps:g} frames/s each, {args.faces} faces, "
        f"N = {config.sampling.interval}; {facts['cores_usable']} cores, load {facts['load_1min']}"
    )
    print("\n".join(f"{name:<22}{value:10.2f}" for name, value in figures.items()))
    if args.json is not None:
        args.json.write_text(json.dumps({"machine": facts, "rounds": rounds}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
