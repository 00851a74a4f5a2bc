"""From a decision to the outbox: nothing between them drops."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from jetson_face.core.errors import OutputError
from jetson_face.core.protocols import FrameProcessor
from jetson_face.core.types import Box, Frame, ImageU8, Report
from jetson_face.events.history import NewEvent
from jetson_face.events.ids import new_id
from jetson_face.events.making import EventMaker, utc
from jetson_face.events.recorder import EventRecorder
from jetson_face.events.schema import SCHEMA
from jetson_face.events.snapshots import SnapshotStore
from jetson_face.recognition.steps import Stepping, Steps, steps_of
from jetson_face.service.kept_faces import KeptFaces, WithheldFace
from jetson_face.service.review_writer import CapturedCandidate, ReviewWriter, capture_candidate
from jetson_face.service.unknowns import CapturedUnknown, UnknownPeople
from jetson_face.util.channels import BoundedQueue, Closed
from jetson_face.util.images import encode_jpeg, shrunk

logger = logging.getLogger(__name__)

_BATCH = 100
_WAIT_S = 2.0
_CROP_MARGIN = 0.4
_DECISIONS = frozenset({"decided", "changed", "retracted"})
CropPlace: TypeAlias = Literal["folder", "history", "broker"]
_FOLDER: tuple[CropPlace, ...] = ("folder",)
_HISTORY_SIDE, _HISTORY_QUALITY = 240, 85
"""Pixels and quality of a face in the history: about 8 kB."""
_LAST_FRAME_S = 1.0
"""How long the writer waits for the recogniser's last frame when it is told to stop."""


@dataclass(frozen=True, slots=True, eq=False)
class Occurrence:
    """An event on its way to the disk. crop: (H, W, 3) uint8 BGR, None for none. to: where it is
    kept: in `STATE_DIR/crops`, in the history, at a broker."""

    event: dict[str, Any]
    crop: ImageU8 | None
    to: Collection[CropPlace] = _FOLDER


def own_event(kind: str, wall: float, **more: object) -> NewEvent:
    """An event of the service itself, of no face. wall: UTC seconds."""
    head = {"schema": SCHEMA, "id": new_id(), "kind": kind, "time": utc(wall)}
    return NewEvent({**head, **more})


OnItsWay: TypeAlias = Occurrence | CapturedCandidate | WithheldFace | CapturedUnknown
"""What the recogniser hands to the writer."""


class EventTap(Stepping):
    """A recogniser that hands its events and its review candidates on before it answers.

    maker: of the whole run. A full queue makes it wait: a slow disk slows recognition down, it
    loses no event. crops: with a picture of each decision. history: with a face of each decision,
    and of each face that appears, for the history. broker: with a face of each decision for who
    tells a broker. seen: told of each frame. withholds: whether somebody must not be recognised:
    then no face is kept before it is known whose it is. unknown: knows people again who are not
    enrolled.
    """

    def __init__(
        self,
        inner: FrameProcessor,
        queue: BoundedQueue[OnItsWay],
        maker: EventMaker,
        *,
        crops: bool = False,
        history: bool = False,
        broker: bool = False,
        review: bool = False,
        seen: Sequence[Callable[[Frame, Report], None]] = (),
        withholds: Callable[[], bool] = lambda: False,
        unknown: UnknownPeople | None = None,
    ) -> None:
        self._inner, self._queue, self._maker = inner, queue, maker
        self._withholds = withholds
        self._withheld: set[int] = set()
        self._crops, self._history, self._broker = crops, history, broker
        self._review = review
        self._seen, self._unknown = seen, unknown

    def steps(self, frame: Frame) -> Steps[Report]:
        """See Stepping."""
        report = yield from steps_of(self._inner, frame)
        for look in self._seen:
            look(frame, report)
        before: dict[int, dict[str, Any]] = {}
        remembered: list[CapturedUnknown] = []
        if self._unknown is not None:
            before, remembered = self._unknown.see(frame, report)
        withheld = {face.track for face in report.sightings if face.withheld}
        for event in self._maker.of(report, before):
            to = () if event["track"] in withheld else self._places(event)
            crop = cut(frame.image, event["box"]) if to else None
            self._queue.put(Occurrence(event, crop, to))
        for candidate in report.review_candidates if self._review else ():
            self._queue.put(capture_candidate(candidate, frame))
        for track in withheld - self._withheld:
            self._queue.put(WithheldFace(report.source, self._maker.run, track))
        self._withheld = withheld
        for captured in remembered:
            self._queue.put(captured)
        return report

    def _places(self, event: dict[str, Any]) -> tuple[CropPlace, ...]:
        decided = event["kind"] in _DECISIONS and event["state"] != "pending"
        places: list[CropPlace] = []
        if self._crops and decided:
            places.append("folder")
        appeared = event["kind"] == "appeared" and not self._withholds()
        if self._history and (decided or appeared):
            places.append("history")
        if self._broker and decided:
            places.append("broker")
        return tuple(places)


