"""What `sampling.motion` saves and loses: clips with and without it, in turns.

    python tools/bench_motion.py [--clip FILE ...] [--sizes 1920x1080,640x480] [--seconds 20]
                                 [--rounds 2] [-c CONFIG] [--set KEY=VALUE] [--json FILE]

Without --clip: an empty room for each size, with a sensor's noise, in H.264. Times are the
recogniser's, a frame, without decoding, medians over the rounds; with ground truth beside a clip
(`jetson-face clips make`) also who is found and named, and how soon.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from av_writer import AvWriter  # noqa: E402

from jetson_face.benchmark.clips.make import ground_truth_path  # noqa: E402
from jetson_face.benchmark.clips.scene import ClipScene, background  # noqa: E402
from jetson_face.benchmark.ground_truth import Tally, read_ground_truth  # noqa: E402
from jetson_face.benchmark.subject import BenchSubject, open_subject  # noqa: E402
from jetson_face.capture.opening import open_source  # noqa: E402
from jetson_face.capture.source import EndOfSource  # noqa: E402
from jetson_face.config import load_config  # noqa: E402
from jetson_face.core.types import Report  # noqa: E402

NOISE = 4.0
"""Grey levels: a small sensor indoors."""


def empty_room(path: Path, size: tuple[int, int], seconds: float) -> Path:
    """A still room in which nobody is."""
    scene = ClipScene((), background(size, np.random.default_rng(1)), noise=NOISE, seed=1)
    video = AvWriter(path, bit_rate=2 * size[0] * size[1])
    for image, _ in scene.frames(round(25 * seconds)):
        video.write(image)
    video.release()
    return path


def one_pass(subject: BenchSubject, clip: Path) -> dict[str, float]:
    """All frames of a clip: times, searches, faces, and how right it was."""
    recognizer, reports = subject.recognizer(), list[Report]()
    source = open_source(str(clip), "clip")
    cpu = clock = 0
    while True:
        try:
            frame = source.read(30)
        except EndOfSource:
            break
        before = time.process_time_ns(), time.perf_counter_ns()
        reports.append(recognizer.process(frame))
        cpu += time.process_time_ns() - before[0]
        clock += time.perf_counter_ns() - before[1]
    source.close()
    frames = len(reports)
    kinds = Counter(r.spared or "whole" for r in reports if r.searched or r.spared)
    found: dict[str, float] = {
        "cpu_ms": cpu / 1e6 / frames,
        "clock_ms": clock / 1e6 / frames,
        "whole": kinds["whole"],
        "part": kinds["part"],
        "skipped": kinds["all"],
        "faces": sum(len(r.sightings) for r in reports) / frames,
        "decided": sum(s.state != "pending" for r in reports for s in r.sightings) / frames,
        "look_ms": median([r.stages_ms["motion"] for r in reports if r.spared] or [0.0]),
    }
    labels = ground_truth_path(clip)
    if labels.exists():
        tally = Tally(read_ground_truth(labels))
        for report in reports:
            tally.add(report)
        right = tally.result()
        found |= {"found": right.found, "named": right.named, "false": right.false_names}
        found["to_name_s"] = right.time_to_name_s or 0.0
        found["never"] = right.never_named
    return found


def measured(clip: Path, config: Path | None, settings: list[str], rounds: int) -> dict[str, Any]:
    """Medians without and with motion, taking turns."""
    labels = ground_truth_path(clip)
    truth = read_ground_truth(labels) if labels.exists() else None
    passes: dict[str, list[dict[str, float]]] = {"off": [], "on": []}
    for _ in range(rounds):
        for name, each in passes.items():
            asked = load_config(config, [*settings, f"sampling.motion={name == 'on'}"])
            with open_subject(asked, truth) as subject:
                each.append(one_pass(subject, clip))
    return {
        name: {key: median(p[key] for p in each) for key in each[0]}
        for name, each in passes.items()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clip", type=Path, action="append", default=[])
    parser.add_argument("--sizes", default="1920x1080,640x480")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("-c", "--config", type=Path)
    parser.add_argument("--set", dest="settings", action="append", default=[])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        clips = list(args.clip)
        for size in [] if clips else args.sizes.split(","):
            width, height = map(int, size.split("x"))
            clips.append(
                empty_room(Path(folder) / f"empty_{size}.mp4", (width, height), args.seconds)
            )
        for clip in clips:
            rows[clip.stem] = row = measured(clip, args.config, args.settings, args.rounds)
            for name, found in row.items():
                figures = " ".join(f"{key}={value:.4g}" for key, value in found.items())
                print(f"{clip.stem} motion={name}: {figures}", flush=True)
            saved = 1 - row["on"]["cpu_ms"] / row["off"]["cpu_ms"]
            print(f"{clip.stem}: {100 * saved:.0f} % less processor time", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
