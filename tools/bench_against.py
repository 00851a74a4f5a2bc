"""Milliseconds of a clip's frame, decoding included, in this tree and in another, taking turns.

    git worktree add FOLDER 15d73f2
    python tools/bench_against.py FOLDER --clip CLIP [--rounds 4] [--set KEY=VALUE]

Each round starts `jetson-face bench --mode file` once in each tree (`ours` with --set too, then
`other`, and the other way round in every second round), each with its own default configuration.
Printed are the medians, and the medians of the rounds' ratios with the least and the most, by the
clock and by processor time. Without --clip: the made clip of one face at 640x480.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

REPO = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Timed:
    """Of one pass: milliseconds a frame by the clock and of processor time."""

    clock_ms: float
    cpu_ms: float


def timed(tree: Path, words: Sequence[str]) -> Timed:
    """One pass over the clip. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [sys.executable, "-m", "jetson_face", "bench", "--mode", "file", "--repeats", "1"]
        command += ["--sampling", "5", "--json", str(result), *words]
        # not from a folder that has a jetson_face of its own
        env = os.environ | {"PYTHONPATH": str(tree)}
        subprocess.run(command, cwd=folder, env=env, check=True, stdout=subprocess.DEVNULL)
        run = json.loads(result.read_text("utf-8"))["points"][0]["runs"][0]
    return Timed(1000 / run["decision_fps"], run["cpu_ms_per_frame"])


def main() -> int:
    """0."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("other", type=Path, help="a tree of this project")
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    if args.clip is None:
        clip = ["--faces", "1", "--frame-size", "640x480", "--frames", "300"]
    else:
        clip = ["--clip", str(args.clip.resolve())]
    ours = [*clip, *(word for one in args.overrides for word in ("--set", one))]
    pairs: list[tuple[Timed, Timed]] = []
    for number in range(args.rounds + 1):
        if number % 2:
            mine, other = timed(REPO, ours), timed(args.other.resolve(), clip)
        else:
            other, mine = timed(args.other.resolve(), clip), timed(REPO, ours)
        if number:  # the first makes the networks' files
            pairs.append((mine, other))
    for index, name in enumerate(("ours", "other")):
        runs = [pair[index] for pair in pairs]
        print(
            f"{name:6} {median(one.clock_ms for one in runs):6.2f} ms a frame by the clock, "
            f"{median(one.cpu_ms for one in runs):6.2f} ms of processor time"
        )
    clocks = [other.clock_ms / mine.clock_ms for mine, other in pairs]
    cpus = [other.cpu_ms / mine.cpu_ms for mine, other in pairs]
    for name, ratios in (("clock", clocks), ("processor", cpus)):
        print(f"{name}: {median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