def tell_end(maker: EventMaker, queue: BoundedQueue[OnItsWay], told: threading.Event) -> None:
    """Hand on that the run is over for every face; for the recogniser's thread, at its end."""
    try:
        for event in maker.end():
            queue.put(Occurrence(event, None), timeout_s=_LAST_FRAME_S)
    except (Closed, TimeoutError):
        pass  # the writer failed, and the run ends with its error
    finally:
        told.set()


def cut(image: ImageU8, box: Box, margin: float = _CROP_MARGIN) -> ImageU8 | None:
    """A copy of the face with a margin, a share of its box at each side; None for a box outside the
    picture."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = box
    dx, dy = (x2 - x1) * margin, (y2 - y1) * margin
    left, top = max(0, int(x1 - dx)), max(0, int(y1 - dy))
    right, bottom = min(width, int(x2 + dx) + 1), min(height, int(y2 + dy) + 1)
    if right <= left or bottom <= top:
        return None
    crop: ImageU8 = image[top:bottom, left:right].copy()
    return crop


class EventWriter:
    """Takes occurrences from the queue to the recorder, many in one transaction, review candidates
    to the review queue, and who is not enrolled to the file of unknown people. tell: is told each
    event that was stored, with its face."""

    def __init__(
        self,
        queue: BoundedQueue[OnItsWay],
        recorder: EventRecorder,
        snapshots: SnapshotStore | None,
        review_writer: ReviewWriter | None = None,
        unknown: UnknownPeople | None = None,
    ) -> None:
        self._queue, self._recorder, self._snapshots = queue, recorder, snapshots
        self._review_writer, self._kept_faces = review_writer, KeptFaces()
        self._unknown = unknown
        self.tell: Callable[[Mapping[str, Any], bytes | None], None] | None = None
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

    def _waiting(self) -> list[OnItsWay]:
        found: list[OnItsWay] = []
        while len(found) < _BATCH:
            try:
                found.append(self._queue.get(timeout_s=0))
            except (TimeoutError, Closed):
                break
        return found

    def _write(self, batch: list[OnItsWay]) -> None:
        kept = [self._kept(item) for item in batch if isinstance(item, Occurrence)]
        if kept:
            self._recorder.append(
                [NewEvent(event, jpeg if "history" in to else None) for event, jpeg, to in kept]
            )
            self.decisions.extend(event for event, *_ in kept if event["kind"] in _DECISIONS)
            if self.tell is not None:
                for event, jpeg, to in kept:
                    self.tell(event, jpeg if "broker" in to else None)
        for item in batch:
            if isinstance(item, CapturedCandidate) and self._review_writer is not None:
                number = self._review_writer.keep(item)
                if number is not None:
                    self._kept_faces.item(item.source, item.candidate.track, number)
            if isinstance(item, CapturedUnknown) and self._unknown is not None:
                self._unknown.keep(item)
        for item in batch:
            if isinstance(item, WithheldFace):
                self._kept_faces.forget(item, self._recorder, self._snapshots, self._review_writer)

    def _kept(self, item: Occurrence) -> tuple[dict[str, Any], bytes | None, Collection[CropPlace]]:
        """The event, and a small face for the history and the broker."""
        event, jpeg = item.event, None
        if item.crop is None:
            return event, None, ()
        if {"history", "broker"} & set(item.to):
            jpeg = encode_jpeg(shrunk(item.crop, _HISTORY_SIDE), quality=_HISTORY_QUALITY)
        if "folder" in item.to and self._snapshots is not None:
            name = self._keep(self._snapshots, item.crop, _whose(event))
            event = event | {"crop": name}
            if name is not None:
                self._kept_faces.crop(event["source"], event["track"], name)
        return event, jpeg, item.to

    def _keep(self, snapshots: SnapshotStore, crop: ImageU8, whose: str) -> str | None:
        try:
            return snapshots.add(encode_jpeg(crop), whose).path.name
        except OutputError as error:
            logger.warning("crop_not_kept error=%s", error)
            return None


def _whose(event: Mapping[str, Any]) -> str:
    """Whom the event is about, an id, so that the picture is found when they are erased."""
    return event["person"] or event.get("unknown_id") or "unknown"
