"""From a decision to the outbox: nothing between them drops."""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from jetson_face.core.errors import OutputError
from jetson_face.core.types import Frame, ImageU8, Report, Sighting
from jetson_face.events.jsonl import event
from jetson_face.events.outbox import Outbox
from jetson_face.events.snapshots import SnapshotStore
from jetson_face.service.review_writer import Asked, Questions, asked
from jetson_face.util.channels import BoundedQueue, Closed
from jetson_face.util.images import encode_jpeg

logger = logging.getLogger(__name__)

_BATCH = 100
_CROP_MARGIN = 0.4


class Recognizer(Protocol):
    """One frame in, what it says out."""

    def process(self, frame: Frame) -> Report: ...


@dataclass(frozen=True, slots=True, eq=False)
class Occurrence:
    """A changed decision on its way to the disk. crop: (H, W, 3) uint8 BGR, None for none."""

    report: Report
    sighting: Sighting
    crop: ImageU8 | None


class EventTap:
    """A recogniser that hands its changed decisions and its doubts on before it answers.

    A full queue makes it wait: a slow disk slows recognition down, it loses no event.
    """

    def __init__(
        self,
        inner: Recognizer,
        queue: BoundedQueue[Occurrence | Asked],
        *,
        crops: bool = False,
        review: bool = False,
    ) -> None:
        self._inner, self._queue = inner, queue
        self._crops, self._review = crops, review

    def process(self, frame: Frame) -> Report:
        """See Recognizer."""
        report = self._inner.process(frame)
        for sighting in report.sightings:
            if sighting.changed and sighting.state != "pending":
                crop = cut(frame.image, sighting.box) if self._crops else None
                self._queue.put(Occurrence(report, sighting, crop))
        for doubt in report.doubts if self._review else ():
            self._queue.put(asked(doubt, frame))
        return report


def cut(image: ImageU8, box: tuple[float, float, float, float]) -> ImageU8 | None:
    """A copy of the face with some margin; None for a box outside the picture."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    dx, dy = (x2 - x1) * _CROP_MARGIN, (y2 - y1) * _CROP_MARGIN
    left, top = max(0, int(x1 - dx)), max(0, int(y1 - dy))
    right, bottom = min(width, int(x2 + dx) + 1), min(height, int(y2 + dy) + 1)
    if right <= left or bottom <= top:
        return None
    crop: ImageU8 = image[top:bottom, left:right].copy()
    return crop


class EventWriter:
    """Takes occurrences from the queue to the outbox, many in one transaction, and doubts to the
    review queue."""

    def __init__(
        self,
        queue: BoundedQueue[Occurrence | Asked],
        outbox: Outbox,
        snapshots: SnapshotStore | None,
        questions: Questions | None = None,
    ) -> None:
        self._queue, self._outbox, self._snapshots = queue, outbox, snapshots
        self._questions = questions
        self._first_ns: dict[str, int] = {}
        self.decisions: deque[dict[str, Any]] = deque(maxlen=20)

    def run(self, stop: threading.Event) -> None:
        """The thread's loop; what is left at the end is for `drain`."""
        try:
            while not stop.is_set():
                try:
                    self._write([self._queue.get(timeout_s=0.2), *self._waiting()])
                except TimeoutError:
                    continue
        finally:
            if not stop.is_set():
                # The recogniser must not wait for ever for a writer that failed.
                self._queue.close()

    def drain(self) -> None:
        """Write everything that still waits; after the recogniser ended."""
        while left := self._waiting():
            self._write(left)

    def _waiting(self) -> list[Occurrence | Asked]:
        found: list[Occurrence | Asked] = []
        while len(found) < _BATCH:
            try:
                found.append(self._queue.get(timeout_s=0))
            except (TimeoutError, Closed):
                break
        return found

    def _write(self, batch: list[Occurrence | Asked]) -> None:
        documents = [self._document(item) for item in batch if isinstance(item, Occurrence)]
        if documents:
            self._outbox.append(
                [("decision", json.dumps(d, ensure_ascii=False).encode()) for d in documents]
            )
            self.decisions.extend(documents)
        for item in batch:
            if isinstance(item, Asked) and self._questions is not None:
                self._questions.keep(item)

    def _document(self, item: Occurrence) -> dict[str, Any]:
        report = item.report
        first = self._first_ns.setdefault(report.source, report.captured_ns)
        document = event(report, item.sighting, first)
        if item.crop is not None and self._snapshots is not None:
            document["crop"] = self._keep(item.crop, document["person"])
        return document

    def _keep(self, crop: ImageU8, person: str | None) -> str | None:
        assert self._snapshots is not None
        try:
            return self._snapshots.add(encode_jpeg(crop), person or "unknown").path.name
        except OutputError as error:
            logger.warning("crop_not_kept error=%s", error)
            return None
