"""Seconds from process start until jetson_face is imported and the first frame is decided.

    python tools/bench_startup.py [-c CONFIG] [--set KEY=VALUE] [--runs 7] [--json FILE]
    python tools/bench_startup.py --against FOLDER     # the whole command, in turns with that tree

Each run is a fresh process. Its clock starts when the kernel started it (/proc/self/stat), so the
interpreter's own start is in. The frame is a 640x480 portrait (scikit-image's), or noise where
that is not installed. Networks that are made on first use are made before the first run.

--against: `jetson-face run CLIP --frames 1` with an empty gallery, from this tree and from another
(`git worktree add FOLDER COMMIT`), each with its own default configuration.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

CHILD = """
import os, sys, time

def age():
    start = int(open("/proc/self/stat").read().rpartition(")")[2].split()[19])
    return float(open("/proc/uptime").read().split()[0]) - start / os.sysconf("SC_CLK_TCK")

import jetson_face
from jetson_face.factory.parts import build_matcher, build_parts, build_recognizer
from jetson_face.config import load_config
from jetson_face.gallery.matcher import GallerySnapshot
from jetson_face.core.types import Frame
import numpy as np

imported = age()
config = load_config(sys.argv[1] or None, sys.argv[3:])
parts = build_parts(config)
built = age()
import tempfile
from pathlib import Path
from jetson_face.factory.parts import open_gallery
with tempfile.TemporaryDirectory() as folder:
    private = config.gallery.model_copy(update={"path": Path(folder) / "g.db", "encrypt": False})
    own = config.model_copy(update={"gallery": private})
    with open_gallery(own, parts.embedder.space, create=True) as gallery:
        matcher = build_matcher(own, gallery.snapshot())
        recognizer = build_recognizer(own, parts, lambda now: matcher)
        image = np.load(sys.argv[2])
        report = recognizer.process(Frame(image, 0, time.monotonic_ns(), time.time(), "startup"))
        decided = age()
import json
print(json.dumps([imported, built, decided, len(report.sightings), time.process_time()]))
"""


def picture(path: Path) -> None:
    """Write the frame as .npy: decoding a picture file is not what is measured."""
    import cv2
    import numpy as np

    try:
        from jetson_face.benchmark.clips.builtin import portrait_path

        found = cv2.imread(str(portrait_path("collins")))
        image = np.zeros((480, 640, 3), np.uint8) + np.uint8(90)
        image[:, 64:576] = np.asarray(found)[:480]
    except ImportError:
        image = np.random.default_rng(1).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    np.save(path, image)


def first_decision(tree: Path, clip: Path, state: Path) -> tuple[float, float]:
    """Seconds by the clock and of processor time of `run --frames 1`, from start to end.

    Raises CalledProcessError.
    """
    words = [sys.executable, "-m", "jetson_face", "run", "--source", str(clip), "--frames", "1"]
    words += ["--quiet", "--set", f"gallery.path={state}", "--set", "gallery.encrypt=false"]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    # not from a folder that has a jetson_face of its own
    env = _compiled() | {"PYTHONPATH": str(tree)}
    subprocess.run(words, cwd=state.parent, env=env, check=True, capture_output=True)
    clock, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return clock, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _compiled() -> dict[str, str]:
    """The environment, in which Python keeps what it compiled, as an installed package has it."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def compare(trees: Sequence[Path], runs: int) -> None:
    """Print medians and least of each tree, in turns, and the first's share of the second's."""
    from jetson_face.benchmark.clips.builtin import portrait_path

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        clip = folder / "portrait"
        clip.mkdir()
        shutil.copy(portrait_path("collins"), clip)
        each: list[list[tuple[float, float]]] = [[] for _ in trees]
        for number in range(runs + 1):
            for index, tree in enumerate(trees):
                found = first_decision(tree, clip, folder / f"gallery{index}.db")
                if number:  # the first makes the networks' files
                    each[index].append(found)
    for tree, pairs in zip(trees, each, strict=True):
        clock, cpu = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        print(
            f"{tree.name}: clock median {median(clock):.3f} s, least {min(clock):.3f}; processor "
            f"median {median(cpu):.3f} s, least {min(cpu):.3f}"
        )
    for index, name in enumerate(("clock", "processor")):
        shares = [new[index] / old[index] for new, old in zip(each[0], each[1], strict=True)]
        print(f"{name}: median of {runs} pairs {median(shares):.3f}")


def main() -> int:
    """Print the medians and the worst."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-c", "--config", default="")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--against", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    if args.against is not None:
        compare((Path(__file__).resolve().parents[1], args.against.resolve()), args.runs)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        frame = Path(folder) / "frame.npy"
        picture(frame)
        words = [sys.executable, "-c", CHILD, args.config, str(frame), *args.overrides]
        runs = []
        for number in range(args.runs + 1):
            done = subprocess.run(
                words, capture_output=True, text=True, check=False, env=_compiled()
            )
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                return 1
            if number:  # the first fills caches
                runs.append(json.loads(done.stdout.splitlines()[-1]))
    load = os.getloadavg()[0]
    names = ("imported", "networks loaded", "first frame decided")
    for index, name in enumerate(names):
        values = [run[index] for run in runs]
        print(
            f"{name}: median {median(values):.2f} s, least {min(values):.2f}, most "
            f"{max(values):.2f}"
        )
    cpu = median(run[4] for run in runs)
    print(f"CPU time: {cpu:.2f} s; faces decided: {runs[-1][3]}; {args.runs} runs, load {load:.1f}")
    if args.json is not None:
        args.json.write_text(json.dumps({"names": names, "runs": runs, "load": load}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
