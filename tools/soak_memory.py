"""Memory after many frames minus memory after the first thousand, through the real live loop.

    python tools/soak_memory.py [--frames 100000] [-c CONFIG] [--set KEY=VALUE] [--json FILE]

The camera is synthetic (`test://`: faces that move, 320x240); networks, tracks, gallery, channels
and sinks (visits, JSONL) are the real ones. What is printed is resident memory.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from jetson_face.benchmark.clips.builtin import builtin_clip, portrait_path  # noqa: E402
from jetson_face.benchmark.clips.make import ClipPlan  # noqa: E402
from jetson_face.benchmark.ground_truth import GroundTruth  # noqa: E402
from jetson_face.benchmark.subject import open_subject  # noqa: E402
from jetson_face.capture.opening import open_source  # noqa: E402
from jetson_face.config import Config, load_config  # noqa: E402
from jetson_face.core.protocols import FrameProcessor  # noqa: E402
from jetson_face.core.types import Frame, Report  # noqa: E402
from jetson_face.events.jsonl import JsonlSink  # noqa: E402
from jetson_face.live import LivePipeline  # noqa: E402
from jetson_face.output.console import VisitSink  # noqa: E402
from jetson_face.output.sink import Sink  # noqa: E402
from jetson_face.util.files import write_file  # noqa: E402
from jetson_face.util.images import write_picture  # noqa: E402
from jetson_face.util.machine import memory_mb  # noqa: E402

FIRST = 1000


class Watched:
    """A recogniser that writes down the memory as frames go through it."""

    def __init__(self, inner: FrameProcessor, every: int) -> None:
        self._inner, self._every = inner, every
        self._done, self._faces, self._start = 0, 0, time.monotonic()
        self.seen: list[tuple[int, float]] = []

    def process(self, frame: Frame) -> Report:
        """As the recogniser's."""
        report = self._inner.process(frame)
        self._done += 1
        self._faces += len(report.sightings)
        if self._done == FIRST or self._done % self._every == 0:
            gc.collect()
            self.seen.append((self._done, memory_mb() or 0.0))
            fps = self._done / (time.monotonic() - self._start)
            print(
                f"{self._done} frames: {self.seen[-1][1]:.1f} MiB, {fps:.0f}/s, "
                f"{self._faces / self._done:.1f} faces a frame",
                flush=True,
            )
        return report


def soak(config: Config, frames: int, folder: Path) -> list[tuple[int, float]]:
    """(frames so far, MiB) along the way."""
    faces = folder / "faces"
    faces.mkdir()
    for role in builtin_clip(ClipPlan(at_once=2)).roles:
        write_picture(faces / f"{role.name or 'stranger'}.png", role.cutouts[0].image)
    uri = f"test://?width=320&height=240&frames={frames}&live=0&faces={faces}"
    known = GroundTruth(
        size=(320, 240), fps=25, enrol={"Grace Hopper": (str(portrait_path("hopper")),)}, frames=()
    )
    with ExitStack() as stack:
        subject = stack.enter_context(open_subject(config, known))
        watched = Watched(subject.recognizer(), max(FIRST, frames // 20))
        source = open_source(uri, "soak")
        sinks: list[Sink] = [VisitSink(), JsonlSink(folder / "events.jsonl", append=False)]
        LivePipeline([source], lambda info: watched, sinks).run()
    return watched.seen


def main() -> int:
    """Print the growth."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("-c", "--config", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seen = soak(load_config(args.config, args.overrides), args.frames, Path(folder))
    first = next(mb for done, mb in seen if done >= FIRST)
    last = seen[-1]
    print(
        f"after {last[0]} frames minus after {FIRST}: {last[1] - first:+.1f} MiB "
        f"(load {os.getloadavg()[0]:.1f})"
    )
    if args.json is not None:
        write_file(args.json, json.dumps({"mb": seen, "growth_mb": last[1] - first}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
