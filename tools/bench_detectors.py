"""Processor time of a search and of following, part by part: networks, pyramid, crops, suppression.

    JETSON_FACE_DATA=../shared/data python tools/bench_detectors.py [--detector mtcnn] [--json FILE]
    JETSON_FACE_DATA=../shared/data python tools/bench_detectors.py --together 4

Every part is timed on the thread that runs it, one network thread, OpenCV with one thread; medians
over the frames of a clip. What is inside another part (a shrunk level inside the pyramid) is
counted there. `rest` is what the parts leave: Python between them. --together: instead, YuNet's
network on pictures of so many cameras in one run and in as many, in turns, with all its threads.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

REPO = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPO))

from jetson_face.benchmark.clip import read_clip  # noqa: E402
from jetson_face.config import load_config  # noqa: E402
from jetson_face.detection import yunet  # noqa: E402
from jetson_face.detection.detector import Refiner  # noqa: E402
from jetson_face.detection.mtcnn import detector as mtcnn  # noqa: E402
from jetson_face.detection.mtcnn import onet, pyramid  # noqa: E402
from jetson_face.factory.networks import build_detector  # noqa: E402
from jetson_face.inference.backend import Array  # noqa: E402
from jetson_face.inference.onnxruntime import OnnxBackend  # noqa: E402

DATA = Path(os.environ.get("JETSON_FACE_DATA", REPO.parent / "shared" / "data"))
_WARM = 3
PARTS: dict[str, tuple[tuple[Any, str, str], ...]] = {
    "mtcnn": (
        (pyramid, "_shrink", "pyramid"),
        (mtcnn, "cut_patches", "crops"),
        (onet, "cut_patches", "crops"),
        (mtcnn, "proposals", "proposals"),
        (mtcnn, "suppress", "suppression"),
    ),
    "yunet": (
        (yunet, "shrink", "shrink"),
        (yunet, "shrink_fast", "shrink"),
        (yunet, "cut_tiles", "crops"),
        (yunet, "decode", "decode"),
        (yunet, "nms", "suppression"),
    ),
}


class Times:
    """Milliseconds of the frame that is measured now, by part."""

    def __init__(self) -> None:
        self.now: dict[str, float] = defaultdict(float)
        self.items: dict[str, int] = defaultdict(int)

    @contextmanager
    def __call__(self, part: str, items: int = 1) -> Iterator[None]:
        """Time a block."""
        began = time.thread_time()
        yield
        self.now[part] += 1e3 * (time.thread_time() - began)
        self.items[part] += items

    def around(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self(part):
                return call(*args, **kwargs)

        return timed


def measure(name: str, frames: list[Any], settings: list[str]) -> dict[str, dict[str, float]]:
    """Milliseconds by part, and items a frame, of searching and of following."""
    times = Times()
    run = OnnxBackend.run

    def timed_run(self: OnnxBackend, feeds: Mapping[str, Array]) -> dict[str, Array]:
        network = Path(self._what).name.removeprefix("mtcnn-").split("-")[0]
        with times(network, len(next(iter(feeds.values())))):
            return run(self, feeds)

    kept = [(module, attr, getattr(module, attr)) for module, attr, _ in PARTS[name]]
    try:
        for module, attr, part in PARTS[name]:
            setattr(module, attr, times.around(part, getattr(module, attr)))
        OnnxBackend.run = timed_run  # type: ignore[method-assign]
        words = ["backend={type: onnxruntime, threads: 1}", f"detector.type={name}", *settings]
        detector = build_detector(load_config(None, words))
        assert isinstance(detector, Refiner)
        boxes = detector.detect(frames[0]).boxes
        search, follow = Book(), Book()
        for image in frames:
            found = search.add(times, partial(detector.detect, image))
            follow.add(times, partial(detector.refine, image, boxes))
            boxes = found.boxes
        detector.close()
    finally:
        OnnxBackend.run = run  # type: ignore[method-assign]
        for module, attr, call in kept:
            setattr(module, attr, call)
    return {"search": search.medians(), "follow": follow.medians()}


class Book:
    """What each frame took, by part."""

    def __init__(self) -> None:
        self._frames: list[dict[str, float]] = []

    def add(self, times: Times, call: Callable[[], Any]) -> Any:
        """Run it once and keep what it took."""
        times.now.clear()
        times.items.clear()
        began = time.thread_time()
        found = call()
        whole = 1e3 * (time.thread_time() - began)
        parts = {f"{part}_ms": ms for part, ms in times.now.items()}
        counts = {f"{part}_items": float(n) for part, n in times.items.items()}
        rest = whole - sum(parts.values())
        self._frames.append({"whole_ms": whole, **parts, "rest_ms": rest, **counts})
        return found

    def medians(self) -> dict[str, float]:
        """Of all frames; a part that did not run on one took nothing there."""
        names = dict.fromkeys(name for frame in self._frames for name in frame)
        return {n: round(median(f.get(n, 0.0) for f in self._frames), 3) for n in names}


def table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """As text, the longest part first."""
    lines = []
    for what, parts in figures.items():
        lines.append(f"{what}: {parts['whole_ms']:.2f} ms")
        times = [(n[:-3], ms) for n, ms in parts.items() if n.endswith("_ms") and n != "whole_ms"]
        for name, ms in sorted(times, key=lambda pair: -pair[1]):
            share, items = 100 * ms / max(parts["whole_ms"], 1e-9), parts.get(f"{name}_items")
            count = "" if items is None else f"  {items:.0f} items"
            lines.append(f"  {name:<20}{ms:8.2f} ms {share:5.0f} %{count}")
    return "\n".join(lines)


def together(
    picture: tuple[int, int], cameras: int, rounds: int, settings: list[str]
) -> tuple[list[float], list[float]]:
    """Milliseconds of YuNet's network for one (height, width) `picture` of each camera: in one run,
    and in as many runs as cameras; by round."""
    detector = build_detector(load_config(None, ["detector.type=yunet", *settings]))
    assert isinstance(detector, yunet.YuNet)
    network = detector._backend
    pixels = np.random.default_rng(11).uniform(0, 255, (cameras, 3, *picture)).astype(np.float32)
    name = next(iter(network.inputs))
    once, apart = [], []
    for _ in range(rounds + _WARM):
        began = time.perf_counter()
        network.run({name: pixels})
        middle = time.perf_counter()
        for each in pixels:
            network.run({name: each[None]})
        once.append(1e3 * (middle - began))
        apart.append(1e3 * (time.perf_counter() - middle))
    detector.close()
    return once[_WARM:], apart[_WARM:]


def main() -> int:
    """Print the parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--detector", choices=sorted(PARTS), action="append")
    parser.add_argument("--clip", type=Path, default=DATA / "clips" / "crowd_1080p.mp4")
    parser.add_argument("--every", type=int, default=5, help="take one frame in so many")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--together", type=int, metavar="CAMERAS")
    parser.add_argument("--rounds", type=int, default=40, help="of --together")
    args = parser.parse_args()
    if args.together is not None:
        once, apart = together((448, 768), args.together, args.rounds, args.overrides)
        ratio = median(b / a for a, b in zip(once, apart, strict=True))
        print(f"{args.together} pictures of 768x448, medians of {args.rounds} rounds:")
        print(f"  one run      {median(once):8.1f} ms")
        print(f"  a run each   {median(apart):8.1f} ms, {ratio:.2f} times as long")
        return 0
    cv2.setNumThreads(1)
    frames = [np.asarray(image) for image in read_clip(args.clip).images[:: args.every]]
    found = {}
    for name in args.detector or sorted(PARTS):
        found[name] = measure(name, frames, args.overrides)
        print(f"== {name}, {len(frames)} frames of {args.clip.name}")
        print(table(found[name]), flush=True)
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
