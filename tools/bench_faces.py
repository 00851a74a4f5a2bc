"""How many faces of a clip are found and decided, in means of passes that begin a frame apart.

    python tools/bench_faces.py CLIP [--firsts 3] [--set KEY=VALUE]

Where faces are lost depends on single pixels, so one pass says little: each first frame is taken as
it is and mirrored. N is 5, and every search is made, unless --set says otherwise.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import mean, stdev

import numpy as np

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from jetson_face.benchmark.clip import read_clip  # noqa: E402
from jetson_face.benchmark.subject import BenchSubject, open_subject  # noqa: E402
from jetson_face.config import load_config  # noqa: E402
from jetson_face.core.types import Frame, ImageU8  # noqa: E402

SETTINGS = ("sampling.interval=5", "sampling.motion=false")


def one_pass(subject: BenchSubject, images: list[ImageU8]) -> dict[str, float]:
    """Of each frame at 25 a second: faces, those with a decision, searches and embeddings."""
    recognizer = subject.recognizer()
    told = [
        recognizer.process(Frame(image, seq, 40_000_000 * seq, 0.0, "clip"))
        for seq, image in enumerate(images)
    ]
    every = [sighting for report in told for sighting in report.sightings]
    found = {
        "faces": len(every),
        "decided": sum(sighting.state != "pending" for sighting in every),
        "searches": sum(report.searched for report in told),
        "embeddings": sum(report.embedded for report in told),
    }
    return {name: count / len(images) for name, count in found.items()}


def main() -> int:
    """0."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--firsts", type=int, default=3, help="first frames: 0, 1, ...")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    images = list(read_clip(args.clip).images)
    with open_subject(load_config(None, [*SETTINGS, *args.overrides])) as subject:
        passes = [
            one_pass(subject, [np.ascontiguousarray(image[:, ::step]) for image in images[first:]])
            for first in range(args.firsts)
            for step in (1, -1)
        ]
    for name in passes[0]:
        values = [found[name] for found in passes]
        print(f"{name:10} {mean(values):.3f} ± {stdev(values) / len(values) ** 0.5:.3f} a frame")
    return 0


if __name__ == "__main__":
    sys.exit(main())
