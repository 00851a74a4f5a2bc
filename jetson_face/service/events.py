"""From a decision to the outbox: nothing between them drops."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from jetson_face.core.errors import OutputError
from jetson_face.core.protocols import FrameProcessor
from jetson_face.core.types import Box, Frame, ImageU8, Report
from jetson_face.events.making import EventMaker
from jetson_face.events.outbox import Outbox
from jetson_face.events.schema import to_json
from jetson_face.events.snapshots import SnapshotStore
from jetson_face.service.review_writer import CapturedCandidate, ReviewWriter, capture_candidate
from jetson_face.util.channels import BoundedQueue, Closed
from jetson_face.util.images import encode_jpeg

logger = logging.getLogger(__name__)

_BATCH = 100
_WAIT_S = 2.0
_CROP_MARGIN = 0.4
_DECISIONS = frozenset({"decided", "changed", "retracted"})
_LAST_FRAME_S = 1.0
"""How long the writer waits for the recogniser's last frame when it is told to stop."""


@dataclass(frozen=True, slots=True, eq=False)
class Occurrence:
    """An event on its way to the disk. crop: (H, W, 3) uint8 BGR, None for none."""

    event: dict[str, Any]
    crop: ImageU8 | None


class EventTap:
    """A recogniser that hands its events and its review candidates on before it answers.

    maker: of the whole run. A full queue makes it wait: a slow disk slows recognition down, it
    loses no event. crops: with a picture of each decision.
    """

    def __init__(
        self,
        inner: FrameProcessor,
        queue: BoundedQueue[Occurrence | CapturedCandidate],
        maker: EventMaker,
        *,
        crops: bool = False,
        review: bool = False,
    ) -> None:
        self._inner, self._queue, self._maker = inner, queue, maker
        self._crops, self._review = crops, review

    def process(self, frame: Frame) -> Report:
        """See FrameProcessor."""
        report = self._inner.process(frame)
        for event in self._maker.of(report):
            wanted = event["kind"] in _DECISIONS and event["state"] != "pending"
            crop = cut(frame.image, event["box"]) if self._crops and wanted else None
            self._queue.put(Occurrence(event, crop))
        for candidate in report.review_candidates if self._review else ():
            self._queue.put(capture_candidate(candidate, frame))
        return report


def tell_end(
    maker: EventMaker, queue: BoundedQueue[Occurrence | CapturedCandidate], told: threading.Event
) -> None:
    """Hand on that the run is over for every face; for the recogniser's thread, at its end."""
    try:
        for event in maker.end():
            queue.put(Occurrence(event, None), timeout_s=_LAST_FRAME_S)
    except (Closed, TimeoutError):
        pass  # the writer failed, and the run ends with its error
    finally:
        told.set()


def cut(image: ImageU8, box: Box) -> ImageU8 | None:
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
    """Takes occurrences from the queue to the outbox, many in one transaction, and review
    candidates to the review queue."""

    def __init__(
        self,
        queue: BoundedQueue[Occurrence | CapturedCandidate],
        outbox: Outbox,
        snapshots: SnapshotStore | None,
        review_writer: ReviewWriter | None = None,
    ) -> None:
        self._queue, self._outbox, self._snapshots = queue, outbox, snapshots
        self._review_writer = review_writer
        self.decisions: deque[dict[str, Any]] = deque(maxlen=20)

    def run(
        self,
        stop: threading.Event,
        *,
        told: threading.Event | None = None,
        done: threading.Event | None = None,
    ) -> None:
        """The thread's loop. told: the recogniser has told its last event, which is waited for a
        moment. done: set when it is in the outbox. What comes later is for `drain`."""
        try:
            while not stop.is_set():
                self._step(_WAIT_S)
            end = time.monotonic() + _LAST_FRAME_S
            while told is not None and not told.is_set() and time.monotonic() < end:
                self._step(0.05)
            self.drain()
        except BaseException:
            # The recogniser must not wait for ever for a writer that failed.
            self._queue.close()
            raise
        finally:
            if done is not None:
                done.set()

    def wake(self) -> None:
        """Let `run` look whether it should stop."""
        self._queue.interrupt()

    def drain(self) -> None:
        """Write everything that still waits; after the recogniser ended."""
        while left := self._waiting():
            self._write(left)

    def _step(self, timeout_s: float) -> None:
        try:
            first = self._queue.get(timeout_s=timeout_s)
        except TimeoutError:
            return
        self._write([first, *self._waiting()])

    def _waiting(self) -> list[Occurrence | CapturedCandidate]:
        found: list[Occurrence | CapturedCandidate] = []
        while len(found) < _BATCH:
            try:
                found.append(self._queue.get(timeout_s=0))
            except (TimeoutError, Closed):
                break
        return found

    def _write(self, batch: list[Occurrence | CapturedCandidate]) -> None:
        events = [self._with_crop(item) for item in batch if isinstance(item, Occurrence)]
        if events:
            self._outbox.append([(event["kind"], to_json(event)) for event in events])
            self.decisions.extend(event for event in events if event["kind"] in _DECISIONS)
        for item in batch:
            if isinstance(item, CapturedCandidate) and self._review_writer is not None:
                self._review_writer.keep(item)

    def _with_crop(self, item: Occurrence) -> dict[str, Any]:
        if item.crop is None or self._snapshots is None:
            return item.event
        return item.event | {"crop": self._keep(item.crop, item.event["person"])}

    def _keep(self, crop: ImageU8, person: str | None) -> str | None:
        assert self._snapshots is not None
        try:
            return self._snapshots.add(encode_jpeg(crop), person or "unknown").path.name
        except OutputError as error:
            logger.warning("crop_not_kept error=%s", error)
            return None
