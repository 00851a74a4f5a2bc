"""A million frames of a synthetic camera with faults through the live loop: is anything growing?

Usage: python tools/soak.py [--frames 1000000] [--json FILE]
Recognition is played by the mock networks of this file, so that the run is about the loop, the
tracker, the fusion, the gallery, the outbox and the status, not about convolutions. Exit code 1
when memory, file descriptors or threads grew beyond what is allowed.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jetson_face.align import Aligner
from jetson_face.capture.base import EndOfSource, FrameBroken, SourceHealth, SourceInfo
from jetson_face.decide import Decider
from jetson_face.flow import BoundedQueue
from jetson_face.fuse import Fuser
from jetson_face.gallery.match import Matcher
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.store import GalleryStore
from jetson_face.live import LivePipeline, LivePolicy
from jetson_face.pipeline import FaceRecognizer
from jetson_face.protect import AesGcm
from jetson_face.quality import QualityGate
from jetson_face.report.deliver import Deliverer
from jetson_face.report.outbox import Outbox, OutboxLimits
from jetson_face.report.rotating import RotatingJsonl
from jetson_face.sample import Sampler
from jetson_face.service.events import EventTap, EventWriter, Occurrence
from jetson_face.track import Tracker
from jetson_face.types import F32, Detections, Embeddings, EmbeddingSpace, Frame, ImageU8

SPACE = EmbeddingSpace("soak", "0" * 64, 64)
PEOPLE = 50
WARM_UP = 0.1
"""Share of the run after which the baseline is taken."""


class FaultyCamera:
    """Frames as fast as they are read; every few thousand something goes wrong."""

    def __init__(self, frames: int) -> None:
        self.frames, self.n = frames, 0
        self.counts = {"broken": 0, "stalled": 0, "size_changed": 0, "lost": 0}
        self.info = SourceInfo("soak", "soak://", False, 160, 120, 30.0, frames)
        draw = np.random.default_rng(0)
        self._images = {
            size: draw.integers(0, 255, (size[1], size[0], 3), np.uint8)
            for size in ((160, 120), (176, 144))
        }
        self._closed = False

    @property
    def health(self) -> SourceHealth:
        """See Source."""
        return SourceHealth("ended" if self._closed else "running", dict(self.counts))

    def read(self, timeout_s: float) -> Frame:
        """See Source."""
        n, self.n = self.n, self.n + 1
        if n >= self.frames or self._closed:
            raise EndOfSource
        if n % 3001 == 3000:
            self.counts["broken"] += 1
            raise FrameBroken("a broken frame")
        if n % 5003 == 5002:
            self.counts["stalled"] += 1
            raise TimeoutError
        other = (n // 7001) % 2 == 1
        self.counts["size_changed"] += n % 7001 == 0 and n > 0
        image = self._images[(176, 144) if other else (160, 120)]
        return Frame(image, n, n * 33_000_000, 1.7e9 + n / 30, "soak")

    def close(self) -> None:
        """See Source."""
        self._closed = True


class PlayedDetector:
    """Three faces that walk, leave and come back, by frame number."""

    name = "played"

    def __init__(self) -> None:
        self._n = 0

    def detect(self, image: ImageU8) -> Detections:
        """See Detector."""
        self._n += 1
        boxes, marks = [], []
        for index in range(3):
            phase = (self._n + 37 * index) % 200
            if phase < 150:
                x, y = 5 + phase * 0.6, 10 + 30 * index
                boxes.append((x, y, x + 24, y + 28))
                marks.append([(x + 7, y + 10), (x + 17, y + 10), (x + 12, y + 16),
                              (x + 8, y + 22), (x + 16, y + 22)])  # fmt: skip
        count = len(boxes)
        return Detections(
            np.array(boxes, np.float32).reshape(count, 4),
            np.full(count, 0.99, np.float32),
            np.array(marks, np.float32).reshape(count, 5, 2),
        )

    def close(self) -> None:
        """See Detector."""


class PlayedEmbedder:
    """Vectors near an enrolled person's, or near nobody's."""

    space, alignment, similarity_min = SPACE, "arcface112", 0.5

    def __init__(self, people: F32) -> None:
        self._people, self._draw = people, np.random.default_rng(1)

    def embed(self, crops: ImageU8) -> Embeddings:
        """See Embedder."""
        picks = self._draw.integers(0, PEOPLE * 2, len(crops))
        vectors = self._draw.normal(0, 0.05, (len(crops), SPACE.dim)).astype(np.float32)
        known = picks < PEOPLE
        vectors[known] += self._people[picks[known]]
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return Embeddings(vectors, SPACE)

    def close(self) -> None:
        """See Embedder."""


@dataclass(slots=True)
class Samples:
    """What the process held, over time."""

    rows: list[dict[str, float]] = field(default_factory=list)

    def take(self, frames: int) -> None:
        """One row, after a full collection."""
        gc.collect()
        status = Path("/proc/self/status").read_text("ascii")
        rss = int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])
        self.rows.append(
            {
                "frames": frames,
                "rss_mb": rss / 1024,
                "fds": len(list(Path("/proc/self/fd").iterdir())),
                "threads": threading.active_count(),
            }
        )


def enrolled(folder: Path) -> tuple[GalleryStore, F32]:
    """A sealed gallery of PEOPLE people, and their vectors."""
    draw = np.random.default_rng(2)
    vectors = draw.normal(size=(PEOPLE, SPACE.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    gallery = GalleryStore.open(folder / "gallery.db", SPACE, create=True, cipher=AesGcm(bytes(32)))
    with gallery.transaction():
        for index, vector in enumerate(vectors):
            person = gallery.add_person(f"person {index}")
            portrait, marks = np.zeros((32, 32, 3), np.uint8), np.zeros((5, 2), np.float32)
            gallery.add_template(
                person, NewTemplate(vector, 1.0, f"p{index}", portrait, marks, "x")
            )
    return gallery, vectors


def soak(frames: int, folder: Path, limit_s: float) -> dict[str, object]:
    """Run, and say what grew."""
    gallery, vectors = enrolled(folder)
    embedder = PlayedEmbedder(vectors)
    outbox = Outbox(folder / "outbox.db", OutboxLimits(max_bytes=4 << 20))
    sink = RotatingJsonl(folder / "events.jsonl", max_bytes=1 << 20, files=4)
    deliverer = Deliverer("file", outbox, sink)
    queue: BoundedQueue[Occurrence] = BoundedQueue(1000, "events")
    writer = EventWriter(queue, outbox, None)
    matcher = Matcher(gallery.snapshot(), top_k=1)

    def recognizer(info: SourceInfo) -> EventTap:
        inner = FaceRecognizer(
            detector=PlayedDetector(), refiner=None, sampler=Sampler(2, cooldown=1),
            tracker=Tracker(0.3, max_gap_ns=1_000_000_000), aligner=Aligner("arcface112"),
            quality=QualityGate(), embedder=embedder, fuser=Fuser(SPACE),
            decider=Decider(0.5), people=lambda now_ns: matcher,
        )  # fmt: skip
        return EventTap(inner, queue)

    camera, samples, step = FaultyCamera(frames), Samples(), max(1, frames // 500)
    pipeline = LivePipeline(
        [camera], recognizer, policy=LivePolicy(log_every_s=60),
        stages={"events": writer.run, "deliver": deliverer.run},
    )  # fmt: skip
    due, start = [0], time.monotonic()

    def tick() -> None:
        if time.monotonic() - start > limit_s:
            pipeline.stop()
        if camera.n >= due[0]:
            due[0] = camera.n + step
            samples.take(camera.n)
            if sys.stderr.isatty():
                print(f"\r{camera.n}/{frames}", end="", file=sys.stderr)

    report = pipeline.run(tick)
    seconds = time.monotonic() - start
    writer.drain()
    outbox.prune()
    used = outbox.state()
    outbox.close()
    gallery.close()
    logs = sum(path.stat().st_size for path in folder.glob("events.jsonl*"))
    return verdict(samples, report.processed, seconds) | {
        "faults": camera.counts,
        "events": deliverer.sent,
        "outbox_mb": round(used.used_bytes / 2**20, 2),
        "given_up": used.counts,
        "log_mb": round(logs / 2**20, 2),
    }


def verdict(samples: Samples, processed: int, seconds: float) -> dict[str, object]:
    """Growth from the baseline to the end: the median of the last fifth against the first."""
    rows = samples.rows
    base = rows[int(len(rows) * WARM_UP) :]
    part = max(1, len(base) // 5)

    def growth(key: str) -> float:
        late = float(np.median([row[key] for row in base[-part:]]))
        return round(late - float(np.median([row[key] for row in base[:part]])), 2)

    return {
        "frames": processed,
        "seconds": round(seconds, 1),
        "rss_mb": [round(row["rss_mb"], 1) for row in rows[:: max(1, len(rows) // 10)]],
        "grew_rss_mb": growth("rss_mb"),
        "grew_fds": growth("fds"),
        "grew_threads": growth("threads"),
    }


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        result = soak(args.frames, Path(folder), args.seconds)
    text = json.dumps(result, indent=2)
    print(text)
    if args.json:
        args.json.write_text(text + "\n", "utf-8")
    flat = (
        float(str(result["grew_rss_mb"])) < 5
        and float(str(result["grew_fds"])) <= 0
        and float(str(result["grew_threads"])) <= 0
    )
    return 0 if flat else 1


if __name__ == "__main__":
    raise SystemExit(main())
