"""A million frames of a synthetic camera with faults through the live loop: is anything growing?

Usage: python tools/soak.py [--frames 1000000] [--json FILE]
Recognition is played by mock networks, so that the run is about the loop, reconnecting, the
tracker, the fusion, the gallery, crops, the outbox, rotating files and the status, not about
convolutions. The camera breaks frames, stalls, hangs, changes its size and goes away; the outbox's
disk fails and comes back; the sink goes down and up; people are enrolled and removed; the status is
asked all the time. Exit code 1 when memory, file descriptors or threads grew beyond what is
allowed, or an event is missing. --json is written all along: a run that is stopped has told how far
it came.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from soak_parts import (
    SPACE,
    STALL_S,
    FaultyCamera,
    FaultyDisk,
    FlakySink,
    Gallery,
    PlayedDetector,
    PlayedEmbedder,
)

from jetson_face.capture.source import SourceInfo
from jetson_face.core.errors import InputMissingError, SourceError
from jetson_face.core.types import Report
from jetson_face.embedding.align import Aligner
from jetson_face.embedding.quality import QualityGate
from jetson_face.events.delivery import Deliverer
from jetson_face.events.making import EventMaker
from jetson_face.events.outbox import Outbox, OutboxLimits
from jetson_face.events.recorder import EventRecorder
from jetson_face.events.rotating import RotatingJsonl
from jetson_face.events.snapshots import SnapshotStore
from jetson_face.live import LivePipeline, LivePolicy, Stage
from jetson_face.privacy.encryption import AesGcm
from jetson_face.recognition.decision import Decider
from jetson_face.recognition.detection_interval import DetectionInterval
from jetson_face.recognition.embedding_scheduler import EmbeddingScheduler
from jetson_face.recognition.finder import FaceFinder
from jetson_face.recognition.fusion import Fuser
from jetson_face.recognition.recognizer import FaceRecognizer
from jetson_face.recognition.track_decisions import TrackDecisions
from jetson_face.recognition.tracker import Tracker
from jetson_face.service import pages
from jetson_face.service.events import EventTap, EventWriter, OnItsWay, tell_end
from jetson_face.service.http import Page
from jetson_face.service.status_server import StatusServer, ask
from jetson_face.util.backoff import Backoff
from jetson_face.util.channels import BoundedQueue
from jetson_face.util.metrics import to_prometheus

WARM_UP = 0.1
"""Share of the run after which the baseline is taken."""
MEMORY_MAX_MB = 5.0
EVERY_S = 2.0
"""Between two changes of the gallery, with a look at the status."""


@dataclass(slots=True)
class Samples:
    """What the process held, over time."""

    rows: list[dict[str, float]] = field(default_factory=list)

    def take(self, frames: int) -> None:
        """One row, after a full collection."""
        gc.collect()
        # Without pages of files, which a busy machine takes back, and with what it swapped out.
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
        own = sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "VmSwap")))
        self.rows.append(
            {
                "frames": frames,
                "memory_mb": own / 1024,
                "fds": len(list(Path("/proc/self/fd").iterdir())),
                "threads": threading.active_count(),
            }
        )

    def verdict(self) -> dict[str, object]:
        """Growth from the baseline: the median of the last fifth against the first."""
        base = self.rows[int(len(self.rows) * WARM_UP) :]
        part = max(1, len(base) // 5)

        def growth(key: str) -> float:
            late = float(np.median([row[key] for row in base[-part:]]))
            return round(late - float(np.median([row[key] for row in base[:part]])), 2)

        few = self.rows[:: max(1, len(self.rows) // 10)]
        return {
            "memory_mb": [round(row["memory_mb"], 1) for row in few],
            "fds": [int(row["fds"]) for row in few],
            "threads": [int(row["threads"]) for row in few],
            "grew_memory_mb": growth("memory_mb"),
            "grew_fds": growth("fds"),
            "grew_threads": growth("threads"),
        }


class CountingMaker(EventMaker):
    """Counts what has to arrive."""

    made = 0

    def of(
        self, report: Report, before: Mapping[int, Mapping[str, Any]] = MappingProxyType({})
    ) -> list[dict[str, Any]]:
        """See EventMaker."""
        events = super().of(report, before)
        self.made += len(events)
        return events

    def end(self) -> list[dict[str, Any]]:
        """See EventMaker."""
        events = super().end()
        self.made += len(events)
        return events


class Soak:
    """The whole run."""

    def __init__(self, frames: int, folder: Path, *, stall_s: float = STALL_S) -> None:
        self.frames = frames
        self.gallery = Gallery(folder / "gallery.db")
        self.camera, self.disk, self.samples = FaultyCamera(frames), FaultyDisk(), Samples()
        limits = OutboxLimits(max_bytes=4 << 20, retry_s=0.05)
        self.outbox = Outbox(folder / "outbox.db", limits, open_file=self.disk.open)
        self.sink = FlakySink(RotatingJsonl(folder / "events.jsonl", max_bytes=1 << 20, files=4))
        self.deliverer = Deliverer("file", self.outbox, self.sink, backoff=Backoff(0.01, 0.05))
        self.crops = SnapshotStore(
            folder / "crops", AesGcm(bytes(32)), age=self.outbox.age, max_bytes=2 << 20
        )
        self.queue: BoundedQueue[OnItsWay] = BoundedQueue(1000, "events")
        self.writer = EventWriter(self.queue, EventRecorder(self.outbox), self.crops)
        self.maker = CountingMaker(())
        self.asked = 0
        self._folder, self._due, self._ask_at = folder, 0, 0.0
        self._limit_reached = False
        socket = folder / "status.sock"
        status = StatusServer(
            {("GET", "/status"): self._status, ("GET", "/metrics"): self._metrics}, unix=socket
        )
        stages: dict[str, Stage] = {
            "events": self.writer.run,
            "deliver": self.deliverer.run,
            "status": status.run,
        }
        self.pipeline = LivePipeline(
            [self.camera.source(stall_s)], self._recognizer, policy=LivePolicy(log_every_s=60),
            stages=stages, at_end=partial(tell_end, self.maker, self.queue, threading.Event()),
        )  # fmt: skip

    def run(self, limit_s: float, progress: Callable[[dict[str, object]], None]) -> int:
        """To the last frame, or until `limit_s` passed. Returns the frames that were decided."""
        start = time.monotonic()

        def tick() -> None:
            now = time.monotonic()
            if now - start > limit_s:
                self._limit_reached = True
                self.pipeline.stop()
            if now >= self._ask_at and not self._over:
                self._ask_at = now + EVERY_S
                self._look()
                self.gallery.change()
                self.outbox.prune()
            if self.camera.n >= self._due:
                self._due = self.camera.n + max(1, self.frames // 250)
                self.samples.take(self.camera.n)
                progress({"frames": self.camera.n, "seconds": round(now - start, 1)})

        decided = self.pipeline.run(tick).processed
        self.writer.drain()
        self.outbox.prune()
        return decided

    def result(self) -> dict[str, object]:
        """What happened; after `run`."""
        (source,) = self.pipeline.report().sources
        state = self.outbox.state()
        made = self.maker.made
        given_up = state.counts.get("memory", 0) + state.counts.get("unread", 0)
        logs = sum(path.stat().st_size for path in self._folder.glob("events.jsonl*"))
        return {
            "faults": {**source.faults, **self.camera.counts},
            "disk_failures": self.disk.failed,
            "sink_failures": self.sink.down,
            "status_asked": self.asked,
            "gallery_changes": self.gallery.changes,
            "events": made,
            "delivered": self.sink.taken,
            "delivered_again": self.sink.again,
            "waiting": state.lag["file"],
            "given_up": given_up,
            "missing": made - self.sink.taken - state.lag["file"] - given_up,
            "outbox_mb": round(state.used_bytes / 2**20, 2),
            "log_mb": round(logs / 2**20, 2),
            "crops_mb": round(self.crops.used_bytes / 2**20, 2),
        }

    def close(self) -> None:
        """Close the files."""
        self.outbox.close()
        self.gallery.close()

    def _recognizer(self, info: SourceInfo) -> EventTap:
        tracker = Tracker(0.3, max_gap_ns=1_000_000_000)
        embedder = PlayedEmbedder(self.gallery.vectors)
        inner = FaceRecognizer(
            FaceFinder(PlayedDetector(), None, DetectionInterval(5), tracker),
            EmbeddingScheduler(Aligner("arcface112"), QualityGate(), embedder),
            TrackDecisions(Fuser(SPACE), Decider(0.5), lambda now_ns: self.gallery.matcher),
        )
        return EventTap(inner, self.queue, self.maker, crops=True)

    @property
    def _over(self) -> bool:
        return self._limit_reached or self.camera.n >= self.frames

    def _look(self) -> None:
        for path in ("/status", "/metrics", "/none"):
            try:
                page = ask(self._folder / "status.sock", path)
            except (InputMissingError, SourceError):
                if self._over:
                    return  # it stops answering with the last frame
                raise
            if page.status != (404 if path == "/none" else 200):
                raise AssertionError(f"{path}: {page.status} {page.body[:200]!r}")
            self.asked += 1

    def _status(self) -> Page:
        return pages.json_page(
            {
                "cameras": pages.cameras(self.pipeline.report()),
                "rates": pages.rates(self.pipeline.metrics.snapshot()),
                "outbox": pages.outbox(self.outbox.state()),
                "sinks": pages.sinks([self.deliverer], self.outbox.state()),
                "decisions": list(self.writer.decisions),
            }
        )

    def _metrics(self) -> Page:
        return Page(200, to_prometheus(self.pipeline.metrics.snapshot()).encode(), "text/plain")


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    logging.basicConfig(level=logging.CRITICAL)  # the faults would fill pages

    def save(result: dict[str, object]) -> None:
        if args.json:
            args.json.write_text(json.dumps(result, indent=2) + "\n", "utf-8")

    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(args.frames, Path(folder))
        start = time.monotonic()
        decided = soak.run(args.seconds, lambda so_far: save(so_far | soak.samples.verdict()))
        seconds = round(time.monotonic() - start, 1)
        result = {"frames": decided, "seconds": seconds, **soak.samples.verdict(), **soak.result()}
        soak.close()
    save(result)
    print(json.dumps(result, indent=2))
    flat = (
        float(str(result["grew_memory_mb"])) < MEMORY_MAX_MB
        and float(str(result["grew_fds"])) <= 0
        and float(str(result["grew_threads"])) <= 0
        and result["missing"] == 0
    )
    return 0 if flat else 1


if __name__ == "__main__":
    raise SystemExit(main())
