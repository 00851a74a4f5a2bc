"""What tools/soak.py runs the live loop with: a camera, a disk and a sink that fail on schedule."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jetson_face.capture.reconnect import ReconnectingSource, ReconnectPolicy
from jetson_face.capture.source import EndOfSource, FrameBroken, SourceHealth, SourceInfo
from jetson_face.core.errors import SourceError
from jetson_face.core.types import (
    F32,
    Detections,
    Embeddings,
    EmbeddingSpace,
    Frame,
    ImageU8,
    Person,
)
from jetson_face.events.delivery import EventSink, SinkDownError
from jetson_face.events.outbox import Event
from jetson_face.events.outbox_file import OutboxFile
from jetson_face.gallery.matcher import Matcher
from jetson_face.gallery.records import NewTemplate
from jetson_face.gallery.store import GalleryStore
from jetson_face.privacy.encryption import AesGcm

SPACE = EmbeddingSpace("soak", "0" * 64, 64)
PEOPLE = 50
INFO = SourceInfo("soak", "soak://", False, 160, 120, 30.0)
STALL_S = 0.5
"""Without a frame for so long the camera counts as lost; the driver hangs a little longer."""


class FaultyCamera:
    """Frames as fast as they are read; every few thousand something goes wrong.

    Not live for the loop, so that every frame is decided. Opened again it goes on where it was.
    """

    def __init__(self, frames: int, hang: Callable[[float], object] | None = None) -> None:
        self.frames, self.n = frames, 0
        self.counts = {"hung": 0, "unplugged": 0, "refused": 0}
        self._hang = hang or threading.Event().wait
        draw = np.random.default_rng(0)
        self._images = {
            size: draw.integers(0, 255, (size[1], size[0], 3), np.uint8)
            for size in ((160, 120), (176, 144))
        }

    def source(self, stall_s: float) -> ReconnectingSource:
        """The camera as the program sees it, behind what reconnects."""
        policy = ReconnectPolicy(0.01, 0.05, stall_s=stall_s, freeze_s=None, open_s=60)
        return ReconnectingSource(self._open, INFO, policy=policy)

    def _open(self) -> _Session:
        if self.counts["refused"] < 3 * self.counts["unplugged"]:
            self.counts["refused"] += 1
            raise SourceError("soak://: no route to the camera")
        return _Session(self)

    def take(self) -> Frame:
        """The next frame, or what happens instead of it."""
        n, self.n = self.n, self.n + 1
        if n >= self.frames:
            raise EndOfSource
        if n % 3001 == 3000:
            raise FrameBroken("a broken frame")
        if n % 5003 == 5002:
            raise TimeoutError
        if n % 20011 == 20010:
            self.counts["unplugged"] += 1
            raise SourceError("soak://: the camera is gone")
        if n % 50021 == 50020:
            self.counts["hung"] += 1
            self._hang(STALL_S + 0.2)
            raise SourceError("soak://: back from a hang")
        image = self._images[(176, 144) if (n // 7001) % 2 else (160, 120)]
        return Frame(image, n, n * 33_000_000, 1.7e9 + n / 30, "soak")


class _Session:
    """One connection to the camera; its frames are counted from 0."""

    info = INFO
    health = SourceHealth("running", {})

    def __init__(self, camera: FaultyCamera) -> None:
        self._camera, self._seq = camera, 0

    def read(self, timeout_s: float) -> Frame:
        """See Source."""
        frame = self._camera.take()
        seq, self._seq = self._seq, self._seq + 1
        return Frame(frame.image, seq, frame.captured_ns, frame.wall, frame.source)

    def close(self) -> None:
        """See Source."""


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


class FaultyDisk:
    """Makes outbox files whose writes fail for a while, every `every` writes."""

    def __init__(self, every: int = 2003, length: int = 25) -> None:
        self.writes = self.failed = 0
        self._every, self._length = every, length

    def open(self, path: Path) -> OutboxFile:
        """For `Outbox(open_file=...)`."""
        disk = self

        class File(OutboxFile):
            def write(
                self,
                events: Iterable[Event],
                cursors: Mapping[str, int],
                counts: Mapping[str, int],
            ) -> None:
                disk.check()
                super().write(events, cursors, counts)

        return File(path)

    def check(self) -> None:
        """Raises sqlite3.OperationalError when it is the disk's time."""
        self.writes += 1
        if self.writes % self._every >= self._every - self._length:
            self.failed += 1
            raise sqlite3.OperationalError(
                "database or disk is full" if self.failed % 2 else "disk I/O error"
            )


class FlakySink:
    """A sink that is down for a while, every `every` calls."""

    def __init__(self, inner: EventSink, every: int = 1009, length: int = 12) -> None:
        self._inner, self._every, self._length = inner, every, length
        self.calls = self.down = 0

    def send(self, events: Sequence[Event]) -> None:
        """See EventSink."""
        self.calls += 1
        if self.calls % self._every >= self._every - self._length:
            self.down += 1
            raise SinkDownError("the soak took the network away")
        self._inner.send(events)

    def close(self) -> None:
        """See EventSink."""
        self._inner.close()


class Gallery:
    """A sealed gallery whose people come and go, and the matcher of what it holds now."""

    def __init__(self, path: Path) -> None:
        draw = np.random.default_rng(2)
        vectors = draw.normal(size=(PEOPLE, SPACE.dim)).astype(np.float32)
        self.vectors: F32 = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        self.changes = 0
        self._guest: Person | None = None
        self._store = GalleryStore.open(path, SPACE, create=True, cipher=AesGcm(bytes(32)))
        with self._store.transaction():
            for index in range(PEOPLE):
                self._enrol(f"person {index}", self.vectors[index])
        self.matcher = Matcher(self._store.snapshot(), top_k=1)

    def change(self) -> None:
        """Enrol a guest, or remove the one that is there."""
        self.changes += 1
        if self._guest is None:
            self._guest = self._enrol("guest", -self.vectors[0])
        else:
            self._store.remove(self._guest.id)
            self._guest = None
        self.matcher = Matcher(self._store.snapshot(), top_k=1)

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def _enrol(self, name: str, vector: F32) -> Person:
        person = self._store.add_person(name)
        portrait, marks = np.zeros((32, 32, 3), np.uint8), np.zeros((5, 2), np.float32)
        self._store.add_template(person, NewTemplate(vector, 1.0, name, portrait, marks, "x"))
        return person
